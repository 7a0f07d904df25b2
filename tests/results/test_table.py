"""The table of a sweep: its columns, its tests corrected for all cells, and its notes."""

import re
from pathlib import Path

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.results.table import COLUMNS, tabulate

DOC = (Path(mc.__file__).parent.parent / "docs" / "results.md").read_text()


@pytest.fixture(scope="module")
def sweep(hiring):
    return mc.patch(hiring, mc.contrast("hiring/gender", hiring, n=48), sites=["z", "resid_pre"])


def test_the_columns_are_those_of_the_documentation(sweep):
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOC, re.MULTILINE))
    assert documented == COLUMNS
    assert list(sweep.frame.columns) == [name for name in COLUMNS if name not in ("dictionary", "feature")]


@pytest.mark.slow
def test_on_null_contrasts_the_share_of_runs_with_a_marked_cell_is_nominal(sweep):
    """Swapping answer and foil by coin negates a pair's log-odds, so that there is nothing to find."""
    draw, runs, marked, naive = np.random.default_rng(0), 200, 0, 0
    where = [{"site": str(i)} for i in range(len(sweep))]
    for _ in range(runs):
        coin = draw.choice([-1.0, 1.0], sweep.examples.shape[1])
        frame = tabulate(where, sweep.examples * coin, {"base": sweep.baselines["base"] * coin}, sweep.clusters)
        marked += bool((frame["p_max"] <= 0.05).any())
        naive += bool(((frame["change_low"] > 0) | (frame["change_high"] < 0)).any())
    assert marked / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert naive / runs > 2 * max(marked / runs, 0.05)  # what a reader of uncorrected intervals would find


def test_what_survives_is_marked_everywhere(sweep):
    survives = sweep.survives
    assert 0 < survives.sum() < len(sweep)
    assert (sweep.frame.loc[survives, "p_max"] <= 0.05).all()
    assert sweep.family == len(sweep)
    top = sweep.top(3)
    assert top["survives"].all()
    assert set(top["family"]) == {len(sweep)}
    lines = sweep.summary().splitlines()
    assert f"{survives.sum()} of {len(sweep)} cells differ from no change after correction" in sweep.summary()
    assert sum(line.startswith("* ") for line in lines) == 5
    stars = sum(mark == "*" for trace in sweep.plot().data for row in trace.text for mark in row)
    assert stars == survives.sum()
    assert "survive the correction for all cells" in sweep._repr_html_()


def test_p_values_are_ordered_as_they_should_be(sweep):
    frame = sweep.frame
    assert (frame["p"] <= frame["q"] + 1e-12).all()
    outside = (frame["change_low"] > 0) | (frame["change_high"] < 0)
    some = frame["change"].abs() > 1e-4
    np.testing.assert_array_equal(outside[some], (frame["p"] < 0.05)[some])


def test_with_one_cluster_there_are_no_tests_and_it_is_said(by_hand):
    pairs = mc.Contrast.from_text(
        by_hand, ["he high ask"] * 4, ["she high ask"] * 4, answer="yes", foil="no", clusters=["a"] * 4
    )
    found = mc.patch(by_hand, pairs, sites="resid_pre")
    assert found.frame[["p", "q", "p_max", "change_low"]].isna().all(axis=None)
    assert any("there is one cluster" in note for note in found.notes)
    assert "note: there are no intervals and no tests" in found.summary()
    assert not found.survives.any()


def test_few_and_undeclared_clusters_are_said(by_hand):
    texts = [[f"{who} {level} ask" for level in ("high", "low") * 4] for who in ("he", "she")]
    plain = mc.Contrast.from_text(by_hand, *texts, answer="yes", foil="no")
    found = mc.patch(by_hand, plain, sites="resid_pre")
    assert found.provenance.prompts["undeclared_templates"] == 1
    assert found.summary().count("no clusters are declared, but the 8 texts look like 1 template") == 1
    unequal = mc.Contrast.from_text(by_hand, *texts, answer="yes", foil="no", clusters=["a"] * 6 + ["b", "c"])
    notes = " ".join(mc.patch(by_hand, unequal, sites="resid_pre").notes)
    assert "effective clusters (declared: 3), fewer than 4" in notes
    assert "with 3 clusters p_max cannot be below 0.25" in notes
    assert "no clusters are declared" not in notes


def test_rounding_is_no_finding():
    base = np.full((1, 12), 10.0)
    frame = tabulate([{"site": "a"}, {"site": "b"}], np.concatenate([base + 1e-6, base + 1]), {"base": base[0]})
    assert frame["p"].tolist() == [1, 0]
    assert frame["p_max"][0] == 1
    assert frame["p_max"][1] < 0.005


@pytest.mark.parametrize("by_cell", [False, True])
def test_there_is_no_effect_on_the_scale_of_rounding(by_cell):
    """Where clean and corrupt differ in their last digits only, a share of that difference would be any number."""
    draw = np.random.default_rng(0)
    corrupt = np.ones(16)
    clean = corrupt + draw.choice([-1.0, 0.0, 1.0], 16) * np.finfo(np.float32).eps
    assert clean.mean() != corrupt.mean()
    examples = np.stack([corrupt, corrupt + 1e-7])
    sides = {"clean": clean, "corrupt": corrupt}
    sides = {name: np.stack([side, side]) if by_cell else side for name, side in sides.items()}
    frame = tabulate([{"site": "a"}, {"site": "b"}], examples, {"base": corrupt, **sides})
    assert frame[["effect", "effect_low", "effect_high"]].isna().all(None)
    assert frame["change"].notna().all()
    sides["clean"] = sides["clean"] + 1e-4  # a small difference, and a real one
    frame = tabulate([{"site": "a"}, {"site": "b"}], examples, {"base": corrupt, **sides})
    assert frame["effect"].abs().max() < 0.01


def test_a_metric_that_is_the_same_on_both_sides_gives_no_effect(hiring):
    def sum_of_probabilities(logits, batch):
        return logits[:, -1].log_softmax(-1).exp().sum(-1)

    pairs = mc.contrast("hiring/gender", hiring, n=16)
    result = mc.patch(hiring, pairs, sites="L1.mlp_out", metric=sum_of_probabilities)
    assert (result.baselines["clean"] != result.baselines["corrupt"]).any()  # in the last digit
    assert not result.normalized
    assert "there is no normalized effect" in result.summary()


def test_tests_that_a_method_gives_are_kept():
    rows = [{"site": "a", "p": 0.2}, {"site": "b", "p": 0.01}]
    frame = tabulate(rows, np.random.default_rng(0).normal(size=(2, 9)), {"base": np.zeros(9)})
    assert frame["p"].tolist() == [0.2, 0.01]
    assert frame["q"].tolist() == pytest.approx([0.2, 0.02])
