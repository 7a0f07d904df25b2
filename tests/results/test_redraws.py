"""Total effects against redrawn networks: bounds against simulation, and scales."""

from __future__ import annotations

import numpy as np
import pytest

from mechcausal.errors import DataError
from mechcausal.results.intervals import Interval
from mechcausal.results.redraws import Scale, TotalEffect, bound, check_networks, compared, looks, scales


@pytest.mark.parametrize("count", [8, 16, 24, 40])
def test_the_looks_spend_an_error_of_one_percent(count):
    moments = looks(count)
    assert sum(moments.values()) == pytest.approx(0.01)
    assert max(moments) == count
    assert min(moments.values()) > 0


@pytest.mark.slow
def test_a_redrawn_model_lies_beyond_the_bound_in_one_of_a_hundred_cases():
    """The model is one more draw; it looks after 8, 16 and 24 networks, on two independent scales."""
    draw, moments, runs = np.random.default_rng(0), looks(24), 6000
    values = draw.normal(size=(runs, 2, 25))
    beyond = 0
    for own, networks in zip(values[..., 0], values[..., 1:], strict=True):
        for count, error in moments.items():
            if any(abs(x) > bound(drawn[:count], error) for x, drawn in zip(own, networks, strict=True)):
                beyond += 1
                break
    assert beyond / runs <= 0.01 + 3 * np.sqrt(0.01 / runs)
    assert beyond / runs >= 0.002  # a bound that nothing passes would hold as well


def test_a_bound_from_more_networks_is_lower():
    ones = [1.0, -1.0] * 12
    bounds = [bound(ones[:count], 0.01) for count in (8, 16, 24)]
    assert bounds[0] > bounds[1] > bounds[2] > 2.8  # the normal quantile at 99.5 %, for two scales
    assert bound([1.0, np.nan] * 4, 0.01) == np.inf


def test_the_relative_scale_does_not_depend_on_the_size_of_logits():
    draw = np.random.default_rng(1)
    base, source = draw.normal(size=40), draw.normal(size=40) + 3
    effect, relative = scales(base, source)
    assert scales(100 * base, 100 * source) == pytest.approx((100 * effect, relative))
    assert relative == pytest.approx(effect / np.sqrt((base.var() + source.var()) / 2))
    assert np.isnan(scales(np.ones(4), np.full(4, 2.0))[1])  # no spread, no scale


def test_the_comparison_ends_where_it_is_clear():
    draw = np.random.default_rng(2)
    networks = [tuple(draw.normal(size=2)) for _ in range(24)]
    raw, relative = compared((50.0, 0.1), networks.__getitem__, 24)
    assert (len(raw.redrawn), raw.beyond, relative.beyond) == (8, True, False)
    raw, _ = compared((0.1, 0.1), networks.__getitem__, 24)
    assert len(raw.redrawn) == 8  # as small as theirs
    assert not raw.beyond
    assert np.isnan(compared((1.0, 1.0), networks.__getitem__, 0)[0].bound)


def test_a_reason_is_given_where_nothing_can_be_judged():
    clear, below = Interval(1.0, 0.8, 1.2, 40, 20), Scale(1.0, (1.0,) * 8, 2.0)
    assert "random weights" in TotalEffect(clear, below, below).reason
    assert TotalEffect(clear, Scale(3.0, (1.0,) * 8, 2.0), below).reason == ""
    assert "includes 0" in TotalEffect(Interval(1.0, -1.0, 3.0, 4, 4), below, below).reason
    assert TotalEffect(clear, Scale(1.0), Scale(1.0)).reason == ""


def test_few_networks_are_refused():
    check_networks(0)
    check_networks(8)
    with pytest.raises(DataError, match="no useful bound"):
        check_networks(3)
