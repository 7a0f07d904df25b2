"""What recipes of trained organisms share."""

import json
from dataclasses import replace
from importlib import import_module

import pytest

import mechcausal as mc
from mechcausal.recipes import recipe as shared
from mechcausal.recipes.brackets import RECIPE

NAMES = ("brackets", "ioi", "induction", "bios")


@pytest.mark.parametrize("name", NAMES)
def test_the_statement_that_ships_is_the_recipes(name):
    known = mc.truth(name)
    recipe = import_module(f"mechcausal.recipes.{name}").RECIPE
    options = known["recipe"].partition(f"recipes.{name} ")[2]
    assert options == f"--seed 0 --steps {recipe.steps}"
    told = recipe.truth(mc.load(f"organism:{name}"), known["measured"], options=options)
    assert json.loads(json.dumps(told)) == known


@pytest.mark.parametrize("name", NAMES)
def test_every_edge_leads_forward_between_places_of_the_circuit(name):
    known = mc.truth(name)
    places = [*known["circuit"], "logits"]
    for sender, receiver in known["edges"]:
        assert sender in places or sender.startswith("embed@")
        assert receiver in places
    assert {receiver for _, receiver in known["edges"]} == set(places)


@pytest.mark.slow
def test_a_script_writes_what_can_be_loaded(tmp_path, monkeypatch, capsys):
    small = replace(RECIPE, width=16, pool=200, options={"every": 2, "progress": False})
    monkeypatch.setattr("sys.argv", ["recipe", "--out", str(tmp_path), "--steps", "2"])
    shared.main(small, lambda told: told | {"notes": "changed"})
    told = json.loads((tmp_path / "truth.json").read_text())
    assert told["notes"] == "changed"
    assert told["recipe"].endswith("--seed 0 --steps 2")
    assert mc.load(tmp_path / "weights").cfg.d_model == 16
    assert "accuracy" in capsys.readouterr().out
