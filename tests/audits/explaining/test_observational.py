"""Observation and intervention apart (A8): on organism:bios, and on coordinates whose overlap is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.explaining.observational import NO_OVERLAP, adjusted_slope, classes
from mechcausal.audits.mitigation.sweep import paired
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.data.tasks.bios import TASK


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def prompts(bios):
    """Prompts that are all decided between surgeon and nurse."""
    drawn, words = TASK.prompts(bios, 160, environment="broad"), bios.tokenizer.get_vocab()
    answer, foil = (torch.full((len(drawn),), words[word]) for word in ("surgeon", "nurse"))
    return replace(drawn, answer=answer, foil=foil)


def asked(model, prompts, **fields):
    question = audit.Observational(prompts, at="@job", label="pronoun", **fields)
    return question.answer(audit.Desk(model, {"data": prompts}, networks=0, quiet=True))


def test_a_direction_that_is_given_away_is_refused(bios, prompts):
    """A8: what reads the pronoun best does nothing, and observation would have said that it does much."""
    answer = asked(bios, prompts, place="L1.resid_post", direction="probe")
    table = answer.table.set_index("what")["value"]
    r2 = table["R2 of the coordinate on all others"]
    assert r2 > 0.95
    assert NO_OVERLAP in answer.marks
    assert np.isnan(table["observed: slope adjusted for all other coordinates"])
    assert "refused" in answer.says
    assert abs(answer.estimate.value) < 0.5
    assert table["observed: slope alone"] > 10 * abs(answer.estimate.value)


@pytest.mark.slow
def test_units_are_named_by_the_prompts_of_the_half_that_judges(bios, prompts):
    """Where prompts have no clusters: another seed judges other prompts, and they are not taken for the same."""
    bare = replace(prompts, clusters=())
    question = audit.Observational(bare, at="@job", label="pronoun", place="L1.resid_post")
    first, again, other = (
        question.answer(audit.Desk(bios, {"data": bare}, seed, networks=0, quiet=True)) for seed in (0, 0, 1)
    )
    assert np.mean(first.units) == pytest.approx(first.estimate.value)
    rows = sorted(row["prompt"] for row in first.examples)
    assert first.unit_clusters == tuple(f"row {row}" for row in rows)
    assert paired(again, first)
    assert not paired(other, first)


def test_with_overlap_both_are_shown(bios, prompts):
    answer = asked(bios, prompts, place="L1.resid_post", direction="means")
    table = answer.table.set_index("what")["value"]
    assert table["R2 of the coordinate on all others"] < 0.95
    assert NO_OVERLAP not in answer.marks
    assert np.isfinite(table["observed: slope adjusted for all other coordinates"])
    changes = [row["change_by_one_standard_deviation"] for row in answer.examples]
    assert np.mean(changes) == pytest.approx(answer.estimate.value)
    assert all(row["text"] == prompts.texts[row["prompt"]] for row in answer.examples)
    assert answer.estimate.low > 1  # the difference of means moves the answer, as the causal model says
    assert answer.controls[0].holds


def test_the_intervention_is_that_of_the_plain_model(bios, prompts):
    """The effect of a step against hooks on the bridge."""
    desk = audit.Desk(bios, {"data": prompts}, networks=0, quiet=True)
    question = audit.Observational(prompts, place="L1.resid_post", at="@job", label="pronoun")
    step = np.random.default_rng(0).normal(size=48)
    found = question._do(desk, prompts, step)
    values = []
    for sign in (1, -1):
        add = torch.tensor(sign * step / 2, dtype=torch.float32)

        def hook(value, hook, add=add):
            value[:, -1] += add
            return value

        logits = bios.run_with_hooks(prompts.tokens, fwd_hooks=[("blocks.1.hook_out", hook)])[:, -1]
        values.append(logits[range(len(prompts)), prompts.answer] - logits[range(len(prompts)), prompts.foil])
    assert found == pytest.approx((values[0] - values[1]).detach().numpy(), abs=1e-3)


def test_overlap_by_hand():
    draw = np.random.default_rng(0)
    others, noise = draw.normal(size=(4000, 3)), draw.normal(size=4000)
    coordinate = others[:, 0] + 0.5 * noise  # R2 is 1 / 1.25
    outcome = 2 * coordinate + 3 * others[:, 0]
    x = np.column_stack([coordinate, others])
    r2, slope = adjusted_slope(coordinate, x, np.eye(4)[0], outcome)
    assert r2 == pytest.approx(0.8, abs=0.02)
    assert slope == pytest.approx(2, abs=1e-6)
    r2, slope = adjusted_slope(others[:, 0], np.column_stack([others[:, 0], others]), np.eye(4)[0], outcome)
    assert r2 == pytest.approx(1)
    assert np.isnan(slope)


def test_what_is_wrong_is_said_before_the_run(bios, prompts):
    with pytest.raises(PlanError, match="has 4 values"):
        audit.Plan([audit.Observational(prompts, label="city")]).run(bios)
    assert classes(prompts, "pronoun").tolist() == prompts.variables["pronoun"].tolist()
    wrong = audit.Plan([audit.Observational(prompts, label="pronoun", place="L1.stream")]).problems(bios)
    assert len(wrong) == 1
    plan = plan_of(
        {
            "data": {"x": {"task": "bios"}},
            "question": [{"ask": "observational", "data": "x", "label": "pronoun", "place": "L1.resid_post"}],
        }
    )
    assert plan.questions[0].direction == "means"
