"""A small report with every status, for the tests of its views."""

from functools import cache

import pandas as pd

from mechcausal import audit
from mechcausal.audits.figures import Cell, Matrix, Point, Points
from mechcausal.audits.finding import Finding, Threshold

EVIL = "<script>alert(1)</script> | `x` [a](b)"
RUN = {
    "created": "2026-01-02T03:04:05+00:00", "seconds": 1.5, "plan_hash": "abc", "earlier_plans": ["def"],
    "model": {"name": EVIL, "architecture": "A", "weights": "w", "tokenizer": None, "config": "c", "dtype": "float32",
              "device": "cpu"},
    "packages": {"mechcausal": "0.1.0"}, "git": {"commit": "c0ffee", "dirty": True},
    "data": {"people": {"digest": "d", "n": 8, "n_clusters": 4, "dropped": [["too long", 2]]}},
}  # fmt: skip
PLAN = {
    "title": EVIL, "data": {"people": {"contrast": "x/y"}}, "question": [{"ask": "flips", "data": "people"}], "choices": [EVIL],
    "declared_by": "the board", "claim": [{"text": "nothing links", "questions": ["LINK-1"]}],
}  # fmt: skip


def _answer(value, **more):
    controls = (
        audit.Control("random", EVIL, audit.Estimate.share(1, 40), 0.001, guards=True, holds=True),
        audit.Control.inapplicable("no-learning", "there is none"),
        audit.Control.inapplicable("trivial-input", "there is none"),
    )
    table = pd.DataFrame({"what": [EVIL, "b"], "value": [0.5, float("nan")]})
    figures = (
        Matrix((EVIL,), ("none",), ((Cell(0.5, "50 %", "bad"),),), "matrix", "share"),
        Points((Point(EVIL, 1.0, 2.0),), "points", "x", "y"),
    )
    examples = tuple({"text": EVIL, "flips": True, "log_odds": 0.25} for _ in range(3))
    says = f"{value} of 40 flip {EVIL}"
    return audit.Answer(
        audit.Estimate.share(value, 40), says, controls, table, figures, examples, 2, (("short", 1),), **more
    )


@cache
def report():
    """Return it."""
    words = {"estimand": "the share that flips", "scale": "share", "assumptions": (EVIL,), "limits": ("few",)}
    data = {"data": {"name": "people", **RUN["data"]["people"]}}
    findings = (
        Finding("FAIR-1", "flips", "fairness", "fail", threshold=Threshold(0.05), answer=_answer(30), p=1e-9, p_adjusted=2e-9,
                family_size=2, data=data, cost={"forwards": 16, "seconds": 0.5}, **words),
        Finding("PRIV-1", "exposure", "privacy", "pass", threshold=Threshold(0.9), answer=_answer(1), p=1.0, p_adjusted=1.0,
                family_size=2, data=data, **words),
        Finding("ACC-1", "accuracy", "accuracy", "inconclusive", threshold=Threshold(None, 0.5),
                answer=_answer(20, marks={"at chance": EVIL}, cannot_fail="it is at chance", smallest_detectable=0.1), data=data, **words),
        Finding("ROB-1", "worst_group", "robustness", "measured", answer=_answer(20), data=data, **words),
        Finding("INV-1", "selective", "invariance", "not-run", error="the minutes were over", data=data),
        Finding("LINK-1", "links", "links", "error", error=EVIL, data=data),
    )  # fmt: skip
    return audit.Report(EVIL, PLAN, findings, RUN)
