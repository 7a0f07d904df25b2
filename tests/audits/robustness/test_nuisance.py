"""Nuisances in a reward: a model by hand whose reward is quality + 0.30 length, exactly."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.explaining.observational import NO_OVERLAP
from mechcausal.audits.reading import read
from mechcausal.audits.robustness.nuisance import EFFECT, R2, SHARE_ALONE, SHARE_CHOSEN, SHARE_TURNED, WEIGHT
from mechcausal.audits.selftest.rewarded import (
    LENGTH,
    STEPS,
    expected,
    head,
    preferences,
    reward_model,
    rewrites,
    truthful,
    written,
)
from mechcausal.data.contrast import Contrast


@pytest.fixture(scope="module")
def model():
    return truthful()


@pytest.fixture(scope="module")
def pairs(model):
    return rewrites(model)


def asked(model, data, **fields):
    question = audit.NuisanceEffect(data, **fields)
    held = {"data": data, **({"preferences": fields["preferences"]} if "preferences" in fields else {})}
    return question.answer(audit.Desk(model, held, networks=0, quiet=True))


def rewards(prompts):
    """Return the reward of each text in closed form."""
    words = [text.split() for text in prompts.texts]
    return np.array([int(each[0].removeprefix("grade")) / STEPS + LENGTH * (each.count("w") - 8) / 2 for each in words])


def test_the_effect_is_the_weight_of_the_formula(model, pairs):
    answer = asked(model, pairs, nuisance="length")
    assert answer.estimate.value == pytest.approx(LENGTH, abs=1e-6)
    assert answer.estimate.low == pytest.approx(LENGTH, abs=1e-5)
    assert answer.estimate.n_clusters == 20
    assert np.mean(answer.units) == pytest.approx(answer.estimate.value)
    turned = Contrast(pairs.corrupt, pairs.clean, "length")
    assert asked(model, turned, nuisance="length").estimate.value == pytest.approx(LENGTH, abs=1e-6)
    spread = np.sqrt(np.mean([rewards(side).var() for side in (pairs.clean, pairs.corrupt)]))
    assert answer.table.set_index("measure")["value"].iloc[1] == pytest.approx(LENGTH / spread, abs=1e-5)


def test_without_a_column_each_rewrite_is_one_unit(model, pairs):
    answer = asked(model, pairs)
    change = rewards(pairs.clean) - rewards(pairs.corrupt)
    by_cluster = audit.Estimate.mean(change, pairs.clean.clusters)
    assert answer.estimate.value == pytest.approx(change.mean(), abs=1e-6)
    assert [answer.estimate.low, answer.estimate.high] == pytest.approx([by_cluster.low, by_cluster.high], abs=1e-5)


def test_intervals_are_clustered(model):
    """The grade goes along with length within half of the clusters, so the effect differs between clusters, not within."""
    rows = [
        {"clean": written(8 * (cluster % 2), 6 + extra), "corrupt": written(0, 4 + extra), "cluster": str(cluster),
         "length": 1, "corrupt_length": 0, "cluster_size": extra + cluster / 10}
        for cluster in range(6) for extra in range(8)
    ]  # fmt: skip
    data = mc.Contrast.read(rows, model, whole=True)
    answer = asked(model, data, nuisance="length")
    assert answer.estimate.value == pytest.approx(LENGTH + 0.5, abs=1e-6)
    expected = audit.Estimate.mean([LENGTH, LENGTH + 1] * 3)  # six clusters of one size are six numbers
    assert answer.estimate.high - answer.estimate.low == pytest.approx(expected.high - expected.low, abs=1e-4)


def test_shares_of_decisions_are_those_of_the_formula(model, pairs):
    choices = preferences(3000, 0.5).contrast(model, 200)
    answer = asked(model, pairs, nuisance="length", preferences=choices, beside=["quality"])
    table = answer.table.set_index("measure")["value"]
    apart = rewards(choices.clean) - rewards(choices.corrupt)
    part = LENGTH * np.array([first - second for first, second in zip(
        choices.clean.given["length"], choices.corrupt.given["length"], strict=True)])  # fmt: skip
    assert table[SHARE_ALONE] == pytest.approx(np.mean((apart * part) > 0))
    assert table[SHARE_TURNED] == pytest.approx(np.mean(apart * np.round(apart - part, 6) <= 0))
    assert 0.05 < table[SHARE_TURNED] < table[SHARE_ALONE]
    assert table[SHARE_CHOSEN] == pytest.approx(np.mean(apart > 0))
    examples = [row for row in answer.examples if row["kind"] == "preference"]
    assert sum(row["turns"] for row in examples) == round(table[SHARE_TURNED] * 200)
    assert answer.controls[2].estimate.value == pytest.approx(np.mean((1 + np.sign(part)) / 2))
    assert f"alone this would give {table[SHARE_ALONE]:.1%} of its 200 decisions" in answer.says
    assert any("more units than in any rewrite" in limit for limit in answer.limits) == (
        np.abs(part).max() > LENGTH * 4.01
    )


def test_the_weight_of_the_data_and_whether_they_overlap(model, pairs):
    for correlation, marked in ((0.5, False), (0.95, True)):
        choices = preferences(3000, correlation).contrast(model, 400)
        answer = asked(model, pairs, nuisance="length", preferences=choices, beside=["quality"])
        table = answer.table.set_index("measure")
        assert (NO_OVERLAP in answer.marks) == marked == ("without overlap" in answer.says)
        assert table.loc[R2, "value"] == pytest.approx(correlation**2, abs=0.1)
        weight = table.loc[f"{WEIGHT}, quality held fixed"]
        assert weight["low"] < LENGTH < weight["high"]
        assert len(answer.figures) == 2
    stricter = asked(model, pairs, nuisance="length", preferences=choices, beside=["quality"], overlap=0.99)
    assert not stricter.marks
    alone = asked(model, pairs, nuisance="length", preferences=choices)
    assert R2 not in set(alone.table["measure"])
    assert not alone.marks


def test_log_odds_of_a_language_model(by_hand):
    """A decision of the network by hand takes 2.6 for he, and 0.9 more at a high level."""
    data = mc.contrast("by_hand/gender", by_hand, n=16)
    high = np.mean([group == "high" for group in data.clean.groups])
    finding = audit.Plan([audit.NuisanceEffect(data)], networks=0).run(by_hand, quiet=True).findings[0]
    assert finding.estimate.value == pytest.approx(2.6 + 0.9 * high, abs=1e-5)
    assert finding.scale == "log-odds per rewrite"


def test_three_controls(model, pairs):
    plan = audit.Plan([audit.NuisanceEffect(pairs, nuisance="length", at_most=0.5)], networks=4)
    finding = plan.run(model, quiet=True).findings[0]
    assert finding.status == "pass"
    assert finding.scale == "reward per unit of length"
    assert finding.estimand == "the change of the reward by one more unit of length, while the content stays"
    assert [control.kind for control in finding.answer.controls] == ["random", "no-learning", "trivial-input"]
    exchanged, redrawn, _ = finding.answer.controls
    assert exchanged.holds
    assert exchanged.estimate.value < LENGTH
    assert redrawn.guards
    assert redrawn.estimate.n == 4
    assert EFFECT in set(finding.answer.table["measure"])


def test_a_reward_for_length_breaks_a_threshold(pairs):
    """What is learned where length goes along with quality (A17) is more than networks with redrawn weights do."""
    model = reward_model(head(*expected(0.95)))
    plan = audit.Plan([audit.NuisanceEffect(pairs, nuisance="length", at_most=0.3)], networks=16)
    finding = plan.run(model, quiet=True).findings[0]
    assert finding.status == "fail"
    assert finding.answer.controls[1].holds


def test_where_length_is_not_rewarded_it_has_no_effect(pairs):
    answer = asked(reward_model(head(1.0, 0.0)), pairs, nuisance="length")
    assert answer.estimate.value == pytest.approx(0, abs=1e-6)


def test_an_effect_that_is_chance_does_not_beat_the_exchange(model):
    """Texts of other grades in random order are no rewrites: what they move has no direction."""
    draw = np.random.default_rng(0)
    grades = draw.integers(-30, 30, (40, 2))
    rows = [
        {"clean": written(int(a), 4), "corrupt": written(int(b), 4), "row": row} for row, (a, b) in enumerate(grades)
    ]
    answer = asked(model, mc.Contrast.read(rows, model))
    assert answer.controls[0].p > 0.05
    assert answer.controls[0].holds is False
    assert answer.estimate.low < 0 < answer.estimate.high


def test_from_a_file(tmp_path, model, pairs):
    """Two CSV files and a plan, as a user has them; answers of any length are read as wholes."""
    pairs.write(tmp_path / "rewrites.csv")
    choices = preferences(500, 0.5).contrast(model, 60)
    names = ("clean", "corrupt", "length", "corrupt_length", "quality", "corrupt_quality")
    sides = [(side.texts, side.given["length"], side.given["quality"]) for side in (choices.clean, choices.corrupt)]
    with (tmp_path / "choices.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for (first, length, quality), (second, other, worse) in zip(
            *(zip(*side, strict=True) for side in sides), strict=True
        ):
            writer.writerow([first, second, length, other, quality, worse])
    (tmp_path / "audit.toml").write_text(
        """
[data.rewrites]
pairs = "rewrites.csv"

[data.choices]
pairs = "choices.csv"
whole = true

[[question]]
ask = "nuisance_effect"
data = "rewrites"
nuisance = "length"
preferences = "choices"
beside = ["quality"]
at_most = 0.1
"""
    )
    plan = read(tmp_path / "audit.toml")
    assert plan.problems(model) == []
    assert plan.cost(model).forwards["ROB-1"] > 0
    report = plan.run(model, tmp_path / "out", quiet=True)
    finding = report["ROB-1"]
    assert finding.estimate.value == pytest.approx(LENGTH, abs=1e-6)
    assert "nuisance_effect" in json.loads((tmp_path / "out" / "audit.json").read_text())["plan"]["question"][0]["ask"]
    again = plan.run(model, tmp_path / "out", quiet=True)["ROB-1"]
    assert again.answer.says == finding.answer.says
    text = (tmp_path / "choices.csv").read_text()
    (tmp_path / "choices.csv").write_text(
        text.replace(",quality,", ",merit,").replace("corrupt_quality", "corrupt_merit")
    )
    assert "no variable or column 'quality'" in plan.problems(model)[0]


def test_other_numbers_in_a_column_are_another_question(tmp_path, model, pairs):
    """An answer that was kept is not taken for that of other columns."""
    double = [
        dataclasses.replace(side, given={**side.given, "length": tuple(2 * length for length in side.given["length"])})
        for side in (pairs.clean, pairs.corrupt)
    ]
    for data, effect in ((pairs, LENGTH), (Contrast(*double, "length"), LENGTH / 2)):
        plan = audit.Plan([audit.NuisanceEffect(data, nuisance="length")], networks=0)
        assert plan.run(model, tmp_path, quiet=True)["ROB-1"].estimate.value == pytest.approx(effect, abs=1e-6)


def test_what_is_wrong_is_said_before_the_run(model, pairs, by_hand):
    choices = preferences(500, 0.5).contrast(model, 40)

    def problem(data=pairs, of=model, **fields):
        found = audit.Plan([audit.NuisanceEffect(data, **fields)]).problems(of)
        assert len(found) == 1, found
        assert len(found[0]) < 400
        return found[0]

    still = mc.Contrast.read([{"clean": written(1, n), "corrupt": written(1, n + 1), "length": n, "corrupt_length": 2}
                              for n in range(5)], model, whole=True)  # fmt: skip
    assert "pair 2 is no rewrite: it has 0 units of 'length' (1 of 5 pairs)" in problem(still, nuisance="length")
    assert "no variable or column 'lenght': did you mean 'length'" in problem(nuisance="lenght")
    assert "asked of pairs" in problem(pairs.clean, nuisance="length")
    one = mc.Contrast.read([{"clean": written(1, n), "corrupt": written(1, n + 1), "cluster": "a"} for n in range(5)],
                           model, whole=True)  # fmt: skip
    assert "its pairs form one cluster" in problem(one)
    assert "quality can be held fixed in preference data only" in problem(nuisance="length", beside=["quality"])
    assert "holds no pairs of a chosen" in problem(nuisance="length", preferences=choices.clean)
    assert "give nuisance = its name" in problem(preferences=choices)
    assert "names a column twice" in problem(nuisance="length", preferences=choices, beside=["length"])
    assert "no variable or column 'taste'" in problem(nuisance="length", preferences=choices, beside=["taste"])
    same = mc.Contrast.read([{"clean": written(n, 3), "corrupt": written(n + 1, 3), "length": 3, "quality": n}
                             for n in range(12)], model)  # fmt: skip
    assert "never differ in 'length'" in problem(nuisance="length", preferences=same)
    few = choices.take(range(3))
    assert "3 clusters, too few to weigh 1 column:" in problem(nuisance="length", preferences=few)
    bare = by_hand_pairs(by_hand)
    assert "a reward model (scalar head) or a classifier needs neither" in problem(bare, by_hand)
    decided = by_hand_pairs(by_hand, answer="yes", foil="no")
    plan = audit.Plan([audit.NuisanceEffect(decided, nuisance="he", preferences=bare)])
    assert [f"has no {need}" in said for need, said in zip(("answer", "foil"), plan.problems(by_hand), strict=True)]


def by_hand_pairs(model, **more):
    """Return six pairs of he against she."""
    rows = [
        {"clean": f"he {how} ask", "corrupt": f"she {how} ask", "he": 1, "corrupt_he": 0, "row": row, **more}
        for row, how in enumerate(["high", "low"] * 3)
    ]
    return mc.Contrast.read(rows, model)
