"""Edits as JSON, and when they are made."""

import json

import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.generation.edits import edit_of, edits_of, in_few_words, ready
from mechcausal.interventions import Add, Edit, Set


def test_an_edit_is_read_from_all_its_forms():
    edit = Edit.of("L1.resid_post", Add((1.0, 2.0), 3.0), "@-1", "both")
    assert edits_of([edit, edit.to_json(), json.dumps(edit.to_json())]) == (edit,) * 3
    assert edits_of(edit) == (edit,)
    assert edit_of({"site": "L1.z", "do": "project", "direction": torch.ones(2)}).do.directions == ((1.0, 1.0),)
    assert "a vector of 6" in in_few_words(Edit.of("L1.z", Add((1.0,) * 6)))["value"]


@pytest.mark.parametrize(
    ("at", "when", "prompt", "new"),
    [
        (None, None, True, True), ("@-1", None, True, False), ("@-1", "both", True, True), (None, "prompt", True, False),
        (None, "new", False, True),
    ],
)  # fmt: skip
def test_when_an_edit_is_made(at, when, prompt, new):
    edit = Edit.of("L0.z", "zero", at, when)
    assert (edit.in_prompt, edit.at_new) == (prompt, new)


def test_the_mean_becomes_what_it_is():
    model, prompts = loaded("llama"), make_pairs().clean
    z = mc.read(model, prompts, "L1.z")["L1.z"].double().mean((0, 1))
    edits = ready(model, edits_of([Edit.of("L1.z", "mean"), Edit.of("L1.z.H2", "mean")]), prompts, prompts, 8)
    assert [str(edit.site) for edit in edits] == [f"L1.z.H{head}" for head in (0, 1, 2, 3, 2)]
    for edit in edits:
        assert isinstance(edit.do, Set)
        assert torch.tensor(edit.do.value).numpy() == pytest.approx(z[edit.site.head].numpy(), abs=1e-5)
