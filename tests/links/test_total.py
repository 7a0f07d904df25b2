"""The comparison with networks with redrawn weights: bounds against simulation, exact restoring, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.links.total import FEWEST_NETWORKS, Scale, Total, _looks, _scales, bound
from mechcausal.results.intervals import Interval

CLEAR = Interval(1.0, 0.8, 1.2, 40, 20)


@pytest.mark.parametrize("count", [8, 16, 24, 40])
def test_the_looks_spend_an_error_of_one_percent(count):
    looks = _looks(count)
    assert sum(looks.values()) == pytest.approx(0.01)
    assert max(looks) == count
    assert min(looks.values()) > 0


def test_a_redrawn_model_lies_beyond_the_bound_in_one_of_a_hundred_cases():
    """The model is one more draw; it looks after 8, 16 and 24 networks, on two independent scales."""
    draw, looks, runs = np.random.default_rng(0), _looks(24), 6000
    values = draw.normal(size=(runs, 2, 25))
    beyond = 0
    for own, networks in zip(values[..., 0], values[..., 1:], strict=True):
        for count, error in looks.items():
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
    effect, relative = _scales(base, source)
    assert _scales(100 * base, 100 * source) == pytest.approx((100 * effect, relative))
    assert relative == pytest.approx(effect / np.sqrt((base.var() + source.var()) / 2))
    assert np.isnan(_scales(np.ones(4), np.full(4, 2.0))[1])  # no spread, no scale


def test_one_scale_beyond_its_bound_is_enough():
    above, below = Scale(3.0, (1.0,) * 8, 2.0), Scale(1.0, (1.0,) * 8, 2.0)
    assert Total(CLEAR, above, below).blocked is None
    assert Total(CLEAR, below, above).blocked is None
    blocked = Total(CLEAR, below, below).blocked
    assert blocked is not None
    assert "a network with random weights may move the behavior as much" in blocked.why
    assert "would lower the bound" in blocked.why  # and what would settle it
    assert "8 copies" in blocked.why
    unclear = Total(Interval(1.0, -0.1, 2.1, 40, 20), above, above).blocked
    assert unclear is not None
    assert "includes 0" in unclear.why


@pytest.mark.parametrize("count", range(1, FEWEST_NETWORKS))
def test_few_networks_give_no_bound(count):
    with pytest.raises(DataError, match=f"no useful bound.*redrawn={count}"):
        mc.link.spec("z", "gender", redrawn=count)
