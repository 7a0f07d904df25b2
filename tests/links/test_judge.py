"""The table of a link: one row for each concept and candidate, and the verdict that its numbers call for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mechcausal.links.gather import gather
from mechcausal.links.judge import judge
from mechcausal.links.measured import measure
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCONCLUSIVE


@pytest.fixture
def both(linear_network, linear_pairs, asked):
    request = asked()
    gathered = gather(request, linear_network, linear_pairs)
    return gathered, measure(request, gathered)


def test_a_row_holds_what_was_measured(both):
    gathered, measured = both
    frame, examples = judge(gathered, measured)
    assert frame[["concept", "candidate"]].values.tolist() == [["high", "a"], ["high", "e"]]
    assert frame["verdict"].tolist() == [CAUSAL, CORRELATE]
    assert frame["share"].tolist() == measured.judged[0].estimate.share.tolist()
    assert frame["auc"].tolist() == measured.available[0].decision.auc.tolist()
    rows, bench = gathered.bench.split[1], gathered.bench
    np.testing.assert_array_equal(examples, bench.unedited[0][rows] + measured.used.change[:, rows])
    # A change as a share of the total effect, in the columns that every result has and in those of a link.
    assert frame["effect"].tolist() == pytest.approx(frame["share"].tolist(), abs=1e-6)
    assert frame["peers"].tolist() == [0, 0]  # no details were asked for


def test_a_pair_that_does_not_differ_in_a_concept_does_not_judge_it(both):
    gathered, measured = both
    rows = gathered.bench.split[1]
    concept = measured.available[0].concept
    sides = np.where(np.arange(len(gathered.bench.pairs)) % 3 == 0, 0, 1)
    fewer = replace(concept, sides=sides)
    available = [replace(measured.available[0], concept=fewer)]
    _, examples = judge(replace(gathered, concepts=(fewer,)), replace(measured, available=available))
    np.testing.assert_array_equal(np.isnan(examples[0]), ~np.isin(rows, fewer.judged(rows)))
    assert np.isnan(examples[0]).any()


def test_what_is_beaten_by_both_kinds_of_random_directions_is_not_causal(both):
    gathered, measured = both
    total = gathered.bench.total

    def judged(drawn, turned):
        """Judge with random directions, and turned copies, that move these shares of the total effect."""
        made = {
            "drawn": {site: np.tile(drawn * total, (8, 1)) for site in measured.drawn},
            "turned": {number: np.tile(turned * total, (8, 1)) for number in measured.turned},
        }
        return judge(gathered, replace(measured, **made))[0]

    frame = judged(1.5, -1.5)
    assert frame["verdict"].tolist() == [INCONCLUSIVE, CORRELATE]
    assert "random directions" in frame["why"].iloc[0]
    assert frame["random_high"].tolist() == pytest.approx([1.5, 1.5])
    assert frame["turned_low"].iloc[0] == pytest.approx(-1.5)
    assert judged(0.5, 1.5)["verdict"].tolist() == [CAUSAL, CORRELATE]
    assert judged(1.5, 0.5)["verdict"].tolist() == [CAUSAL, CORRELATE]


def test_a_reason_that_blocks_comes_before_everything(both):
    gathered, measured = both
    concept = replace(measured.available[0].concept, differs=0.0)
    frame, _ = judge(gathered, replace(measured, available=[replace(measured.available[0], concept=concept)]))
    assert frame["verdict"].tolist() == [INCONCLUSIVE] * 2
    assert frame["why"].str.contains("differ in high never").all()


def test_a_sign_that_differs_between_the_halves_is_inconclusive(both):
    gathered, measured = both
    used = measured.judged[0]
    other = replace(used.other, share=-used.other.share)
    frame, _ = judge(gathered, replace(measured, judged=[replace(used, other=other)]))
    assert frame["verdict"].tolist()[0] == INCONCLUSIVE
    assert "opposite sign" in frame["why"].iloc[0]
