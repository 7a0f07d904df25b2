"""What all probing methods share: specifications as plain data, the kind of probe, and the examples of a place."""

import math
import tomllib

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.address import Place, Selection, Site
from mechcausal.errors import ArgumentError, DataError
from mechcausal.interventions import Edit
from mechcausal.interventions.specs import Zero
from mechcausal.methods import Erasing, Guarding, ProbeSweeping, Probing, ProbingSuite, SparseProbing, read
from mechcausal.probes.kinds import Settings
from mechcausal.probes.labels import Labels, labels_of
from mechcausal.probes.procedure import PENALTIES, Procedure, examples, kind_for
from mechcausal.probes.readings import Reading

SPECS = [
    Probing("gender", "L2.resid_post", at="@decision", kind="sparse", k=3, task="hiring", permutations=9),
    Probing([1, 0, 1], "embed", C=math.inf, edits=[Edit(Site("resid_post", 0), Zero(), Selection.parse("@1"))]),
    ProbeSweeping("gender", sites=["z", "resid_post"], at=["@name", "@-1"], C=(0.1, 1.0), score="balanced_accuracy"),
    ProbingSuite(sites="z", kinds=["logistic", "means"]),
    SparseProbing("gender", "L2.resid_post.sae:own", ks=(1, 2)),
    Erasing("gender", ["L1.z.H2", "L2.resid_post"], method="means", share=0.6),
    Guarding(kinds=["mlp"], tolerance=0.1, sites="resid_post"),
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.word)
def test_a_specification_comes_back_from_toml(spec):
    assert read(tomllib.loads(spec.to_toml())) == spec


def test_a_task_is_kept_by_its_name_and_arrays_stay_in_python():
    assert Probing("gender", "embed", task=mc.task("hiring")).task == "hiring"
    with pytest.raises(ArgumentError, match=r"labels.*cannot be written"):
        Probing(np.zeros(3), "embed").to_json()


def test_the_function_is_documented_by_the_specification():
    text = mc.features.probe.__doc__
    for name in ("model", "prompts", "labels", "site", "C", "folds", "seed", "edits"):
        assert f"\n    {name}: " in text
    assert text.count("    seed: ") == 1


def test_numbers_are_read_by_ridge_and_classes_by_a_logistic_probe(hiring):
    prompts = mc.task("hiring").prompts(hiring, 20)
    classes = labels_of(prompts, "gender")
    numbers = labels_of(prompts, np.linspace(0, 1, 20), numbers=None)
    assert (kind_for(classes, None), kind_for(numbers, None), kind_for(classes, "mlp")) == ("logistic", "ridge", "mlp")
    spec = Probing("gender", "embed")
    assert spec.settings("logistic").C == 1.0
    assert spec.settings("ridge").C == PENALTIES
    assert not spec.procedure("ridge", mdl=True).mdl


def test_fits_are_counted():
    plain = Procedure("logistic", Settings(), folds=4)
    assert plain.fits == 4
    assert Procedure("logistic", Settings(), folds=4, control=True, permutations=9).fits == 4 * (1 + 6 + 10)


def test_examples_without_a_label_are_left_out_and_lonely_classes_refused(hiring):
    prompts = mc.task("hiring").prompts(hiring, 12)
    place = Place(Site("resid_post", 1), Selection.parse("@-1"))
    reading = Reading(place, np.arange(24.0).reshape(12, 2), np.arange(12), np.full(12, 7))
    labels = labels_of(prompts, [None, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    rows = examples(prompts, reading, labels)
    assert rows.x.shape == (11, 2)
    assert rows.rows.tolist() == list(range(1, 12))
    with pytest.raises(DataError, match="in one cluster only"):
        examples(prompts, reading, labels_of(prompts, [1] + [0] * 11))
    several = Reading(place, reading.x[:3], np.zeros(3, dtype=int), np.array([0, 1, 2]))  # tokens of one prompt
    numbers = Labels("size", np.zeros((12, 8), dtype=int), (), np.arange(96.0).reshape(12, 8))
    with pytest.raises(DataError, match="of one cluster"):
        examples(prompts, several, numbers)
