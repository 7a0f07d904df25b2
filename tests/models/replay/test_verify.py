"""What the comparison of engine and loop found is kept on disk where it took long, and only for the very same model."""

import numpy as np
import pytest
import torch
from zoo import build, make_pairs

import mechcausal as mc
from mechcausal.models.replay import verify
from mechcausal.models.replay.verify import Kept, replayer


@pytest.fixture
def another(monkeypatch, tmp_path):
    """Return a way to load a model as another process would; everything counts as long."""
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))
    monkeypatch.setattr(verify, "LONG", -1.0)

    models = []  # a replayer does not keep its model alive

    def load(name="llama", change=0.0):
        bare = build(name)
        next(bare.parameters()).add_(change)
        models.append(mc.load(bare))
        return models[-1]

    return load


def never(*_):
    raise AssertionError("it was compared again")


def test_a_second_process_compares_nothing(another, monkeypatch):
    first = replayer(another())
    assert first.carries("z")
    assert first.together
    monkeypatch.setattr(verify, "_disagreements", never)
    monkeypatch.setattr(verify, "_is_read", never)
    second = replayer(another())
    assert (second.twin.readable, second.twin.leaves_early) == (first.twin.readable, first.twin.leaves_early)
    assert (second.components, second.inside, second.together) == (first.components, first.inside, first.together)
    assert second.reasons == first.reasons
    with pytest.raises(AssertionError, match="compared again"):
        replayer(another(change=0.1)).carries("z")


def test_the_numbers_are_the_same(another):
    pairs = make_pairs()
    tables = [mc.patch(another(), pairs, sites="z", at=[1, -1]) for _ in "ab"]
    assert np.array_equal(*(table.examples for table in tables))
    assert all(table.provenance.compute["engine"] == "replay" for table in tables)


def test_why_it_is_not_used_is_kept_too(another, monkeypatch):
    real = verify._disagreements
    monkeypatch.setattr(verify, "_disagreements", lambda *given: ["they differ"] * len(given[2]))
    replayer(another()).carries("mlp_out")
    monkeypatch.setattr(verify, "_disagreements", never)
    second = replayer(another())
    assert not second.carries("mlp_out")
    assert second.reasons == {"mlp_out": "they differ"}
    monkeypatch.setattr(verify, "_disagreements", real)
    assert replayer(another()).carries("z")


def test_layers_are_compared_in_every_process(another, monkeypatch):
    """Without the weights of its layers the engine is not used, whatever was found before."""
    assert replayer(another()).carries("z")
    real = verify.Twin.logits
    monkeypatch.setattr(verify.Twin, "logits", lambda *given: real(*given) + torch.tensor(1.0).cumsum(0) * 3)
    found = replayer(another())
    assert found.twin is None
    assert "do not give its logits" in found.reasons["z"]


def test_processes_do_not_lose_what_others_found(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))
    monkeypatch.setattr(verify, "LONG", -1.0)
    here, there = Kept({"a": 1}), Kept({"a": 1})
    assert here.get("x", lambda: 1) == 1
    assert there.get("y", lambda: 2) == 2
    assert there.get("x", never) == 1
    assert Kept(None).get("x", lambda: 3) == 3
