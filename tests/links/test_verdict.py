"""The table of verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from mechcausal.links.verdict import (
    CAUSAL,
    CORRELATE,
    INCOMPLETE,
    INCONCLUSIVE,
    UNASSOCIATED,
    Verdict,
    answers,
    verdict,
)

EXPECTED = {("yes", "yes"): CAUSAL, ("yes", "no"): CORRELATE, ("no", "yes"): UNASSOCIATED}


@pytest.mark.parametrize("available", ["yes", "no", "unclear"])
@pytest.mark.parametrize("used", ["yes", "no", "unclear"])
def test_two_answers_give_one_word(available, used):
    judged = verdict(available, used)
    assert judged.word == EXPECTED.get((available, used), INCONCLUSIVE)
    assert judged.why
    if used == "yes":
        assert verdict(available, used, like_random=True).word == INCONCLUSIVE
        assert verdict(available, used, fragile=True).word == INCONCLUSIVE


def test_what_blocks_all_comes_first():
    blocked = Verdict(INCOMPLETE, "the error is too large")
    assert verdict("yes", "yes", blocked=blocked, like_random=True) is blocked


def test_answers_are_yes_before_no():
    yes, no = np.array([True, False, False]), np.array([False, True, False])
    assert answers(yes, no).tolist() == ["yes", "no", "unclear"]
