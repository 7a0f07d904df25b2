"""The sentences of a link about other dictionaries, and its lists by verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mechcausal.errors import ResultError
from mechcausal.links.result import Links, compared_with, replicated_in
from mechcausal.links.verdict import VERDICTS


def test_in_how_many_other_dictionaries_a_feature_is_replicated():
    row = pd.Series({"seed_in": 2, "seed_used": 1, "half_in": 2, "half_used": 2, "other_in": 0, "other_used": 0})
    assert replicated_in(row) == "1 of 2 seeds, 2 of 2 halves"
    assert replicated_in(pd.Series({"seed_in": 0})) == ""


def test_with_what_features_were_compared():
    known = {"features": True, "alike": 0.7, "seed": ["a", "b"], "half": [], "other": ["c"], "unfinished": []}
    assert compared_with({"stability": known}).startswith("stability: compared with 2 seeds and 1 others")
    none = known | {"seed": [], "other": [], "unfinished": ["own-half-1"]}
    assert "no other dictionary to compare with; not finished: own-half-1" in compared_with({"stability": none})
    assert compared_with({"stability": known | {"features": False}}) == ""


def test_candidates_by_verdict_stand_by_the_size_of_their_effects():
    frame = pd.DataFrame(
        {
            "concept": ["a", "a", "a", "b"], "candidate": ["x", "y", "z", "x"], "site": ["s", "t", "u", "s"],
            "share": [0.1, -0.4, np.nan, 0.2], "verdict": ["causal", "causal", "inconclusive", "causal"],
        }
    )  # fmt: skip
    links = Links.__new__(Links)
    object.__setattr__(links, "frame", frame)
    assert tuple(links.verdicts) == VERDICTS
    assert links.verdicts["causal"] == ("y", "x")
    assert links.verdicts["inconclusive"] == ("z",)
    assert links.concepts == ("a", "b")
    assert links.verdict_of("s", "b") == "causal"
    with pytest.raises(ResultError, match="was not judged"):
        links.verdict_of("w")
    with pytest.raises(ResultError, match="no concept 'c'"):
        links.of("c")
