"""Decisions that move, against the plain logits before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.decisions import decisions
from mechcausal.audits.desk import Desk
from mechcausal.audits.moved import OfMoves, forwards_with_odds, moved_beyond_redraws
from mechcausal.audits.perturbed import elsewhere
from mechcausal.models.redrawn import redrawing


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


def test_what_moves_and_how_far_is_that_of_the_logits(bios):
    pairs = mc.contrast("bios/pronoun", bios, n=20)
    desk, rows = Desk(bios, {"data": pairs}, quiet=True), torch.arange(20)
    with torch.no_grad():
        before, after = (bios(side.tokens)[:, -1].double() for side in (pairs.clean, pairs.corrupt))
    odds = [logits[rows, pairs.clean.answer] - logits[rows, pairs.clean.foil] for logits in (before, after)]
    for against, moves in (("foil", (odds[0] > 0) != (odds[1] > 0)), ("all", before.argmax(1) != after.argmax(1))):
        question = audit.Irrelevant(pairs, positions=["pronoun"], against=against)
        assert isinstance(question, OfMoves)
        assert question.moves(desk, pairs.clean, pairs.corrupt).tolist() == moves.double().tolist()
    assert question.shift(desk, pairs.clean, pairs.corrupt) == pytest.approx((odds[1] - odds[0]).numpy(), abs=1e-4)
    bare = replace(pairs.clean, answer=None, foil=None)
    assert np.isnan(question.shift(desk, bare, pairs.corrupt)).all()
    anywhere = question.moved_anywhere(desk, pairs.clean)
    assert anywhere.estimate.value == question.moves(desk, pairs.clean, elsewhere(pairs.clean, seed=0)).mean()
    assert forwards_with_odds(desk, pairs.clean, "foil") == 20
    assert question.forwards_of_sides(desk, pairs.clean, bare) == 40 + 20  # the log-odds apart, where there are any


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
