import json

import pytest
import torch

from mechcausal.address import vector
from mechcausal.errors import InterventionError
from mechcausal.interventions import Add, Edit, Erase, Mean, Patch, Project, Resample, Scale, Set, Zero
from mechcausal.interventions.specs import KINDS, AddDelta, Interpolate, canonical_json, edit_from_json, from_json

EXAMPLES = [
    Zero(), Mean(), Resample(seed=3), Patch(), Interpolate(0.25), Set(1.5), Set((1.0, 2.0)), Add((0.5, 1.0), scale=-2.0), AddDelta(),
    Scale(0.5), Project(((1.0, 0.0),), keep=True), Erase(((1.0,),), ((1.0,),), (0.0,)),
]  # fmt: skip


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec.name)
def test_json_both_ways(spec):
    assert from_json(json.loads(json.dumps(spec.to_json()))) == spec
    edit = Edit.of("L1.z.H2", spec, "@-1")
    assert edit_from_json(json.loads(json.dumps(edit.to_json()))) == edit
    assert hash(edit) == hash(edit_from_json(edit.to_json()))


def test_every_kind_is_tried_above():
    assert {spec.name for spec in EXAMPLES} == set(KINDS)


def test_words_and_vectors():
    assert from_json("zero") == Zero()
    assert str(Edit.of("L1.z.H2", "zero", "@-1")) == "zero L1.z.H2@-1"
    assert str(Edit.of("L1.z.H2", "mean")) == "mean L1.z.H2"
    assert vector(torch.tensor([1.0, 2.0])) == (1.0, 2.0)
    assert canonical_json([Edit.of("embed", "zero")]) == '[{"at": "@all", "do": "zero", "site": "embed"}]'


def test_wrong_words():
    with pytest.raises(InterventionError, match="did you mean 'resample'"):
        from_json("resmaple")
    with pytest.raises(InterventionError, match="expected factor"):
        from_json({"do": "scale", "by": 2})
