import json
import shutil

import numpy as np
import pytest
import torch
from studies import EXPERIMENTS, script

import mechcausal as mc

SWEEPS = {
    "resid_pre": lambda model, pairs: mc.patch.cost(model, pairs, sites="resid_pre"),
    "mlp_out": lambda model, pairs: mc.patch.cost(model, pairs, sites="mlp_out"),
    "z": lambda model, pairs: mc.patch.cost(model, pairs, sites="z"),
}
SIZES = [
    {"layers": 4, "heads": 4, "positions": 16, "pairs": 16},
    {"layers": 2, "heads": 8, "positions": 9, "pairs": 64},
]
SMALL = {"layers": 2, "heads": 4, "positions": 16, "pairs": 16}


@pytest.fixture
def prepare():
    return script("scaling", "prepare")


def loaded(prepare, size, folder):
    place = folder / "model"
    prepare.model(size["layers"], size["heads"]).save_pretrained(place)
    prepare.save_tokenizer(prepare.vocabulary(), place, longest=max(prepare.POSITIONS))
    rows = prepare.pairs(size["positions"], size["pairs"], 0)
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = mc.load(str(place))
    return model, mc.Contrast.read(folder / "pairs.jsonl", model)


@pytest.mark.parametrize("size", SIZES, ids=["base", "many"])
def test_the_closed_form_is_what_the_engine_plans_and_runs(size, prepare, tmp_path):
    model, pairs = loaded(prepare, size, tmp_path)
    computed, naive = (getattr(script("scaling"), name) for name in ("computed", "naive"))
    for sweep, cost in SWEEPS.items():
        planned = cost(model, pairs)
        assert planned.token_layers == computed(sweep, **size)
        assert planned.naive_token_layers == naive(sweep, **size)
        ran = mc.patch(model, pairs, sites=sweep).provenance.compute
        assert ran["token_layers"] == planned.token_layers
    ran = mc.attribute(model, pairs, sites="z").provenance.compute
    assert ran["token_layers"] == computed("attribute z", **size)


def test_cells_of_a_small_sweep_begin_together(prepare, tmp_path):
    """A few tokens more cost less than one more call of every layer, so slightly more is computed than the formula says."""
    model, pairs = loaded(prepare, SMALL, tmp_path)
    for sweep in ("resid_pre", "mlp_out"):
        assert 1 < SWEEPS[sweep](model, pairs).token_layers / script("scaling").computed(sweep, **SMALL) < 1.15


def test_all_words_of_a_pair_differ_but_the_first(prepare, tmp_path):
    _, pairs = loaded(prepare, SMALL, tmp_path)
    assert torch.equal(pairs.differs, torch.tensor([[False] + [True] * 15]).expand(16, 16))


@pytest.mark.slow
def test_the_study_measures_every_sweep_along_every_axis(prepare, tmp_path):
    for name in ("experiment.toml", "analyse.py"):
        shutil.copy(EXPERIMENTS / "scaling" / name, tmp_path / name)
    prepare.WIDTH, prepare.PAIRS, prepare.BASE = 16, (3, 4, 5), {**prepare.BASE, "pairs": 2}
    prepare.prepare(tmp_path / "made")
    for old, new in (("pairs_3", "pairs_8"), ("pairs_4", "pairs_32"), ("pairs_5", "pairs_64")):
        (tmp_path / "made" / f"{old}.jsonl").rename(tmp_path / "made" / f"{new}.jsonl")
    experiment = mc.Experiment.read(tmp_path / "experiment.toml", sets={"step.patched_by_data.each": {"sites": ["z"]}})
    run = experiment.run(tmp_path / "run", only=["patched_by_data", "path_by_data"])
    analysis = script("scaling")
    table = analysis.answer(run)
    assert set(table["sweep"]) == {"z", "path z"}
    assert set(table["axis"]) == {"base", "positions", "pairs"}
    assert np.isfinite(table["seconds_ratio"]).all()
    assert (table.loc[table["axis"] == "base", "seconds_ratio"] == 1).all()
    assert "path z" in analysis.say(table)
    assert "<svg" in analysis.page(table)
