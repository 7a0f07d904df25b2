"""Suites and pairs of your own on the real model, against the plain transformers model written out."""

import json

import numpy as np
import pytest
import torch

import mechcausal as mc

pytestmark = pytest.mark.real


def logprob(plain, prompt, answer):
    """Return the log-probability of an answer, token by token."""
    table = plain(torch.tensor([[*prompt, *answer[:-1]]])).logits[0].log_softmax(-1)
    return float(sum(table[len(prompt) - 1 + step, token] for step, token in enumerate(answer)))


def test_stereotypes_in_a_sample_of_crows_pairs(smollm2):
    """Measured outside this package, 55.6 % of all 1,508 are stereotyped; 150 lie within three standard errors of that."""
    pairs = mc.contrast("crows_pairs", smollm2, n=150)
    assert len(pairs) == 150
    share = mc.measure(smollm2, pairs, "log_likelihood", batch_size=16).preferred().estimate
    assert share == pytest.approx(0.556, abs=0.125)


def test_suites_are_answered(smollm2):
    for name, least in (("ioi", 2.0), ("induction", 0.8), ("sva/nounpp", 0.2)):
        assert mc.measure(smollm2, mc.contrast(name, smollm2, n=24).clean, "logit_diff").value() > least


def test_endings_of_several_tokens_as_written_out(smollm2, plain):
    pairs = mc.contrast("winobias/type1", smollm2, n=2)
    odds = mc.measure(smollm2, pairs.clean, "logit_diff").examples[0]
    for row, prompt in enumerate(pairs.clean.real_tokens):
        ends = [
            [token for token in table[row, 0].tolist() if token >= 0]
            for table in (pairs.clean.answers, pairs.clean.foils)
        ]
        expected = logprob(plain, prompt, ends[0]) - logprob(plain, prompt, ends[1])
        assert odds[row] == pytest.approx(expected, abs=2e-3)


def test_a_file_of_pairs(smollm2, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        json.dumps(
            {
                "clean": "When Mary and John went to the store, John gave a drink to",
                "corrupt": "When Mary and John went to the store, Mary gave a drink to", "answer": " Mary", "foil": " John",
            }
        )
    )  # fmt: skip
    found = mc.patch(smollm2, mc.Contrast.read(path, smollm2), sites="L23.z.H*")
    assert np.argmax(found.frame["effect"].to_numpy()) == 3
