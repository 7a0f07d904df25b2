"""Indirect objects on a small random model: effects and silencing are those of the methods."""

import pytest
from real_tour_findings import findings
from small_english import small_english

import mechcausal as mc

pytestmark = pytest.mark.slow


def test_heads_are_those_of_a_patch():
    numbers, sweep = findings().numbers["indirect_objects"], findings().sweeps["heads"]
    best = sweep.frame.sort_values("effect", ascending=False).iloc[0]
    assert numbers["carriers"][0]["site"] == best["site"]
    assert numbers["carriers"][0]["effect"] == best["effect"]


def test_silencing_is_measured_on_other_pairs():
    numbers = findings().numbers["indirect_objects"]
    pairs = mc.contrast("ioi", small_english(), n=18, seed=1).take(slice(6, 18))
    cell = [tuple(row["site"] for row in numbers["carriers"])]
    again = mc.ablate(small_english(), pairs, sites=cell, at="@end", do="mean").frame["value"].item()
    row = numbers["silenced"][0]
    assert abs(row["after"] - again) < 1e-4
    assert len(row["controls"]) == 3
    assert len(numbers["texts"]) == 2
