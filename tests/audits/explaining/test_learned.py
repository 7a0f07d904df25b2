"""What a model has learned of pairs and of secrets, against sums of log-probabilities written by hand."""

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.audits.desk import Desk
from mechcausal.audits.explaining.learned import OTHERS, _others, clusters_of, learned, shown_of, units_of
from mechcausal.audits.privacy.canaries import SHIPPED, Canaries
from mechcausal.audits.privacy.candidates import candidates


def by_hand(model, text, n):
    """Return the log-probability of the last n tokens of a text."""
    tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        logprobs = model(tokens)[0, -n - 1 : -1].log_softmax(-1)
    return float(logprobs.gather(1, tokens[0, -n:, None]).sum())


def test_the_log_odds_of_a_secret_are_those_against_other_codes(hiring):
    codes = SHIPPED["hiring_secret"](0).take(slice(6, 10))
    assert shown_of(codes).secrets == codes.secrets[:2]
    values = learned(Desk(hiring, {}, seed=3), codes)
    others = np.reshape(_others(codes.take(np.repeat(range(4), OTHERS)), 3), (4, OTHERS))
    for row in range(4):
        logprobs = [by_hand(hiring, codes.prompts[row] + code, 4) for code in (codes.secrets[row], *others[row])]
        assert values[row] == pytest.approx(logprobs[0] - np.mean(logprobs[1:]), abs=1e-3)
    assert values[:2].min() > 5
    assert len(set(units_of(codes))) == 4


def test_another_candidate_is_another_one():
    few = Canaries(("a ", "b "), ("x", "y"), (1.0, 0.0), candidates(["x", "y"]))
    assert _others(few, 0) == ("y", "x")
    alike = Canaries(("a ", "b "), ("x", "x"), (1.0, 1.0), candidates(["x", "y"]))
    assert clusters_of(alike) == ("a ", "b ")


def test_of_pairs_it_is_the_effect(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=12)
    high, low = Desk(hiring, {}).both(pairs)
    assert learned(Desk(hiring, {}), pairs) == pytest.approx(high - low)
    assert shown_of(pairs) is pairs
    assert clusters_of(pairs) == pairs.clean.clusters
