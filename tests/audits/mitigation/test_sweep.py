import json
from dataclasses import replace

import alike
import numpy as np
import pytest
from made_sweeps import CLUSTERS, answer, make

from mechcausal import audit
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import KINDS
from mechcausal.audits.finding import Answer, answer_from, answer_to_json
from mechcausal.audits.mitigation.sweep import COSTS, Edited, Measure, Sweep, costs_of, difference
from mechcausal.errors import ResultError


@pytest.fixture
def swept():
    rng = np.random.default_rng(0)
    base = rng.normal(size=40) + np.repeat(3 * rng.normal(size=10), 4)
    return make({"none": (base, base), "less": (base - 0.5, base), "control": (base, base)}, controls=("control",))


def test_a_difference_is_paired_where_the_units_are_the_same(swept):
    change = swept.change("less", "flips")
    assert (change.value, change.low, change.high) == pytest.approx((-0.5, -0.5, -0.5))
    frame = swept.frame().set_index(["edit", "measure"])
    assert frame.loc[("less", "flips"), "paired"]
    assert frame.loc[("less", "flips"), "p"] < 1e-6
    assert frame.loc[("control", "flips"), "p_adjusted"] == 1
    assert np.isnan(frame.loc[("none", "flips"), "change"])
    noisy = answer(np.array(swept.answer("none", "flips").units) + np.tile([0.1, -0.3, 0.2, 0.4], 10))
    own, paired = difference(noisy, swept.answer("none", "flips"))
    assert paired
    assert own.value == pytest.approx(0.1)
    by_hand = Estimate.mean(np.tile([0.1, -0.3, 0.2, 0.4], 10), CLUSTERS)
    assert own.low == pytest.approx(by_hand.low)


def test_a_difference_of_other_units_is_not_paired():
    first, second = Answer(Estimate.interval(1.0, 0.7, 1.3, 20), "a"), Answer(Estimate.interval(0.5, 0.1, 0.9, 20), "b")
    own, paired = difference(first, second)
    assert not paired
    assert (own.value, own.low, own.high) == pytest.approx((0.5, 0.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*alike.KINDS.values(), alike.rank_correlations])
def test_models_that_are_wrong_about_the_same_examples_are_told_apart(kind):
    """A nominal 95 % interval of the difference covers the truth in 92 to 98 %, and is narrower than that of two numbers."""
    covers, widths, draws = [], [], 300 if kind is not alike.rank_correlations else 100
    for seed in range(draws):
        (first, second), truth = kind(np.random.default_rng(seed))
        change, by_unit = difference(second, first)
        bare, joined = difference(*(replace(each, units=(), resamples=()) for each in (second, first)))
        assert (by_unit, joined) == (True, False)
        assert change.value == pytest.approx(bare.value)
        covers.append(change.low <= truth <= change.high)
        widths.append((change.high - change.low) / (bare.high - bare.low))
    assert 0.92 <= np.mean(covers) <= 0.98
    # Of a share at a cutoff the interval alone takes the cutoff as given, so that pairing has less to give.
    assert np.median(widths) < (0.9 if kind is alike.shares_caught else 0.75)


def test_draws_of_other_units_are_not_paired():
    (first, second), _ = alike.rank_correlations(np.random.default_rng(0))
    assert difference(second, first)[1]
    assert not difference(replace(second, unit_clusters=second.unit_clusters[::-1]), first)[1]
    assert not difference(replace(second, resamples=second.resamples[:100]), first)[1]
    assert difference(answer_from(json.loads(json.dumps(answer_to_json(second)))), first)[1]


def test_a_sweep_is_saved_and_read_back(swept, tmp_path):
    failed = Sweep(
        swept.title,
        swept.edits,
        (*swept.measures, *COSTS),
        swept.answers,
        {("less", "kl"): "no text"},
        {"Q": "why"},
        {"n": 1},
        0.9,
    )
    for path in (failed.save(tmp_path / "folder"), failed.save(tmp_path / "own.json")):
        again = Sweep.load(path)
        assert json.dumps(again.to_json()) == json.dumps(failed.to_json())
        assert again.frame().equals(failed.frame())
        assert again.edits == failed.edits
    assert audit.Sweep.load(tmp_path / "folder").summary() == failed.summary()
    assert "kl not measured" in failed.summary()
    assert "left out: Q, why" in failed.summary()


def test_figures_are_of_the_kinds_of_a_report(swept):
    assert all(isinstance(figure, tuple(KINDS.values())) for figure in swept.figures)
    assert len(swept.figures) == 3
    assert "less, edit 2.100" in swept.figures[0].describe()
    assert "<table" in swept._repr_html_()
    assert repr(swept) == swept.summary()


def test_a_measure_by_its_name_or_its_word(swept):
    assert swept.measure("flips").name == "flips"
    twice = make({"none": (np.ones(40),) * 2}, measures=("A", "B"), better=("low", "low"))
    twice = Sweep("x", twice.edits, tuple(Measure(name, "flips") for name in "AB"), twice.answers)
    with pytest.raises(ResultError, match="name one: A, B"):
        twice.measure("flips")
    with pytest.raises(ResultError, match="did you mean 'accuracy'"):
        swept.measure("acuracy")
    with pytest.raises(ResultError, match="did you mean 'less'"):
        swept.answer("les", "flips")
    with pytest.raises(ResultError, match="no answer under 'x'"):
        Sweep("x", (Edited("x", {}),), swept.measures, {}).answer("x", "flips")


def test_what_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(ResultError, match="there is no sweep"):
        Sweep.load(tmp_path / "none.json")
    for text in ("{}", "[1]", '{"version": 99}', "no"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ResultError):
            Sweep.load(tmp_path / "x.json")


def test_costs():
    made = costs_of((np.array([0.1, 0.3]), np.array([0.0, np.nan])), (), 0.95)
    assert made["kl"].estimate.value == pytest.approx(0.2)
    assert made["loss"].estimate.value == 0
