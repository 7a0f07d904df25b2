"""The picture: where points stand, and which of them are named."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd

from mechcausal.links.figure import better_place, named, points
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCONCLUSIVE


def row(auc, pooled, verdict=CAUSAL, share=0.1):
    return {
        "auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.05,
        "auc_pooled": pooled, "auc_pooled_low": pooled - 0.2, "auc_pooled_high": pooled + 0.02,
        "verdict": verdict, "share": share,
    }  # fmt: skip


def test_the_pooled_value_is_drawn_only_where_it_is_clearly_better():
    assert better_place(pd.Series(row(0.8, 0.85))) == "auc"
    assert better_place(pd.Series(row(0.6, 0.85))) == "auc_pooled"
    assert better_place(pd.Series(row(0.6, 0.1))) == "auc_pooled"


def test_an_area_below_one_half_is_mirrored_with_its_interval():
    rows = pd.DataFrame([row(0.2, 0.5), row(0.9, 0.5)])
    drawn = points(SimpleNamespace(of=lambda concept: rows), "any")
    assert drawn["x"].tolist() == [0.8, 0.9]
    assert drawn.loc[0, ["x_low", "x_high"]].tolist() == [0.75, 0.9]
    assert (drawn["x_low"] <= drawn["x"]).all()
    assert (drawn["x"] <= drawn["x_high"]).all()
    assert not drawn["pooled"].any()


def test_the_largest_effects_and_the_clearest_unused_ones_are_named():
    rows = pd.DataFrame(
        [row(0.9, 0.5, CAUSAL, share / 100) for share in range(7)]
        + [row(x, 0.5, CORRELATE, 0.0) for x in (0.6, 0.7, 0.8, 0.9)]
        + [row(0.99, 0.5, INCONCLUSIVE, 0.9)]
    ).assign(x=lambda frame: frame["auc"])
    assert named(rows) == {2, 3, 4, 5, 6} | {8, 9, 10}
