import tomllib

import pytest
from words import words_tokenizer
from zoo import build

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.audits.running import about_model
from mechcausal.errors import ArgumentError, DataError

TABLE = {
    "title": "Hiring", "model": "organism:by_hand", "networks": 3, "choices": ["gender may not matter"],
    "data": {"people": {"contrast": "by_hand/gender", "n": 8}},
    "question": [{"ask": "flips", "data": "people", "at_most": 0.05}, {"ask": "flips", "data": "people", "id": "mine"}],
    "claim": [{"text": "no gender", "questions": ["FAIR-1"]}],
}  # fmt: skip


def test_a_plan_comes_back_from_its_file(tmp_path):
    plan = plan_of(TABLE)
    assert [question.id for question in plan.questions] == ["FAIR-1", "mine"]
    (tmp_path / "audit.toml").write_text(plan.to_toml())
    again = audit.read(tmp_path / "audit.toml")
    assert again.to_json() == plan.to_json()
    assert again.hash == plan.hash
    assert plan["mine"].at_most is None
    with pytest.raises(ArgumentError, match="did you mean 'mine'"):
        plan["mime"]
    assert tomllib.loads(plan.to_toml())["claim"] == TABLE["claim"]


def test_another_threshold_is_another_plan():
    other = {**TABLE, "question": [{"ask": "flips", "data": "people", "at_most": 0.06}]}
    assert plan_of(other).hash != plan_of(TABLE).hash


def test_what_is_no_plan():
    with pytest.raises(ArgumentError, match="at least one question"):
        audit.Plan([])
    with pytest.raises(ArgumentError, match="expected a list of"):
        audit.Plan([3])
    with pytest.raises(PlanError, match="there is no file"):
        audit.read("none.toml")


def test_problems_are_found_without_running(by_hand, tmp_path):
    table = {**TABLE, "data": {"people": {"pairs": "none.csv"}}, "claim": [{"text": "t", "questions": ["FAIR-7"]}]}
    problems = plan_of(table, tmp_path).problems()
    assert any("there is no file" in problem for problem in problems)
    assert any("did you mean 'FAIR-1'" in problem for problem in problems)
    assert plan_of(TABLE).problems() == []
    assert plan_of(TABLE).problems(by_hand) == []
    unread = plan_of({**TABLE, "data": {"people": {"contrast": "by_hand/gendr"}}})
    assert any("gendr" in problem for problem in unread.problems(by_hand))
    unnamed = plan_of({**TABLE, "question": [{"ask": "flips", "data": "peple"}], "claim": []})
    assert "did you mean 'people'" in unnamed.problems()[0]
    prompts = plan_of({**TABLE, "data": {"people": {"task": "by_hand", "n": 4}}})
    assert "asked of pairs" in prompts.problems(by_hand)[0]
    with pytest.raises(PlanError):
        prompts.run(by_hand)


def test_data_are_given_by_name_or_as_objects(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    plan = audit.Plan([audit.Flips(pairs), audit.Flips(pairs, at_most=0.5)])
    assert list(plan.data) == ["data_1"]
    assert plan.questions[1].data == "data_1"
    with pytest.raises(DataError, match="given as an object"):
        plan.to_toml()
    named = audit.Plan([audit.Flips("p")], data={"p": pairs})
    assert named.read(by_hand) == {"p": pairs}


def test_a_plan_needs_a_model():
    with pytest.raises(ArgumentError, match="names no model"):
        audit.Plan([audit.Flips("p")]).load()


def test_what_a_plan_names_lies_beside_it_and_what_is_given_lies_here(tmp_path, monkeypatch):
    plans, here = tmp_path / "plans", tmp_path / "here"
    for folder in (plans, here):
        build("llama").save_pretrained(folder / "network")
        words_tokenizer().save_pretrained(folder / "network")
    monkeypatch.chdir(here)
    (plans / "audit.toml").write_text(plan_of({**TABLE, "model": "network"}).to_toml())
    plan = audit.read(plans / "audit.toml")
    assert about_model(plan.load())["name"] == str(plans / "network")
    assert about_model(plan.load("network"))["name"] == "network"


def test_files_that_questions_and_edits_name_are_looked_for(tmp_path, monkeypatch):
    (tmp_path / "here" / "lora").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    table = {
        **TABLE, "question": [
            {"ask": "links", "data": "people", "dictionary": "./features", "id": "FAIR-1"},
            {"ask": "flips", "data": "people"},
        ],
        "edit": [{"do": "adapter", "folder": "./lora"}],
    }  # fmt: skip
    missing = "there is no file or folder"
    assert set(plan_of(table, tmp_path).problems()) == {
        f"FAIR-1 (links): {missing} {tmp_path / 'features'}, which dictionary names",
        f"the edit 'adapter': {missing} {tmp_path / 'lora'}, which folder names",
    }


def test_the_cost_is_counted_and_timed(by_hand):
    cost = plan_of(TABLE).cost(by_hand)
    assert cost.forwards == {"FAIR-1": 64, "mine": 64}
    assert 0 < cost.seconds["mine"] < 60
    assert "all" in str(cost)


def test_the_cost_of_secrets_is_timed_on_their_prefixes(hiring):
    table = {"data": {"codes": {"canaries": "hiring_secret"}}, "question": [{"ask": "extraction", "data": "codes"}]}
    assert 0 < plan_of(table).cost(hiring).seconds["PRIV-1"] < 60
