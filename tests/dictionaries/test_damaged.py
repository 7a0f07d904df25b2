"""Files of dictionaries that were changed after they were written are refused, in one sentence of the package."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.dictionaries import folder
from mechcausal.dictionaries.activations import Activations, harvest
from mechcausal.errors import MechcausalError

SITE = "L1.resid_post"


def flips(path, count, seed=0):
    """Yield the file with one bit changed, again and again, and leave it as it was."""
    content, draw = path.read_bytes(), np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        changed[draw.integers(len(content))] ^= 1 << draw.integers(8)
        path.write_bytes(changed)
        yield
    path.write_bytes(content)


@pytest.fixture(scope="module")
def harvested(tmp_path_factory):
    room = tmp_path_factory.mktemp("activations")
    harvest(loaded("gpt2"), make_pairs(lengths=(7, 5, 6, 8)).clean, SITE, out=room)
    return room


@pytest.mark.parametrize("name", ["00000.safetensors", "activations.json"])
def test_flipped_activations_are_not_trained_on(name, harvested):
    model = loaded("gpt2")
    before = Activations.open(harvested).shard(0)
    for _ in flips(harvested / name, 40):
        with pytest.raises(MechcausalError) as raised:
            mc.features.train(model, harvested, SITE, width=8, k=2, tokens=64, batch_size=8)
        assert len(str(raised.value)) < 400
    assert torch.equal(Activations.open(harvested).shard(0), before)


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors", "mechcausal.json"])
def test_a_flipped_dictionary_is_not_loaded_as_another(name, tmp_path):
    draw = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (32, 24), "W_dec": (24, 32), "b_enc": (24,), "b_dec": (32,)}
    weights = {word: torch.randn(*shape, generator=draw) for word, shape in shapes.items()}
    config = {"architecture": "topk", "d_in": 32, "d_sae": 24, "k": 3}
    path = folder.write(tmp_path / "sae", config, weights, {"site": SITE, "model": "gpt2", "recipe": {"k": 3}})
    whole = folder.read(path)
    refused = 0
    for _ in flips(path / name, 60):
        with suppress(MechcausalError):
            changed = folder.read(path)
            # The one change that is not seen is of the word that says that there is a checksum.
            assert name == "mechcausal.json"
            assert changed.facts["recipe"] == whole.facts["recipe"]
            assert changed.config == whole.config
            continue
        refused += 1
    assert refused >= 50


def test_what_cannot_be_learned_is_refused_before_anything_is_run(gpt2, monkeypatch):
    from mechcausal.dictionaries import activations

    monkeypatch.setattr(activations, "readings", None)
    one = make_pairs(lengths=(7,)).clean
    with pytest.raises(MechcausalError, match=r"fewer tokens than it has features.*7 tokens for 256 features"):
        mc.features.train(gpt2, one, SITE, width=256)
    with pytest.raises(MechcausalError, match="50 tokens for 64 features"):
        mc.features.train(gpt2, torch.randn(50, 32), SITE, width=64, k=2)


def test_a_name_that_is_no_release_is_refused_in_few_words(gpt2):
    for name in ("gpt2-small-res-j", "zzzzzzzzzzzz", "x" * 3000):
        with pytest.raises(MechcausalError) as raised:
            mc.features.load(gpt2, name)
        assert len(str(raised.value)) < 400
