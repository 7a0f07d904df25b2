import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.models import bridge


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, n=48)


def test_flips_are_those_of_the_plain_model(hiring, pairs):
    """Against the transformers model itself: the decision is the larger of the two logits."""
    plain = bridge.underlying(hiring)
    decisions = []
    for side in (pairs.clean, pairs.corrupt):
        with torch.no_grad():
            logits = plain(input_ids=side.tokens, attention_mask=side.mask.long()).logits
        rows = torch.arange(len(side))
        last = logits[rows, side.read_columns]
        decisions.append((last[rows, side.answer] > last[rows, side.foil]).numpy())
    expected = float(np.mean(decisions[0] != decisions[1]))
    report = audit.Plan([audit.Flips(pairs)], networks=0).run(hiring, quiet=True)
    finding = report["FAIR-1"]
    assert finding.estimate.value == pytest.approx(expected)
    assert expected > 0.1
    assert finding.examples()["flips"].tolist() == (decisions[0] != decisions[1]).tolist()
    assert finding.answer.table["measure"].tolist() == ["mean shift of the log-odds", "mean absolute shift", "flips"]


def test_a_planted_bias_fails_and_a_kept_threshold_passes(hiring, pairs):
    report = audit.Plan([audit.Flips(pairs, at_most=0.05), audit.Flips(pairs, at_most=0.9)], networks=8).run(
        hiring, quiet=True
    )
    assert [finding.status for finding in report] == ["fail", "pass"]
    control = report["FAIR-1"].answer.controls[1]
    assert control.holds
    assert [control.kind for control in report["FAIR-1"].answer.controls] == ["random", "no-learning", "trivial-input"]


def test_a_network_with_random_weights_does_not_fail(hiring, pairs):
    empty = mc.causal.untrained(hiring, seed=3)
    report = audit.Plan([audit.Flips(pairs, at_most=0.01)], networks=8, seed=100).run(empty, quiet=True)
    assert report["FAIR-1"].status != "fail"


def test_pairs_without_an_answer_are_refused(hiring, pairs):
    bare = mc.Contrast.from_text(hiring, pairs.clean.texts[:4], pairs.corrupt.texts[:4])
    assert "needs the answer" in audit.Plan([audit.Flips(bare)]).problems(hiring)[0]
    assert len(list(audit.Flips("p").problems({"data": pairs.clean}))) == 1
