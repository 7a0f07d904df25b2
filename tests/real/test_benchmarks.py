"""Benchmarks of bias on the real model, against numbers that were measured outside this package."""

import pytest

from mechcausal import audit
from mechcausal.audits.fairness.benchmark_items import items_of

pytestmark = pytest.mark.real


def score(model, items, batch_size=16):
    report = audit.Plan([audit.Benchmark(items)], networks=0, batch_size=batch_size).run(model, quiet=True)
    return report["FAIR-1"]


@pytest.mark.parametrize(("category", "share"), [("gender", 0.569)])
def test_crows_pairs(smollm2, category, share):
    """SmolLM2 prefers the stereotype in 56.9 % of the pairs about gender: within one point.

    Of race it is 49.4 %, of all 1,508 pairs 55.6 %; those take ten minutes and were measured by hand.
    """
    items = items_of("crows_pairs", smollm2, 2000, categories=(category,))
    finding = score(smollm2, items)
    assert finding.estimate.value == pytest.approx(share, abs=0.01)
    assert not finding.answer.marks


def test_bbq(smollm2):
    finding = score(smollm2, items_of("bbq/age", smollm2, 60, categories=["disambig"]), batch_size=8)
    assert finding.estimate.n <= 60
    assert "accuracy, disambiguated contexts" in finding.answer.table["measure"].tolist()
