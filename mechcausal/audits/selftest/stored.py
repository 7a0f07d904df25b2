"""A2 and A3: published numbers. Effects of GPT-2 on WinoBias (Vig et al. 2020), and the rates of COMPAS (ProPublica 2016).

What ships of the first, under the MIT license: probabilities and effects of the examples, and the effect through each head
rounded to ten thousandths, which leaves the tests of heads as they are. Of COMPAS only counts are known here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mechcausal.audits.fairness.group_metrics import group_metrics
from mechcausal.audits.fairness.impossibility import identity
from mechcausal.audits.fairness.stored import StoredEffects, odds_effects
from mechcausal.audits.selftest.checks import Check, checks_of, near

FOLDER = Path(__file__).parent
# 7,214 rows, a score that is not low as the decision: counts alone, no person's data. tn, fp, fn, tp.
COMPAS = {"African-American": (990, 805, 532, 1369), "Caucasian": (1139, 349, 461, 505)}
PUBLISHED = {
    "African-American": {"false_positive_rate": 0.4485, "false_negative_rate": 0.2799,
                         "positive_predictive_value": 0.6297, "base_rate": 0.5143},
    "Caucasian": {"false_positive_rate": 0.2345, "false_negative_rate": 0.4772, "positive_predictive_value": 0.5913,
                  "base_rate": 0.3936},
}  # fmt: skip
HEADS = {"p": 33, "q": 14, "p_max": 14}


def units(counts: Mapping[str, tuple[int, int, int, int]]) -> list[list]:
    """Return labels, decisions and groups with these counts.

    Args:
        counts: For each group how many are rightly and wrongly negative, and wrongly and rightly positive, as tn, fp, fn, tp.
    """
    rows = [
        (label, decision, group)
        for group, (tn, fp, fn, tp) in counts.items()
        for count, label, decision in ((tn, 0, 0), (fp, 0, 1), (fn, 1, 0), (tp, 1, 1))
        for _ in range(count)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def stored_heads() -> StoredEffects:
    """Return the effects of GPT-2 on all examples of WinoBias, with those through each head."""
    kept = json.loads((FOLDER / "vig2020.json").read_text(encoding="utf-8"))
    probabilities = np.array(kept["unfiltered"])
    with np.load(FOLDER / "vig2020_heads.npz", allow_pickle=False) as file:
        heads = file["ten_thousandths"] * 1e-4
    total = odds_effects(probabilities[:, :2], probabilities[:, 2:]).te
    return StoredEffects(total, np.array([]), np.array([]), heads, {})


@checks_of("A2", "published effects of GPT-2")
def published_effects(quick: bool) -> Iterator[Check]:
    """Recompute the published effects from probabilities, and count the heads that have one."""
    del quick
    kept = json.loads((FOLDER / "vig2020.json").read_text(encoding="utf-8"))
    chosen = np.array(kept["filtered"])
    total = odds_effects(chosen[:, :2], chosen[:, 2:])
    effects = StoredEffects(
        total.te, *(np.array(kept[f"filtered_{name}"]) for name in ("nie", "nde")), np.array([]), {}
    )
    everyone, means = stored_heads(), kept["means"]
    yield near("total effect, examples chosen by their effect", means["te"], effects.mean("te"), 1e-9)
    yield near("indirect effect through all attention", means["nie"], effects.mean("nie"), 1e-9)
    yield near("direct effect past all attention", means["nde"], effects.mean("nde"), 1e-9)
    yield near("total effect, all examples", means["unfiltered te"], everyone.mean("te"), 1e-9)
    heads = everyone.heads()
    for name, count in HEADS.items():
        how = {"p": "unadjusted", "q": "Benjamini and Hochberg", "p_max": "max-T"}[name]
        yield near(f"heads with an effect, {how}", count, int((heads[name] < 0.05).sum()), 0)
    yield near("layer of the largest head", 5, heads["layer"][0], 0)
    yield near("number of the largest head", 8, heads["head"][0], 0)


@checks_of("A3", "published rates of COMPAS")
def published_rates(quick: bool) -> Iterator[Check]:
    """Recompute the published rates of both groups from counts, and the identity that ties them together."""
    del quick
    true, decided, group = units(COMPAS)
    rates = group_metrics(true, decided, sensitive_features=group, metrics=list(PUBLISHED["Caucasian"]))
    for name, expected in PUBLISHED.items():
        for rate, value in expected.items():
            yield near(f"{name}: {rate.replace('_', ' ')}", value, rates.by_group.loc[name, rate], 5e-5)
    table = identity(group_metrics(true, decided, sensitive_features=group))
    gap = float(np.abs(table["fpr_by_identity"] - table["false_positive_rate"]).max())
    yield near("identity of Chouldechova, largest gap", 0.0, gap, 1e-9)
