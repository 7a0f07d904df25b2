"""A link of heads on the real model: smaller than `benchmarks/links.py`, which takes all 270 heads and more networks.

27 heads of three late layers, 128 pairs, and details of none: the whole takes a quarter of an hour.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.models.redrawn import redrawing

pytestmark = pytest.mark.real

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
HEADS = ["L25.z.H*", "L26.z.H*", "L27.z.H*"]
QUICK = {"details": 0, "redrawn": 16}


@pytest.fixture(scope="module")
def occupations(smollm2):
    from links import pairs_of

    return pairs_of(smollm2, 128, shared=False)


def test_a_head_is_causal_for_gender_and_others_tell_it_without_use(smollm2, occupations):
    links = mc.link(smollm2, occupations, HEADS, "female", **QUICK)
    rows = links.frame.set_index("candidate")
    assert rows.loc["L26.z.H2", "verdict"] == "causal"
    assert rows.loc["L26.z.H2", "share"] > 0.5
    auc = 0.5 + np.maximum((rows["auc"] - 0.5).abs(), (rows["auc_pooled"] - 0.5).abs())
    assert ((auc > 0.9) & (rows["verdict"] == "correlate-only")).sum() >= 3
    assert "more than a network with random weights" in links.tables["total"]["sentence"]


def test_nothing_is_causal_in_a_network_with_random_weights(smollm2, occupations):
    with redrawing(smollm2) as redraw:
        redraw(7)
        links = mc.link(smollm2, occupations, "L26.z.H*", "female", details=0, redrawn=8)
    assert set(links.frame["verdict"]) == {"inconclusive"}
