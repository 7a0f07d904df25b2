import pytest
from biographies import draw, model

from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.spec import MITIGATIONS, Mitigation, Treatment, edit_problems, named, read_edits
from mechcausal.audits.plan import PlanError
from mechcausal.errors import ArgumentError
from mechcausal.method import read_spec, toml

ALL = [
    audit.Unchanged(), audit.Ablate(sites="L0.z.H0", at="@-1", share=0.5, data="people"), audit.Delete(at="@pronoun", words=["he"]),
    audit.Ask(text="please "), audit.Erase(labels="gender", sites=["L0.resid_mid", "L0.resid_post"], data="people"),
    audit.Steer(site="L0.resid_post", dose=-2, vector=[1.0, 2.0]), audit.MeanPath(sender="L0.z.H0", receiver="logits"),
    audit.RandomSites(sites="z", n=2, but="L0.z.H0", to=0.5), audit.RandomDirections(sites="L0.resid_post", n=3),
    audit.Adapter(folder="adapter"),
]  # fmt: skip


@pytest.mark.parametrize("mitigation", ALL, ids=lambda each: each.word)
def test_a_mitigation_is_data(mitigation):
    assert read_spec(mitigation.to_json(), Mitigation) == mitigation
    assert all(toml(value) for value in mitigation.to_json().values())


def test_all_that_ship_are_tried_here():
    assert {each.word for each in ALL} == set(MITIGATIONS)


def test_data_are_named_or_given():
    people = draw(8).prompts()
    given = ALL[1].with_data({"people": people})
    assert given.data is people
    assert given.to_json()["data"] == {"digest": people.hash}
    with pytest.raises(ArgumentError, match="did you mean 'people'"):
        audit.Ablate(sites="z", data="peopl").with_data({"people": people})
    with pytest.raises(ArgumentError, match="needs data= over which"):
        audit.Ablate(sites="z").made(Desk(model(), {}))
    with pytest.raises(ArgumentError, match="names its data"):
        audit.Ablate(sites="z", data="people").made(Desk(model(), {}))


def test_the_model_as_it_is_stands_first_and_names_are_unique():
    both = named([audit.Ask(text="a "), audit.Ask(text="b "), audit.Unchanged(name="base")])
    assert [each.name for each in both] == ["base", "ask", "ask 2"]
    assert [each.name for each in named([])] == ["none"]


def test_a_treatment_is_made_once_and_another_model_has_memory_of_its_own():
    desk, other = Desk(model(), {}), object()

    class Counted(audit.Unchanged):
        def made(self, desk):
            calls.append(desk)
            return Treatment(model=other)

    calls = []
    for _ in range(2):
        with Counted().applied(desk) as edited:
            assert edited.model is other
            assert edited.memory is not desk.memory
    assert len(calls) == 1
    desk = Desk(model(), {})
    with audit.Unchanged().applied(desk) as edited:
        assert edited.memory is desk.memory


def test_everything_that_is_wrong_with_edits_is_said_at_once():
    tables = [{"do": "none"}, {"do": "nothing"}, {"do": "ablate", "sites": "z", "data": "nobody"}, {"do": "delete"}]
    problems = list(edit_problems(tables, {"people": draw(8).prompts()}))
    assert len(problems) == 3
    assert "edit 2" in problems[0]
    assert "nobody" in problems[2]
    with pytest.raises(PlanError, match="edit 2") as caught:
        read_edits(tables)
    assert len(caught.value.problems) == 2
    plan = audit.Plan([audit.Flips("people")], data={"people": draw(8).prompts()}, edits=tables)
    assert len([problem for problem in plan.problems() if "edit" in problem]) == 3
