"""The matrix of selective invariance: exact against the causal model of organism:bios, and silent where nothing is learned."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.data.tasks.bios import TASK
from mechcausal.features import erase
from mechcausal.models.redrawn import redrawing

N = 120


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def prompts(bios):
    return TASK.prompts(bios, N, environment="broad")


@pytest.fixture(scope="module")
def pairs(bios):
    return {
        name: mc.contrast(f"bios/{name}", bios, n=N, environment="broad") for name in ("pronoun", "field", "evidence")
    }


def question(prompts, pairs, **more):
    declared = {"must_stay": ("pronoun", "swap city"), "must_change": ("field",), "also": ("permute",), **more}
    return audit.SelectiveInvariance(prompts, pairs=pairs, against="all", **declared)


def answered(model, prompts, pairs, asked=None, **more):
    held = {"data": prompts, **{f"pairs.{name}": each for name, each in pairs.items()}}
    return (asked or question(prompts, pairs)).answer(Desk(model, held, quiet=True, **{"networks": 0, **more}))


def flips(answer):
    return dict(zip(answer.table["perturbation"], answer.table["flips"], strict=True))


def test_flips_are_those_of_the_causal_model(bios, prompts, pairs):
    found = flips(answered(bios, prompts, pairs))
    for name, each in pairs.items():
        decided = [side.variables["answer"].numpy() for side in (each.clean, each.corrupt)]
        assert found[name] == pytest.approx((decided[0] != decided[1]).mean(), abs=1e-12)
    assert found["swap city"] == 0  # no variable of the causal model reads it
    # The pronoun decides unless duty and degree agree: 1 - 2/9 where all words are equally likely.
    assert found["pronoun"] == pytest.approx(7 / 9, abs=0.12)


def test_the_worst_violation_is_the_estimate(bios, prompts, pairs):
    answer = answered(bios, prompts, pairs)
    assert answer.estimate.value == flips(answer)["pronoun"]
    assert answer.estimate.tests == 3
    assert "false sensitivity" in answer.says
    row = answer.table.set_index("perturbation").loc["pronoun"]
    assert answer.estimate.low < row["flips_low"]  # it is wider, because it is the largest of three
    wrong = answered(
        bios, prompts, pairs, question(prompts, pairs, must_stay=("field",), must_change=("pronoun", "swap city"))
    )
    assert wrong.estimate.value == 1.0  # the field always moves the decision, and the city never does
    assert set(wrong.table.loc[wrong.table["broken"] == 1, "perturbation"]) == {"field", "swap city"}


@pytest.mark.slow
def test_removing_the_pronoun_trades_no_invariance(bios, prompts, pairs):
    """A16: the pattern of field/audit.md S5. An erasure at the place of the variable works, one of the last stream does not."""
    fit = TASK.prompts(bios, 300, environment="broad", seed=5)
    columns = {"none": ()} | {
        name: erase(bios, fit, "pronoun", site, at="@job").edits
        for name, site in (("place", "L1.z.H2"), ("last", "L2.resid_post"))
    }
    found = {name: flips(answered(bios, prompts, pairs, edits=edits)) for name, edits in columns.items()}
    assert found["none"]["pronoun"] > 0.6
    assert found["place"]["pronoun"] < 0.05
    assert 0.1 < found["last"]["pronoun"] < found["none"]["pronoun"]
    assert found["none"]["evidence"] < found["last"]["evidence"] < found["place"]["evidence"]
    assert all(each["field"] == 1 and each["swap city"] < 0.1 for each in found.values())


def test_the_picture_and_the_examples_say_the_same(bios, prompts, pairs):
    answer = answered(bios, prompts, pairs)
    figure = answer.figures[0]
    tones = {
        name: {cell.tone for cell in line if cell.text} for name, line in zip(figure.rows, figure.cells, strict=True)
    }
    assert "bad" in tones["pronoun"]
    assert "good" in tones["swap city"]
    assert "good" in tones["field"]
    assert not {"good", "bad"} & tones["permute"]
    shown = [each for each in answer.examples if each["perturbation"] == "swap city"]
    assert all(each["before"] != each["after"] and not each["moves"] for each in shown)


@pytest.mark.slow
def test_a_finding_fails_and_a_network_that_learned_nothing_does_not(bios, prompts, pairs):
    asked = audit.Plan([audit.SelectiveInvariance(
        prompts, pairs={"pronoun": pairs["pronoun"]}, must_stay=("pronoun", "swap city"), against="all", at_most=0.05
    )], networks=6)  # fmt: skip
    assert asked.run(bios, quiet=True).findings[0].status == "fail"
    with redrawing(bios) as draw:
        statuses = []
        for seed in range(100, 104):
            draw(seed)
            held = {"data": prompts, "pairs.pronoun": pairs["pronoun"]}
            statuses.append(asked.questions[0].answer(Desk(bios, held, quiet=True, networks=6, seed=seed)))
    raised = [each.estimate.at_most(0.05) < 0.05 and each.controls[1].p < 0.05 for each in statuses]
    assert not any(raised)


def test_what_is_wrong_is_said_before_the_run(bios, prompts, pairs):
    def problems(**fields):
        return audit.Plan([question(prompts, pairs, **fields)]).problems(bios)

    assert problems() == []
    assert "declares nothing" in problems(must_stay=(), must_change=())[0]
    assert "both to stay and to change" in problems(must_change=("pronoun",))[0]
    assert "no perturbation 'swop city'" in problems(also=("swop city",))[0]
    assert "names no position" in problems(also=("delete town",))[0]
    assert "the same word stands there" in problems(also=("swap job",))[0]
    plain = mc.PromptSet.from_text(bios, ["she from oslo"])
    with pytest.raises(PlanError, match="no answer and foil"):
        audit.Plan([audit.SelectiveInvariance(plain, must_stay=("permute",))]).run(bios)
    wrong = audit.SelectiveInvariance(prompts, pairs={"pronoun": prompts}, must_stay=("pronoun",))
    assert "must be given as pairs" in audit.Plan([wrong]).problems(bios)[0]


def test_a_plan_is_written_and_read_back():
    content = {
        "data": {
            "people": {"task": "bios", "n": 40, "environment": "broad"},
            "names": {"contrast": "bios/pronoun", "n": 40},
        },
        "question": [
            {
                "ask": "selective_invariance", "data": "people", "pairs": {"pronoun": "names"}, "at_most": 0.05,
                "must_stay": ["pronoun"], "must_change": ["swap duty"], "against": "all",
            }
        ],
    }  # fmt: skip
    plan = plan_of(content)
    again = plan_of(tomllib.loads(plan.to_toml()))
    assert again.to_json() == plan.to_json()
    assert again.hash == plan.hash
    assert again.questions[0].sources == {"data": "people", "pairs.pronoun": "names"}
    missing = plan_of({**content, "question": [{**content["question"][0], "pairs": {"pronoun": "name"}}]})
    assert "no data 'name' for pairs.pronoun" in missing.problems()[0]


def test_an_interval_of_the_largest_covers_it():
    """Five true shares of which the largest is looked at: the simultaneous interval covers, the single one does not."""
    draw, truth, hits, single = np.random.default_rng(0), 0.3, 0, 0
    for _ in range(300):
        values = [Estimate.mean(draw.random(60) < truth) for _ in range(5)]
        largest = Estimate.largest(values)
        hits += largest.at_most(truth) > 0.05
        single += max(values, key=lambda each: each.value).at_most(truth) > 0.05
    assert hits / 300 >= 0.92
    assert single / 300 < 0.9
    one = Estimate.largest([Estimate.mean(np.r_[np.ones(5), np.zeros(5)])])
    assert one == Estimate.mean(np.r_[np.ones(5), np.zeros(5)])
    assert Estimate.largest([Estimate.share(9, 10), Estimate.share(1, 10)]).low < Estimate.share(9, 10).low
