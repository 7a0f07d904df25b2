"""CMD and CPR: the numbers of MIB's trapezoids, and intervals that a jackknife over clusters confirms."""

import numpy as np
import pytest

from mechcausal.circuits.evaluation.areas import SIZES, areas


def simulated(seed=0, n=40):
    draw = np.random.default_rng(seed)
    model, nothing = draw.normal(3, 1, n), draw.normal(0, 1, n)
    share = np.linspace(0, 1.2, len(SIZES))[:, None]
    return nothing + share * (model - nothing) + draw.normal(0, 0.3, (len(SIZES), n)), nothing, model


def by_the_book(values, nothing, model):
    """Sum the trapezoids one by one, the last point being the whole model."""
    curve = [(row.mean() - nothing.mean()) / (model.mean() - nothing.mean()) for row in values] + [1.0]
    points, cmd, cpr = [*SIZES, 1.0], 0.0, 0.0
    for i in range(len(points) - 1):
        width = points[i + 1] - points[i]
        cpr += width * (curve[i] + curve[i + 1]) / 2
        cmd += width * (abs(1 - curve[i]) + abs(1 - curve[i + 1])) / 2
    return cmd, cpr


def test_the_areas_are_sums_of_trapezoids():
    measured = areas(*simulated())
    cmd, cpr = by_the_book(*simulated())
    assert measured["cmd"].estimate == pytest.approx(cmd, abs=1e-12)
    assert measured["cpr"].estimate == pytest.approx(cpr, abs=1e-12)


def test_the_model_at_every_size_is_perfect():
    _, nothing, model = simulated()
    measured = areas(np.repeat(model[None], len(SIZES), 0), nothing, model)
    assert measured["cmd"].estimate == pytest.approx(0, abs=1e-12)
    assert measured["cpr"].estimate == pytest.approx(1 - 0.001, abs=1e-12)


def test_nothing_at_every_size_is_half_of_the_last_step():
    _, nothing, model = simulated()
    measured = areas(np.repeat(nothing[None], len(SIZES), 0), nothing, model)
    assert measured["cmd"].estimate == pytest.approx(0.499 + 0.25)  # the CMD of about .75 that MIB gives for random


def test_the_interval_agrees_with_a_jackknife_over_clusters():
    values, nothing, model = simulated(n=120)
    clusters = tuple(str(number // 3) for number in range(120))
    measured = areas(values, nothing, model, clusters)
    for number, name in enumerate(("cmd", "cpr")):
        left_out = []
        for cluster in sorted(set(clusters)):
            rows = np.array(clusters) != cluster
            left_out.append(by_the_book(values[:, rows], nothing[rows], model[rows])[number])
        error = np.sqrt((len(left_out) - 1) / len(left_out) * np.sum((left_out - np.mean(left_out)) ** 2))
        half = (measured[name].high - measured[name].low) / 2
        assert half / 2.02 == pytest.approx(error, rel=0.05)
