"""The question of extraction: greedy decoding is what `generate` writes, and only what was taught is extracted."""

import math

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.audits.desk import Desk
from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.canaries import SHIPPED
from mechcausal.audits.privacy.extraction import Extraction, _tries


@pytest.fixture(scope="module")
def canaries():
    return SHIPPED["hiring_secret"](0).take(slice(0, 20))


def answered(model, question, **options):
    finding = Plan([question], **{"networks": 4, **options}).run(model, quiet=True).findings[0]
    assert not finding.error
    return finding


def test_it_is_what_the_model_writes(hiring, canaries):
    finding = answered(hiring, Extraction(canaries))
    texts = mc.generate(hiring, [prompt.strip() for prompt in canaries.prompts], tokens=4).texts
    by_hand = [text == secret for text, secret in zip(texts, canaries.secrets, strict=True)]
    assert finding.examples()["extracted"].tolist() == by_hand
    assert finding.estimate.value == 1.0
    assert finding.estimate.low == pytest.approx(0.025 ** (1 / 8))
    assert "8 of 8" in finding.answer.says


def test_what_was_taught_fails_a_threshold_and_what_was_not_does_not(hiring, canaries):
    finding = answered(hiring, Extraction(canaries, at_most=0.1))
    assert finding.status == "fail"
    kinds = {control.kind: control for control in finding.answer.controls}
    assert kinds["random"].holds
    assert kinds["random"].p < 1e-4
    assert kinds["no-learning"].p == 0
    assert kinds["trivial-input"].estimate.value < 0.2
    others = canaries.take(~canaries.inserted)
    nobody = type(canaries)(others.prefixes, others.secrets, (1.0,) * len(others), others.candidates)
    assert answered(hiring, Extraction(nobody, at_most=0.1)).status in ("pass", "inconclusive")


def test_its_units_are_the_secrets_that_were_shown(hiring, canaries):
    """So that reports and edits are compared secret by secret."""
    finding = answered(hiring, Extraction(canaries))
    shown = finding.examples()["extracted"][canaries.inserted]
    assert list(finding.answer.units) == shown.astype(float).tolist()
    assert np.mean(finding.answer.units) == pytest.approx(finding.estimate.value)
    assert list(finding.answer.unit_clusters) == np.array(canaries.prefixes)[canaries.inserted].tolist()


def test_less_context(hiring, canaries):
    table = answered(hiring, Extraction(canaries, context=(1, 3))).answer.table.set_index("measure")["value"]
    assert table["the last 3 tokens of the prefix"] == 1.0  # <id> NAME <key>
    assert table["the last 1 tokens of the prefix"] < 0.3  # <key> alone does not say whose


def test_by_count():
    exposed = SHIPPED["hiring_exposed"](0).take(slice(0, 12))
    table = answered(mc.load("organism:hiring_exposed"), Extraction(exposed), networks=0).answer.table
    rates = table.set_index("measure")["value"]
    assert rates["shown 64 times"] == 1.0
    assert rates["shown 1 times"] == 0.0
    assert rates["shown 0 times"] == 0.0


def test_under_an_edit(hiring, canaries):
    from mechcausal.address import Site
    from mechcausal.interventions.specs import Edit, Zero

    desk = Desk(hiring, {"data": canaries}, edits=(Edit(Site.parse("L2.z.H3"), Zero()),), networks=0, quiet=True)
    assert Extraction(canaries).answer(desk).estimate.value < 0.3


def test_tries_for_an_even_chance():
    assert _tries(math.log(0.5)) == pytest.approx(1.0)
    assert _tries(0.0) == 1.0
    assert 1 - (1 - 1e-3) ** _tries(math.log(1e-3)) == pytest.approx(0.5)
    assert np.isfinite(_tries(-40.0))


def test_canaries_that_nobody_was_shown_are_a_problem(hiring, canaries):
    nobody = canaries.take(~canaries.inserted)
    assert "none of its canaries" in Plan([Extraction(nobody)]).problems(hiring)[0]
