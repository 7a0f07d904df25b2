"""A4, A6 and A20 of known truth: what mitigations do to a model whose decision is a formula, and to organism:bios."""

import itertools

import numpy as np
import pytest
from biographies import BAYES, PRONOUN_HEAD, coded, draw, model, odds, population, royals
from small_questions import SmallAccuracy, SmallMethod, SmallWorstGroup

import mechcausal as mc
from mechcausal import audit
from mechcausal.data.tasks import bios
from mechcausal.errors import ArgumentError, DataError

SHARES = (0, 0.25, 0.5, 0.75, 0.9, 1)
DRAWS = 16


@pytest.fixture(scope="module")
def people():
    return population()


@pytest.fixture(scope="module")
def swept(people):
    swapped = people.pairs(people.changed(he=~people.he), "gender")
    where = {"sites": PRONOUN_HEAD, "at": "@-1", "data": swapped}
    read = {"labels": "gender", "sites": "L0.resid_post", "at": "@-1"}
    plan = audit.Plan([
        audit.Flips(swapped, id="gender"),
        audit.Flips(people.pairs(people.changed(words=1 - people.words), "words"), id="words", at_least=0.5),
        audit.Flips(people.pairs(people.changed(which=(people.which + 1) % 3), "synonyms"), id="synonyms"),
        SmallAccuracy(people.prompts(), id="accuracy"), SmallWorstGroup(people.prompts(), id="worst"),
        SmallAccuracy(royals(), id="royals"), SmallMethod(people.prompts(), id="method"),
    ])  # fmt: skip
    edits = [
        *(audit.Ablate(**where, share=share, name=f"ablate {share:g}") for share in SHARES[1:]),
        audit.RandomSites(sites="z", but=PRONOUN_HEAD, at="@-1", data=swapped, name="random head"),
        audit.Erase(**read, data=coded(), name="erase"),
        audit.Erase(**read, data=draw(240, 0.95).prompts(), guard=False, name="erase, biased"),
        audit.Delete(words=["he", "she"], fill="please"),
    ]  # fmt: skip
    return audit.sweep(plan, edits, model(), neutral=people.prompts().take(slice(0, 32)), quiet=True)


def value(swept, edit, measure):
    return swept.answer(edit, measure).estimate.value


def flips(people, share):
    return float(np.mean((odds(people, share) > 0) != (odds(people.changed(he=~people.he), share) > 0)))


def right(people, share):
    return float(np.mean((odds(people, share) > 0) == people.senior))


def test_edits_are_written_down_with_what_nobody_set(swept):
    specs = {edit.name: edit.spec for edit in swept.edits}
    assert (specs["ablate 1"]["to"], specs["ablate 0.5"]["share"]) == ("mean", 0.5)
    assert swept.run["settings"] == {
        "outcome": "", "alpha": 0.05, "level": 0.95, "correction": "holm", "seed": 0, "networks": 0, "batch_size": 64,
        "dictionaries": [],
    }  # fmt: skip


def test_a4_the_planted_feature_is_what_the_bias_is(swept, people):
    assert value(swept, "none", "worst") < 0.2
    assert value(swept, "ablate 1", "worst") > 0.74
    assert abs(value(swept, "ablate 1", "accuracy") - BAYES) < 0.03
    assert value(swept, "ablate 1", "gender") < 0.05
    for measure in ("accuracy", "gender"):
        assert abs(swept.change("random head", measure).value) < 0.02


@pytest.mark.slow
def test_a4_random_directions_change_nothing_on_average(people):
    swapped = people.pairs(people.changed(he=~people.he), "gender")
    plan = audit.Plan([audit.Flips(swapped, id="gender"), SmallAccuracy(people.prompts(), id="accuracy")])
    edits = [
        audit.RandomDirections(sites="L0.resid_post", at="@-1", seed=seed, data=swapped, name=f"draw {seed}")
        for seed in range(DRAWS)
    ]
    swept = audit.sweep(plan, edits, model(), quiet=True)
    for measure in ("accuracy", "gender"):
        assert abs(np.mean([swept.change(edit.name, measure).value for edit in swept.edits[1:]])) < 0.02


def test_a4_more_of_the_ablation_does_more_as_the_formula_says(swept, people):
    doses = ["none", *(f"ablate {share:g}" for share in SHARES[1:])]
    measured = [value(swept, edit, "gender") for edit in doses]
    assert all(later <= earlier for earlier, later in itertools.pairwise(measured))
    assert measured == pytest.approx([flips(people, 1 - share) for share in SHARES])
    accuracies = [value(swept, edit, "accuracy") for edit in doses]
    assert accuracies == pytest.approx([right(people, 1 - share) for share in SHARES])


def test_a6_an_erasure_stops_lines_alone_and_a_biased_fit_is_marked(swept):
    notes = {edit.name: edit.notes for edit in swept.edits}
    assert set(notes["erase"]) == {"leak (nonlinear)"}
    assert "accuracy 1.00" in notes["erase"]["leak (nonlinear)"]
    assert set(notes["erase, biased"]) == {"biased fit"}
    assert value(swept, "erase", "gender") < 0.05
    assert value(swept, "erase, biased", "accuracy") < value(swept, "erase", "accuracy") - 0.03
    assert not notes["ablate 1"]


def test_a16_what_must_change_changes_once_the_bias_is_gone(swept):
    assert [value(swept, "none", name) for name in ("gender", "words", "synonyms")] == [1, 0, 0]
    assert [value(swept, "ablate 1", name) for name in ("gender", "words", "synonyms")] == [0, 1, 0]
    better = {measure.name: measure.better for measure in swept.measures}
    assert better["gender"] == "low"
    assert better["words"] == better["accuracy"] == "high"


def test_a20_where_the_pronoun_is_legitimate_its_ablation_costs(swept):
    assert value(swept, "none", "royals") == 1
    cost = swept.change("ablate 1", "royals")
    assert cost.high <= -0.5  # the log-odds are zero, and who has no preference is not right
    front = swept.pareto("gender", "royals").front
    assert {"ablate 0.9", "ablate 1"} <= set(front)
    assert "none" not in front  # a small dose keeps king and queen and flips fewer


def test_costs_stand_beside_and_what_cannot_be_asked_is_named(swept):
    assert value(swept, "none", "kl") == 0
    assert value(swept, "delete", "kl") > value(swept, "ablate 1", "kl") > 0
    assert set(swept.left_out) == {"method"}


def _biographies(n, environment, seed):
    drawn = mc.task("bios").prompts(mc.load("organism:bios"), n, seed=seed, environment=environment)
    names = [bios.PROFESSIONS[i] for i in drawn.variables["profession"]]
    foils = [bios.PROFESSIONS[i ^ 1] for i in drawn.variables["profession"].tolist()]
    return mc.PromptSet.from_text(
        mc.load("organism:bios"), list(drawn.texts), answer=names, foil=foils, positions={"job": 14, "pronoun": 0},
        groups=[f"{group} {name}" for group, name in zip(drawn.groups, names, strict=True)], labels=names,
    )  # fmt: skip


@pytest.mark.slow
def test_organism_bios():
    organism = mc.load("organism:bios")
    balanced, world = _biographies(300, "balanced", 1), _biographies(300, None, 2)
    pairs = mc.contrast("bios/pronoun", organism, n=120)
    plan = audit.Plan([
        audit.Flips(pairs, id="flips"), SmallAccuracy(balanced, id="balanced"), SmallAccuracy(world, id="world"),
    ])  # fmt: skip
    where = {"sites": "L1.z.H2", "at": "@job", "data": pairs}
    edits = [
        *(audit.Ablate(**where, share=share, name=f"ablate {share:g}") for share in (0.75, 1)),
        audit.RandomSites(sites="L1.z.H*", but=["L1.z.H0", "L1.z.H1", "L1.z.H2"], at="@job", data=balanced),
        audit.RandomDirections(sites="L1.resid_post", at="@job"),
        audit.MeanPath(sender="L1.z.H2", receiver="L2.mlp_out", data=balanced),
    ]  # fmt: skip
    swept = audit.sweep(plan, edits, organism, quiet=True)
    assert value(swept, "none", "balanced") == pytest.approx(bios.accuracy("balanced"), abs=0.05)
    assert value(swept, "none", "world") == pytest.approx(bios.accuracy(), abs=0.05)
    doses = [value(swept, edit, "flips") for edit in ("none", "ablate 0.75", "ablate 1")]
    assert doses == sorted(doses, reverse=True)
    assert doses[-1] < 0.05
    for control in ("random_sites", "random_directions"):
        assert abs(swept.change(control, "balanced").value) < 0.02
    # In the balanced world the pronoun says nothing, in the world it does: only there its ablation costs.
    assert swept.change("ablate 1", "balanced").value > 0
    assert swept.change("mean_path", "balanced").low > 0
    assert swept.change("ablate 1", "world").high < -0.05
    assert swept.change("mean_path", "flips").high < -0.3
    assert set(swept.left_out) == {"kl", "loss"}  # it knows no English


def test_a_sweep_goes_on_where_it_ended(tmp_path, monkeypatch):
    people = draw(40)
    prompts = people.prompts()
    plan = audit.Plan([
        SmallAccuracy(prompts, id="accuracy"), audit.Flips(people.pairs(people.changed(he=~people.he), "gender"), id="flips"),
    ])  # fmt: skip
    edits = [audit.Ablate(sites=PRONOUN_HEAD, to="zero"), audit.RandomSites(sites="z", but=PRONOUN_HEAD, to="zero")]
    whole = audit.sweep(plan, edits, model(), neutral=prompts, quiet=True)
    asked = []
    answer = SmallAccuracy.answer

    def counted(self, desk):
        asked.append(desk.edits)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return answer(self, desk)

    monkeypatch.setattr(SmallAccuracy, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        audit.sweep(plan, edits, model(), tmp_path, neutral=prompts, quiet=True)
    again = audit.sweep(plan, edits, model(), tmp_path, neutral=prompts, quiet=True)
    assert len(asked) == 4  # the first was kept, the second was lost
    assert again.frame().equals(whole.frame())
    assert audit.Sweep.load(tmp_path).frame().equals(whole.frame())
    audit.sweep(plan, edits, model(), tmp_path, neutral=prompts, quiet=True)
    assert len(asked) == 4


def test_what_fails_under_one_edit_is_named_and_the_others_are_answered():
    plan = audit.Plan([SmallAccuracy(draw(20).prompts(), id="accuracy")])
    swept = audit.sweep(plan, [audit.Delete(at="@nowhere"), audit.Adapter(folder="none")], model(), quiet=True)
    assert "no position called 'nowhere'" in swept.errors["delete", "accuracy"]
    assert "adapter" in swept.errors["adapter", "accuracy"]
    assert ("none", "accuracy") in swept.answers


def test_edits_of_a_plan_file(tmp_path):
    (tmp_path / "audit.toml").write_text(
        'model = "organism:hiring"\n[data.applicants]\ncontrast = "hiring/gender"\nn = 24\n'
        '[[question]]\nask = "flips"\ndata = "applicants"\nat_most = 0.05\n'
        '[[edit]]\ndo = "ablate"\nname = "no head"\nsites = "L1.z.H2"\nat = "@-1"\ndata = "applicants"\n'
        '[[edit]]\ndo = "delete"\nat = "@gender"\n'
    )
    plan = audit.read(tmp_path / "audit.toml")
    swept = audit.sweep(plan, quiet=True)
    assert [edit.name for edit in swept.edits] == ["none", "no head", "delete"]
    assert value(swept, "no head", "flips") < value(swept, "none", "flips")
    assert audit.Plan(**{**vars(plan)}).hash == plan.hash


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"do": "ablat", "sites": "z"}, "did you mean 'ablate'"),
        ({"do": "ablate"}, "ablate"),
        ({"do": "ablate", "sites": "z", "data": "nobody"}, "names data that the plan does not have"),
        ({"do": "delete"}, "delete needs to know what"),
        ({"do": "ablate", "sites": "z", "share": 2}, "share"),
    ],
)
def test_wrong_edits_are_refused_before_anything_is_run(edit, says):
    plan = audit.Plan([SmallAccuracy(draw(8).prompts())])
    with pytest.raises(ArgumentError, match=says):
        audit.sweep(plan, [edit], model(), quiet=True)


def test_wrong_sweeps():
    plan = audit.Plan([SmallAccuracy(draw(8).prompts())])
    with pytest.raises(ArgumentError, match="two edits are called 'a'"):
        audit.sweep(plan, [audit.Ask(text="please ", name="a")] * 2, model(), quiet=True)
    with pytest.raises(ArgumentError, match="no question of the plan"):
        audit.sweep(audit.Plan([SmallMethod(draw(8).prompts())]), [], model(), quiet=True)
    with pytest.raises(DataError, match="no data 'text'"):
        audit.sweep(plan, [], model(), neutral="text", quiet=True)
