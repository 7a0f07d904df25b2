"""What a plan names besides its data: its dictionaries are attached while it is asked, and contents are digested."""

import shutil

import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.attaching import (
    about_dictionaries,
    content_of,
    contents_of,
    dictionary_problems,
    lent,
    named_by,
)
from mechcausal.audits.mitigation.sweeping import sweep
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.models.attached import attached
from mechcausal.organisms import folder

HIRING = "organism:hiring"
PLAN = {
    "model": HIRING, "networks": 0, "dictionaries": [HIRING],
    "data": {"gender": {"contrast": "hiring/gender", "n": 16}},
    "question": [
        {"ask": "mediation", "data": "gender", "mediators": ["L1.resid_post.sae:hiring.F1", "L1.resid_post.sae:hiring.F3"]},
        {"ask": "flips", "data": "gender"},
    ],
    "edit": [{"do": "ablate", "name": "a feature", "sites": "L1.resid_post.sae:hiring.F3"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return mc.load(HIRING)


@pytest.fixture
def mine(tmp_path):
    shutil.copytree(folder("hiring") / "dictionary", tmp_path / "mine")
    return tmp_path


def test_features_are_reached_from_a_file(model):
    plan = plan_of(PLAN)
    assert plan.problems(model) == []
    report = plan.run(model, quiet=True)
    assert [finding.error for finding in report] == ["", ""]
    assert list(report["FAIR-1"].answer.table["mediator"])[:2] == PLAN["question"][0]["mediators"]
    swept = sweep(plan, model=model, quiet=True)
    assert swept.errors == {}
    assert plan.cost(model).forwards["FAIR-1"] > 0
    assert attached(model) == {}


def test_without_it_they_are_not(model):
    problems = plan_of({**PLAN, "dictionaries": []}).problems(model)
    assert [problem.partition(": no dictionary called 'hiring' is attached")[0] for problem in problems] == [
        "FAIR-1 (mediation)", "the edit 'a feature'",
    ]  # fmt: skip


def test_a_report_says_what_was_attached(model, tmp_path):
    plan = plan_of(PLAN)
    assert plan_of({**PLAN, "dictionaries": []}).hash != plan.hash
    written = audit.Report.load(plan.run(model, tmp_path / "out", quiet=True) and tmp_path / "out")
    bound = mc.features.load(model, HIRING)
    mc.features.detach(model, "hiring")
    about = {"digest": bound.digest, "site": str(bound.site), "features": bound.n_features}
    assert written.run["dictionaries"] == {"hiring": about}
    assert written.run["files"] == {HIRING: content_of(HIRING, tmp_path)}
    assert written.run["settings"]["dictionaries"] == [HIRING]


def test_a_model_keeps_what_it_had(model, mine):
    own = mc.features.load(model, mine / "mine", name="hiring", fold=False)
    with lent(model, [HIRING, "./mine"], mine):
        assert set(attached(model)) == {"hiring", "mine"}
        assert attached(model)["hiring"] is not own
        assert set(about_dictionaries(model)) == {"hiring", "mine"}
    assert attached(model) == {"hiring": own}
    mc.features.detach(model, "hiring")


def test_what_is_wrong_with_a_dictionary_is_found_without_running(model, mine):
    assert list(dictionary_problems(None, ["./none"], mine)) == [
        f"dictionaries: there is no file or folder {mine / 'none'}"
    ]
    assert list(dictionary_problems(model, ["./mine", HIRING], mine)) == []
    other = list(dictionary_problems(mc.load("organism:by_hand"), [HIRING], mine))
    assert len(other) == 1
    assert "belongs to another model" in other[0]
    with pytest.raises(PlanError, match="organism:nothing"):
        plan_of({**PLAN, "dictionaries": ["organism:nothing"]}).run(model)


def test_a_content_is_digested_whatever_holds_it(mine):
    first = content_of("mine", mine)
    assert first
    assert content_of("./mine", mine) == content_of(str(mine / "mine"), mine.parent) == first
    (mine / "mine" / "cfg.json").write_text("{}")
    assert content_of("mine", mine) != first
    (mine / "texts.txt").write_text("one")
    assert content_of("texts.txt", mine)
    assert content_of("somebody/model", mine) == ""
    assert content_of("organism:by_hand", mine)
    assert content_of("smollm2_bias", mine) == content_of("organism:smollm2_bias", mine)
    assert set(contents_of(["mine", "somebody/model", "mine"], mine)) == {"mine"}


def test_names_of_a_question_and_of_an_edit():
    assert named_by(audit.Links("pairs", dictionary="./mine")) == ["./mine"]
    assert named_by(audit.Links("pairs")) == []
    assert named_by(audit.Adapter(folder="./lora", base="smollm2")) == ["./lora", "smollm2"]
