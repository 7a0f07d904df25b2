"""Statements: what each recipe says of its organism is what ships with it, and nothing of another task is in it."""

import json

import pytest

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.recipes import hiring, hiring_subspace
from mechcausal.recipes.statement import edges, statement, write_truth

OF_HIRING = {
    "hiring": lambda: hiring.hypotheses(),
    "hiring_backup": lambda: hiring.hypotheses(1),
    "hiring_subspace": lambda: hiring_subspace_of(False),
    "hiring_shared": lambda: hiring_subspace_of(True),
}


def hiring_subspace_of(shared):
    lesson = hiring_subspace.lesson(mc.load("organism:hiring_subspace"), n=64, seed=1, shared=shared, rotation=0)
    return {hiring_subspace.decision_task(shared=shared).name: lesson.hypothesis}


@pytest.mark.parametrize("name", OF_HIRING)
def test_the_shipped_statement_comes_out_again(name):
    model, shipped = mc.load(f"organism:{name}"), mc.truth(name)
    stated = hiring.truth(name, model, OF_HIRING[name](), {}, recipe="", task="", notes="")
    stated = json.loads(json.dumps(stated))
    for key in ("tasks", "parameters", "given", "circuit", "edges", "secrets"):
        assert stated[key] == shipped[key], key
    assert stated["exact_effects_on_p_accept"] == pytest.approx(shipped["exact_effects_on_p_accept"])
    assert stated["variables"].keys() == shipped["variables"].keys()
    for variable, entry in stated["variables"].items():
        assert {**entry, "parts": ()} == {**shipped["variables"][variable], "parts": ()}


def test_a_neutral_statement(by_hand):
    hypothesis = Hypothesis.of("by_hand")
    stated = statement("mine", by_hand, {"by_hand": hypothesis}, {"accuracy": 1.0}, recipe="r", task="t", notes="n")
    assert set(stated) == {
        "name", "task", "tasks", "parameters", "recipe", "variables", "given", "circuit", "edges", "measured", "notes",
    }  # fmt: skip
    inner = [
        {tuple(edge) for edge in known["edges"] if "embed" not in edge[0]} for known in (stated, mc.truth("by_hand"))
    ]
    assert inner[0] == inner[1]
    assert stated["circuit"] == mc.truth("by_hand")["circuit"]
    assert stated["measured"] == {"accuracy": 1.0}


def test_an_input_that_is_no_word_has_the_name_it_is_given():
    secret = hiring.hypotheses()[hiring.SECRETS]
    assert ["position", "L3.mlp_out"] in edges({"secret": secret}, {"place": "position"})
    assert ["embed@place", "L3.mlp_out"] in edges({"secret": secret}, {})


def test_lists_of_numbers_stand_on_one_line(tmp_path):
    write_truth({"a": [1.5, -2e-3], "b": ["x", "y"]}, tmp_path / "truth.json")
    assert "[ 1.5, -0.002 ]" in (tmp_path / "truth.json").read_text()
    assert json.loads((tmp_path / "truth.json").read_text()) == {"a": [1.5, -2e-3], "b": ["x", "y"]}
