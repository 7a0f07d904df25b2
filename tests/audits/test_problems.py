"""A plan with a mistake of every kind: all are said at once, each under the name of its question, its data or its edit."""

from __future__ import annotations

import pytest

import mechcausal as mc
from mechcausal.audits.plan import PlanError
from mechcausal.audits.problems import problems_of
from mechcausal.audits.reading import plan_of, review

BAD = """
alpha = 2
titel = "x"
model = "organism:hiring"
[data.people]
contrast = "hiring/gender"
n = 24
[data.nofile]
pairs = "none.csv"
[data.uneven]
pairs = "uneven.csv"
[data.small]
prompts = "small.csv"
[data.codes]
canaries = "codes.csv"
candidates = "digits:4"
[[question]]
ask = "flip"
data = "people"
[[question]]
ask = "flips"
data = "people"
at_most = 1.5
[[question]]
ask = "accuracy"
data = "peple"
[[question]]
ask = "group_gaps"
data = "small"
[[question]]
ask = "mediation"
data = "uneven"
[[question]]
ask = "controlled_effect"
data = "people"
mediator = "L7.resid_post"
[[edit]]
do = "ablat"
sites = "L1.z.H2"
[[edit]]
do = "ablate"
sites = "L9.z.H2"
[[claim]]
text = "x"
questions = ["FAIR-3", "FAIR-9"]
"""
FILES = {
    "uneven.csv": "clean,corrupt,answer,foil\nhe is a clerk,she is,yes,no\n",
    "codes.csv": "prefix,secret,count\ncode,12345,4\n",
}
SAID = (
    "cannot take this 'alpha'", "no key 'titel': did you mean 'title'?", "question 1 (flip): there is no question called",
    "question 2 (flips): flips: the threshold at_most is out of range", "[data.nofile]: there is no file",
    "ACC-1 (accuracy): there are no data 'peple'", "the claim 'x' names the question 'FAIR-9'", "edit 1: there is no mitigation",
    "[data.uneven]: uneven.csv line 2", "[data.codes]: the secret of codes.csv line 2", "FAIR-3 (group_gaps): the group",
    "FAIR-5 (controlled_effect): L7.resid_post is not in this model", "the edit 'ablate': L9.z.H2 is not in this model",
)  # fmt: skip


@pytest.fixture(scope="module")
def hiring():
    return mc.load("organism:hiring")


@pytest.fixture
def bad(tmp_path, hiring):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    texts = list(dict.fromkeys(mc.task("hiring").prompts(hiring, 40, seed=0).texts))[:6]
    rows = [f"{text},accept,reject,{'ab'[row % 2]}" for row, text in enumerate(texts)]
    (tmp_path / "small.csv").write_text("\n".join(["text,answer,foil,group", *rows, ""]))
    (tmp_path / "bad.toml").write_text(BAD)
    return tmp_path / "bad.toml"


def test_every_problem_is_found_at_once(bad):
    """Structure, data and model in one list; FAIR-1 and FAIR-2 are the questions that could not be read."""
    problems = review(bad).problems
    for words in SAID:
        assert sum(words in problem for problem in problems) == 1, (words, problems)
    assert len(problems) == len(SAID)


def test_without_a_model_the_rest_is_found(bad):
    bad.write_text(BAD.replace('"organism:hiring"', '"organism:hirin"'))
    reviewed = review(bad)
    assert reviewed.model is None
    assert sum(problem.startswith("model: ") for problem in reviewed.problems) == 1
    assert sum(any(words in problem for words in SAID) for problem in reviewed.problems) == 8


def test_a_right_plan_has_none(bad, hiring):
    right = '[data.people]\ncontrast = "hiring/gender"\nn = 4\n[[question]]\nask = "flips"\ndata = "people"\n'
    bad.write_text(f'model = "organism:hiring"\n{right}')
    reviewed = review(bad)
    assert reviewed.problems == ()
    assert reviewed.plan is not None
    assert reviewed.plan.cost(reviewed.model).forwards["FAIR-1"] > 0
    bad.write_text(right)
    assert review(bad).problems == ("model: the plan names no model: give one: plan.run(model), or model = \"...\" in the plan",)  # fmt: skip
    assert review(bad, "organism:hiring").problems == ()
    assert review(bad.with_name("none.toml")).problems[0].startswith("there is no file")


def test_what_is_no_table(hiring):
    with pytest.raises(PlanError) as caught:
        plan_of({"data": 3, "question": [7], "edit": "x", "claim": [2]})
    words = "\n".join(caught.value.problems)
    for said in (
        "data is a table of tables",
        "question 1: a specification",
        "edit is a list of tables",
        "claim 1 is no table",
    ):
        assert said in words


PAIRS = {"data": "people"}
ASKED = [
    {"ask": "mediation", "mediators": "L9.z.H0"}, {"ask": "mediation", "through": ["L9.z.H0"]},
    {"ask": "controlled_effect", "mediator": "L9.z.H0"}, {"ask": "path_effect", "unfair": ["L9.z.H0@all => logits"]},
    {"ask": "links", "what": "L9.z.H0"}, {"ask": "rationale", "sites": "L9.z.H*"},
    {"ask": "interventional_validity", "sites": "L9.z.H0"}, {"ask": "attribute_inference", "labels": "gender", "sites": "L9.resid_post"},
]  # fmt: skip


@pytest.mark.parametrize("table", ASKED, ids=lambda table: "-".join(map(str, table.values())))
def test_sites_that_the_model_lacks_are_refused_with_the_question_named(hiring, table):
    question = {**PAIRS, "id": "mine", **table}
    plan = plan_of({"data": {"people": {"contrast": "hiring/gender", "n": 48}}, "question": [question]})
    (problem,) = problems_of(plan, hiring)
    assert problem.startswith(f"mine ({table['ask']}): ")
    assert "not in this model" in problem
    assert "layer 9" in problem


EDITS = [
    ({"do": "ablate", "sites": "L9.z.H0"}, "layer 9"), ({"do": "ablate", "sites": "L1.z.H0", "at": "@nowhere"}, "no position called"),
    ({"do": "random_sites", "sites": "L1.z", "n": 9}, "too few sites"), ({"do": "random_directions", "sites": "L9.resid_post"}, "layer 9"),
    ({"do": "erase", "labels": "gender", "sites": "L9.resid_post"}, "layer 9"), ({"do": "steer", "site": "L9.resid_post"}, "layer 9"),
    ({"do": "erase", "labels": "nothing", "sites": "L1.resid_post", "data": "people"}, "nothing"),
    ({"do": "mean_path", "sender": "L3.z.H0", "receiver": "L1.mlp_out"}, "no path leads"),
    ({"do": "delete", "at": "@nowhere"}, "no position called"), ({"do": "delete", "words": ["zyx"]}, "does not know the word"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), EDITS, ids=lambda value: value["do"] if isinstance(value, dict) else "")
def test_edits_that_cannot_be_made_are_refused_by_name(hiring, edit, words):
    plan = plan_of({
        "data": {"people": {"contrast": "hiring/gender", "n": 16}}, "question": [{"ask": "flips", "data": "people"}],
        "edit": [{"name": "mine", **edit}],
    })  # fmt: skip
    (problem,) = problems_of(plan, hiring)
    assert problem.startswith("the edit 'mine': ")
    assert words in problem


TWO = ["L9.z.H0", "L1.z.H0", "L8.z.H1"]
TWO_WRONG = [
    {"ask": "mediation", "mediators": TWO}, {"ask": "mediation", "through": TWO},
    {"ask": "mediation", "mediators": ["L9.z.H0"], "through": ["L8.z.H1"]},
    {"ask": "controlled_effect", "mediator": TWO},
    {"ask": "path_effect", "unfair": ["L9.z.H0@all => logits"], "fair": ["L8.z.H1@all => logits"]},
    {"ask": "path_effect", "unfair": ["L9.z.H0@all => logits", "L8.z.H1@all => logits"]},
    {"ask": "links", "what": TWO}, {"ask": "rationale", "sites": TWO}, {"ask": "interventional_validity", "sites": TWO},
    {"ask": "attribute_inference", "labels": "gender", "sites": ["L9.resid_post", "L8.resid_post"]},
    {"do": "ablate", "sites": TWO, "to": "zero"}, {"do": "random_sites", "sites": TWO, "n": 1},
    {"do": "random_sites", "sites": ["L9.z.H0", "L1.z.H0"], "but": "L8.z.H1", "n": 1},
    {"do": "random_directions", "sites": TWO}, {"do": "erase", "labels": "gender", "sites": TWO},
    {"do": "mean_path", "sender": "L9.z.H0", "receiver": "L8.mlp_out"},
]  # fmt: skip


@pytest.mark.parametrize("table", TWO_WRONG, ids=lambda table: "-".join(map(str, table.values())))
def test_of_two_sites_that_the_model_lacks_both_are_named(hiring, table):
    given = {"id": "mine", **PAIRS} if "ask" in table else {"name": "mine"}
    asked = [given | table] if "ask" in table else [{"ask": "flips", **PAIRS}]
    plan = plan_of({
        "data": {"people": {"contrast": "hiring/gender", "n": 48}}, "question": asked,
        "edit": [] if "ask" in table else [given | table],
    })  # fmt: skip
    found = sorted(problems_of(plan, hiring))
    for site, problem in zip(("L8.", "L9."), found, strict=True):
        assert problem.startswith("mine (" if "ask" in table else "the edit 'mine': ")
        assert site in problem
        assert len(problem) < 400


def test_a_site_and_a_position_that_are_wrong_are_both_named(hiring):
    edit = {"do": "ablate", "sites": "L9.z.H0", "at": "@nowhere", "to": "zero"}
    table = {
        "data": {"people": {"contrast": "hiring/gender", "n": 8}},
        "question": [{"ask": "flips", "data": "people"}],
    }
    words = "\n".join(problems_of(plan_of({**table, "edit": [edit]}), hiring))
    assert "L9.z.H0 is not in this model" in words
    assert "no position called" in words


def test_edits_without_a_question_that_can_be_asked_under_them(hiring):
    table = {
        "data": {"people": {"contrast": "hiring/gender", "n": 16}}, "question": [{"ask": "mediation", "data": "people"}],
        "edit": [{"do": "delete", "at": "@gender"}],
    }  # fmt: skip
    (problem,) = problems_of(plan_of(table))
    assert problem.startswith("none of its questions can be asked under its edits (mediation)")
    with pytest.raises(PlanError, match="none of its questions"):
        plan_of(table).run(hiring, quiet=True)
    table["question"].append({"ask": "flips", "data": "people"})
    assert problems_of(plan_of(table), hiring) == []


def test_writing_past_the_context(hiring):
    """The organism reads eight tokens, and its prompts are as long."""
    prompts = {"people": {"contrast": "hiring/gender", "n": 4}, "app": {"task": "hiring", "n": 4}}
    plan = plan_of({"data": prompts, "question": [
        {"ask": "generated", "data": "people", "words": ["accept"], "tokens": 2},
        {"ask": "generated", "data": "people", "words": ["accept"], "tokens": 1}, {"ask": "pii", "data": "app"},
    ]})  # fmt: skip
    problems = problems_of(plan, hiring)
    assert [problem.split(":")[0] for problem in problems] == ["FAIR-1 (generated)", "PRIV-1 (pii)"]
    assert all("do not fit into the model's context" in problem for problem in problems)


def test_data_longer_than_the_context(hiring, tmp_path):
    text = " ".join(["he"] * 12)
    (tmp_path / "long.csv").write_text(f"text,answer,foil\n{text},accept,reject\n")
    (tmp_path / "codes.csv").write_text(f"prefix,secret,count\n{text},1234,1\n{text} he,1235,1\n")
    plan = plan_of({
        "data": {"long": {"prompts": "long.csv"}, "codes": {"canaries": "codes.csv", "candidates": "digits:4"}},
        "question": [{"ask": "accuracy", "data": "long"}, {"ask": "extraction", "data": "codes"}],
    }, tmp_path)  # fmt: skip
    problems = problems_of(plan, hiring)
    assert any(problem.startswith("[data.long]: prompt 0 is longer than the model's context") for problem in problems)
    assert any("codes" in problem or "extraction" in problem for problem in problems)
    assert len(problems) == 2
