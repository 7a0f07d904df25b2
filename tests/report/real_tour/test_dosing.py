"""Women and men: pairs of one-token nouns, and the doses of their difference."""

import pytest
from real_tour_findings import findings
from small_english import small_english

from mechcausal.report.real_tour.dosing import DOSES, women_and_men

pytestmark = pytest.mark.slow


def test_pairs_differ_in_one_token():
    pairs = women_and_men(small_english(), 12)
    assert len(pairs) == 12
    assert (pairs.differs.sum(1) == 1).all()
    assert pairs.clean.n_clusters >= 4


def test_doses_costs_and_texts():
    numbers = findings().numbers["steering"]
    assert [row["dose"] for row in numbers["doses"]] == list(DOSES)
    assert all(row["kl"] > 0 for row in numbers["doses"])
    assert numbers["asked"]["kl"] > 0
    best = max(numbers["doses"], key=lambda row: row["change"])["dose"]
    assert {row["dose"] for row in numbers["texts"]} == {0.0, best}
