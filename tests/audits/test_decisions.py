"""Decisions against the plain logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.audits.decisions import (
    confidence,
    constant,
    correct,
    decisions,
    moved_beyond_redraws,
    undecidable,
)
from mechcausal.audits.desk import Desk
from mechcausal.data.tasks.bios import TASK
from mechcausal.models.redrawn import redrawing


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def prompts(bios):
    return TASK.prompts(bios, 40, truth="profession")


def test_decisions_are_those_of_the_logits(bios, prompts):
    with torch.no_grad():
        logits = bios(prompts.tokens)[:, -1].double()
    rows = torch.arange(len(prompts))
    desk = Desk(bios, {"data": prompts}, quiet=True)
    assert decisions(desk, prompts, "all").tolist() == logits.argmax(-1).tolist()
    assert correct(desk, prompts, "all").tolist() == (logits.argmax(-1) == prompts.answer).double().tolist()
    odds = (logits[rows, prompts.answer] - logits[rows, prompts.foil]).numpy()
    assert decisions(desk, prompts, "foil").tolist() == (odds > 0).astype(float).tolist()
    assert confidence(desk, prompts, "foil") == pytest.approx(np.abs(odds), abs=1e-4)
    top = logits.softmax(-1).amax(-1)
    assert confidence(desk, prompts, "all") == pytest.approx(torch.logit(top).numpy(), abs=1e-3)


def test_a_guess_without_reading(bios, prompts):
    counts = np.unique(prompts.answer.numpy(), return_counts=True)[1]
    assert constant(prompts).mean() == pytest.approx(counts.max() / len(prompts))


def test_what_cannot_be_decided(bios):
    plain = mc.PromptSet.from_text(bios, ["she from oslo"])
    assert "no answer and foil" in undecidable(plain, "foil")
    assert undecidable(plain, "all") is None
    assert "right or wrong" in undecidable(plain, "all", needs_answer=True)


@pytest.mark.slow
def test_a_model_that_is_moved_far_is_beyond_networks_that_flip_by_chance(bios):
    """Random decisions flip often, but their log-odds move by next to nothing; a redrawn network is not beyond the others."""
    pairs = mc.contrast("bios/pronoun", bios, n=60, environment="broad")

    def flips(desk):
        return float((decisions(desk, pairs.clean, "all") != decisions(desk, pairs.corrupt, "all")).mean())

    def control(desk):
        return moved_beyond_redraws(desk, ("all",), pairs.clean, pairs.corrupt, flips, flips(desk))

    found = control(Desk(bios, {"data": pairs}, networks=12, quiet=True))
    assert found.guards
    assert found.p < 0.05
    with redrawing(bios) as draw:
        alarms = []
        for seed in (301, 302, 303):
            draw(seed)
            alarms.append(control(Desk(bios, {"data": pairs}, networks=12, seed=seed, quiet=True)).p <= 0.05)
    assert sum(alarms) == 0
