"""The list of specifications: complete, and each comes back from its file."""

import tomllib

import pytest

import mechcausal as mc
from mechcausal.errors import ArgumentError
from mechcausal.interventions import Set

SPECS = {
    "plain": mc.methods.Patching(sites="z", direction="noise"),
    "places": mc.methods.Patching(sites=["z", "L1.mlp_out"], at=[1, "@-1", slice(2, 4)]),
    "intervention": mc.methods.Ablating(do=Set((0.5, 1.0)), seed=3),
    "word": mc.methods.Ablating(do="resample", seed=3),
    "steps": mc.methods.Attributing(steps=4, path="cell"),
    "paths": mc.methods.PathPatching(receivers=["L1.q.H0", "logits"], receiver_at=slice(2, None)),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_comes_back_from_its_file(name):
    spec = SPECS[name]
    assert mc.methods.read(tomllib.loads(spec.to_toml())) == spec


def test_a_specification_with_prompts_stays_in_python(pairs):
    with pytest.raises(ArgumentError, match="'reference' of ablate cannot be written to a file"):
        mc.methods.Ablating(reference=pairs).to_json()


@pytest.mark.parametrize(
    ("data", "said"),
    [({"sites": "z"}, "names its method"), ({"run": "ptach"}, "did you mean 'patch'"), (3, "names its method")],
)
def test_what_is_no_specification(data, said):
    with pytest.raises(mc.MechcausalError, match=said):
        mc.methods.read(data)


def test_every_specification_is_listed():
    from mechcausal.method import METHODS

    for face in (mc, mc.causal, mc.features, mc.patching):
        for name in dir(face):
            getattr(face, name)
    assert {getattr(mc.methods, name).word for name in mc.methods._SPECS} == {
        word for word in METHODS if not word.endswith("for_a_test")
    }
    assert [mc.methods._SPECS[name][0] for name in mc.methods._SPECS] == [
        getattr(mc.methods, n).word for n in mc.methods._SPECS
    ]
