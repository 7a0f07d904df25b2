from dataclasses import replace

import alike
import numpy as np
import pytest
from made_sweeps import make

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.mitigation.pareto import SURE
from mechcausal.audits.mitigation.sweep import Edited, Measure, Sweep
from mechcausal.errors import ResultError

RNG = np.random.default_rng(1)
BASE = RNG.normal(size=40) + np.repeat(3 * RNG.normal(size=10), 4)  # clusters differ much more than edits do


def test_an_edit_is_dominated_where_another_one_is_surely_better():
    swept = make({
        "none": (BASE, -BASE), "better on both": (BASE - 0.2, -BASE + 0.2), "less flips, less accuracy": (BASE - 0.5, -BASE - 0.5),
        "control": (BASE, -BASE),
    }, controls=("control",))  # fmt: skip
    front = swept.pareto("flips", "accuracy")
    rows = front.frame().set_index("edit")
    assert front.front == ["better on both", "less flips, less accuracy"]
    assert rows.loc["none", "dominated_by"] == "better on both"
    assert rows.loc["none", "share"] == 1
    assert {point.label: point.group for point in front.figure.points}["control"] == "control"
    assert front.figure.joined == "front"
    assert "dominated by better on both in 100% of resamples" in repr(front)


def test_a_difference_that_could_be_chance_dominates_nothing():
    noise = np.repeat(RNG.normal(size=10), 4)
    swept = make({"none": (BASE, -BASE), "other": (BASE + noise - noise.mean() - 0.02, -BASE)})
    assert swept.pareto("flips", "accuracy").front == ["none", "other"]
    better = make({"none": (BASE, -BASE), "other": (BASE + 0.02 * noise - 0.2, -BASE)})
    assert better.pareto("flips", "accuracy").front == ["other"]


@pytest.mark.parametrize(("shift", "dominated"), [(-1.0, True), (0.0, False), (0.9, False)])
def test_the_share_of_resamples_is_that_of_the_normal_law(shift, dominated):
    many = tuple(map(str, range(400)))
    base, noise = RNG.normal(size=400), RNG.normal(size=400)
    noise = (noise - noise.mean()) / noise.std()
    swept = make({"none": (base, base), "other": (base + noise + shift * 0.1, base)}, clusters=many)
    row = swept.pareto("flips", "accuracy", draws=4000).frame().set_index("edit").loc["none"]
    from scipy import stats

    assert row["share"] == pytest.approx(stats.norm.cdf(-2 * shift), abs=0.03)  # the error of the mean is 1 / 20
    assert bool(row["share"] >= SURE) is dominated


def test_equal_edits_do_not_dominate_each_other_and_zero_is_a_direction():
    swept = make({"a": (BASE, BASE), "b": (BASE, BASE)})
    assert swept.pareto("flips", "accuracy").front == ["a", "b"]
    ones = np.ones(40)
    swept = make({"a": (ones, ones), "b": (-0.5 * ones, ones), "c": (-2 * ones, ones)}, better=("zero", "high"))
    assert swept.pareto("flips", "accuracy").front == ["b"]


def test_wrong_fronts():
    swept = make({"a": (BASE, BASE)})
    with pytest.raises(ResultError, match="a front is of two measures"):
        swept.pareto("flips", "flips")
    with pytest.raises(ResultError, match="did you mean"):
        swept.pareto("flips", "acuracy")


def test_without_units_a_number_is_as_uncertain_as_its_standard_error():
    """Two edits between which there is no difference: neither dominates, with units or without, and without it is said."""
    swept = make({"none": (BASE, BASE), "other": (BASE - 0.01, BASE)})
    bare = {key: replace(each, units=(), unit_clusters=()) if key[1] == "flips" else each for key, each in swept.answers.items()}  # fmt: skip
    without = replace(swept, answers=bare)
    front = without.pareto("flips", "accuracy")
    assert front.front == ["none", "other"]
    # Of two independent numbers that are alike, each is the larger one in half of the draws.
    assert front.frame().set_index("edit").loc["none", "share"] == pytest.approx(0.5, abs=0.05)
    assert front.notes == (
        "flips (flips) has not the same units under every edit: its numbers are drawn from the standard error of each edit, "
        "as if the edits had other examples",
    )  # fmt: skip
    assert "note: flips (flips)" in repr(front)
    assert without.unpaired == ["flips"]
    assert "not paired" in without.summary()
    sure = swept.pareto("flips", "accuracy")
    assert (sure.notes, swept.unpaired) == ((), [])
    assert "not paired" not in swept.summary()


def test_a_number_without_any_uncertainty_is_said_to_be_taken_as_it_is():
    swept = make({"none": (BASE, BASE), "other": (BASE - 0.01, BASE)})
    bare = {key: replace(each, units=(), estimate=Estimate.exact(each.estimate.value)) if key[1] == "flips" else each
            for key, each in swept.answers.items()}  # fmt: skip
    front = replace(swept, answers=bare).pareto("flips", "accuracy")
    assert front.front == ["other"]
    assert "taken as it is" in front.notes[0]


def of_two(first, second):
    """Return a sweep of two edits from the answers to two questions, each for both edits."""
    measures = tuple(Measure(name, name, "low") for name in ("first", "second"))
    edits = tuple(Edited(name, {"do": "none"}) for name in ("none", "other"))
    answers = {
        (edit.name, measure.name): pair[number]
        for measure, pair in zip(measures, (first, second), strict=True)
        for number, edit in enumerate(edits)
    }
    return Sweep("made", edits, measures, answers)


def test_an_edit_that_is_better_on_numbers_that_are_no_means_dominates():
    """An AUC and a ratio that fall by little, in examples that are hard under both edits: known only if they are paired."""
    draw = np.random.default_rng(3)
    swept = of_two(alike.areas(draw, -0.15)[0], alike.shares_kept(draw, -0.05)[0])
    assert swept.pareto("first", "second").front == ["other"]
    assert swept.unpaired == []
    alone = {key: replace(each, units=()) for key, each in swept.answers.items()}
    front = replace(swept, answers=alone).pareto("first", "second")
    assert front.front == ["none", "other"]
    assert len(front.notes) == 2


@pytest.mark.slow
def test_an_edit_that_is_no_better_dominates_as_often_as_it_should():
    """One number is the same under both edits, the other an AUC without a true difference: in 5 % one is surely better."""
    same, dominated = alike.answered(Estimate.mean(np.ones(alike.N)), np.ones(alike.N)), []
    for seed in range(200):
        swept = of_two(alike.areas(np.random.default_rng(seed), 0.0)[0], [same, same])
        dominated.append("none" not in swept.pareto("first", "second", draws=400).front)
    assert 0.02 <= np.mean(dominated) <= 0.08


def test_numbers_from_the_same_draws_stay_together():
    (first, second), truth = alike.rank_correlations(np.random.default_rng(4))
    same = alike.answered(Estimate.mean(np.ones(alike.N)), np.ones(alike.N))
    swept = of_two([first, second], [same, same])
    share = swept.pareto("first", "second").frame().set_index("edit").loc["none", "share"]
    assert truth < 0
    assert share == pytest.approx(np.mean(np.subtract(second.resamples, first.resamples) < 0), abs=0.03)
    assert swept.unpaired == []
