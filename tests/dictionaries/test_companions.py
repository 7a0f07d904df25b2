"""Companions: other seeds and both halves, made once, gone on with after an interruption, refused beside a stranger."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.dictionaries import folder, saelens
from mechcausal.dictionaries.activations import Activations, harvest
from mechcausal.dictionaries.companions import companions, found, halved, planned
from mechcausal.errors import DataError, ModelError, UnsupportedError
from mechcausal.models.attached import attached
from mechcausal.results.storage import read_json, write_json

try:
    saelens.sae_lens()
    CAN_TRAIN = True
except UnsupportedError:
    CAN_TRAIN = False

needs_sae_lens = pytest.mark.skipif(not CAN_TRAIN, reason="sae-lens cannot be imported beside transformer-lens 4")
SITE = "L1.resid_post"
OPTIONS = {"width": 24, "k": 3, "tokens": 20 * 256, "batch_size": 256, "seed": 4}


@pytest.fixture(scope="module")
def prompts():
    return make_pairs(lengths=(9,) * 60).clean


@pytest.fixture(scope="module")
def trained(prompts, tmp_path_factory):
    """Return the folder of a dictionary with two companions of other seeds, and so four."""
    out = tmp_path_factory.mktemp("companions") / "sae"
    mc.features.train(loaded("gpt2"), [prompts], SITE, out=out, companions=2, **OPTIONS)
    return out


def test_what_is_planned(tmp_path):
    assert [one.name for one in planned(tmp_path, 3)] == ["seed-1", "seed-2", "seed-3", "half-1", "half-2"]
    assert planned(tmp_path, 0) == []
    with pytest.raises(DataError, match="counted from 0"):
        planned(tmp_path, -1)


@needs_sae_lens
def test_they_are_what_their_recipes_give(trained, prompts, gpt2):
    there = found(trained)
    assert [(one.name, one.kind) for one in there] == [
        ("half-1", "half"), ("half-2", "half"), ("seed-1", "seed"), ("seed-2", "seed"),
    ]  # fmt: skip
    facts = {one.name: folder.read(one.path).facts for one in there}
    assert {name: one["recipe"]["seed"] for name, one in facts.items()} == {
        "half-1": 4, "half-2": 4, "seed-1": 5, "seed-2": 6,
    }  # fmt: skip
    own = folder.read(trained).facts
    assert [facts[name]["data"]["digest"] == own["data"]["digest"] for name in ("seed-1", "half-1")] == [True, False]
    assert facts["half-1"]["data"]["n_prompts"] + facts["half-2"]["data"]["n_prompts"] == len(prompts)
    # By hand: another seed is the same call with that seed.
    alone = mc.features.train(gpt2, [prompts], SITE, name="alone", **OPTIONS | {"seed": 5})
    assert mc.features.load(gpt2, there[2].path).digest == alone.digest
    one, other = (mc.features.load(gpt2, one.path).digest for one in there[:2])
    assert len({one, other, alone.digest}) == 3


@needs_sae_lens
def test_what_is_there_is_not_trained_again(trained, prompts, gpt2, monkeypatch):
    monkeypatch.setattr(saelens.Trainer, "step", None)
    again = mc.features.train(gpt2, [prompts], SITE, out=trained, companions=2, **OPTIONS)
    assert again.digest == mc.features.load(gpt2, trained, name="other").digest
    assert again.folder == trained
    assert not any("-seed-" in name or "-half-" in name for name in attached(gpt2))
    with pytest.raises(TypeError):  # one more has to be trained
        companions(gpt2, [prompts], trained, 3)


@needs_sae_lens
def test_an_interruption_changes_nothing(trained, prompts, gpt2, tmp_path, monkeypatch):
    out, step, calls = tmp_path / "sae", saelens.Trainer.step, []

    def interrupted(self, batch):
        calls.append(1)
        if len(calls) == 2 * 20 + 15:  # in the second companion
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(saelens.Trainer, "step", interrupted)
    told = {**OPTIONS, "out": out, "companions": 2, "checkpoint_every": 6}
    with pytest.raises(KeyboardInterrupt):
        mc.features.train(gpt2, [prompts], SITE, **told)
    assert [(one.name, one.finished) for one in found(out)] == [("seed-1", True), ("seed-2", False)]
    mc.features.train(gpt2, [prompts], SITE, **told)
    assert len(calls) == 2 * 20 + 15 + (20 - 12) + 2 * 20
    for one, other in zip(found(out), found(trained), strict=True):
        assert one.finished
        weights = [folder.read(path).weights for path in (one.path, other.path)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@needs_sae_lens
@pytest.mark.parametrize(
    ("word", "change", "words"),
    [
        ("model_digest", "another", "got model another"),
        ("site", "L0.resid_post", "got site L0.resid_post; expected L1.resid_post"),
        ("recipe", {"rate": 0.5}, "got recipe rate 0.5; expected 0.002"),
        ("data", {"digest": "other"}, "got data other"),
    ],
)
def test_a_stranger_is_refused(trained, tmp_path, word, change, words):
    out = tmp_path / "sae"
    shutil.copytree(trained, out)
    path = out / "companions" / "seed-2" / folder.FACTS
    facts = read_json(path)
    facts[word] = {**facts[word], **change} if isinstance(change, dict) else change
    write_json(path, facts)
    with pytest.raises(ModelError, match=f"seed-2 does not belong to the dictionary beside it.*{words}.*delete"):
        found(out)


@needs_sae_lens
def test_what_is_refused_before_training(trained, prompts, gpt2, llama, monkeypatch):
    monkeypatch.setattr(saelens.Trainer, "step", None)
    with pytest.raises(DataError, match="was trained on other data"):
        companions(gpt2, prompts.take(range(30)), trained)
    with pytest.raises(ModelError, match="belongs to another model"):
        companions(llama, [prompts], trained)
    with pytest.raises(ModelError, match="holds no dictionary"):
        companions(gpt2, [prompts], trained / "nowhere")
    with pytest.raises(DataError, match="kept in the folder of the dictionary"):
        mc.features.train(gpt2, [prompts], SITE, **OPTIONS, companions=1)


def test_a_folder_without_companions_has_none(tmp_path):
    assert found(tmp_path) == []


def test_prompts_are_halved_set_by_set(prompts):
    numbered = prompts.take(range(21)), make_pairs(lengths=(5,) * 12, seed=3)
    first, second = halved(list(numbered), 0)
    assert [len(part) for part in first] == [10, 6]
    assert [len(part) for part in second] == [11, 6]
    texts = sorted(row for part in (first[0], second[0]) for row in part.real_tokens)
    assert texts == sorted(numbered[0].real_tokens)
    assert halved(list(numbered), 0)[0][0].hash == first[0].hash != halved(list(numbered), 1)[0][0].hash
    with pytest.raises(DataError, match="cannot be cut into halves"):
        halved(prompts.take([0]), 0)


@pytest.mark.parametrize("kept", ["tensor", "memory", "shards"])
def test_activations_are_halved_by_blocks_or_shards(prompts, gpt2, tmp_path, kept, monkeypatch):
    if kept == "tensor":
        data = harvest(gpt2, prompts, SITE).shard(0)
    elif kept == "memory":
        data = harvest(gpt2, prompts, SITE)
    else:
        monkeypatch.setattr("mechcausal.dictionaries.activations.TOKENS", 90)  # ten prompts
        harvest(gpt2, prompts, SITE, out=tmp_path)
        data = tmp_path
    whole = Activations.open(data) if kept == "shards" else data if kept == "memory" else Activations.of(data)
    rows = [
        np.concatenate([part.shard(i).numpy() for i in range(len(part.shards))]) for part in (whole, *halved(data, 2))
    ]
    assert abs(len(rows[1]) - len(rows[2])) <= 9
    assert sorted(map(tuple, np.concatenate(rows[1:]))) == sorted(map(tuple, rows[0]))
    first, second = halved(data, 2)
    if kept != "tensor":
        assert first.facts["prompts"] != second.facts["prompts"] != whole.facts["prompts"]
        assert first.facts["site"] == SITE
        assert sum(first.sizes) == len(first) == len(rows[1])
