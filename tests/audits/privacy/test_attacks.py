"""Scores of membership, against the formulas on the logits of a whole forward."""

import zlib

import memorizing
import numpy as np
import pytest

from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.attacks import ATTACKS, attack_scores, prompts_of
from mechcausal.audits.privacy.members import Members
from mechcausal.errors import DataError
from mechcausal.models.hooked import forward


@pytest.fixture(scope="module")
def model():
    return memorizing.wrapped(memorizing.network().eval())


@pytest.fixture(scope="module")
def texts():
    rows = [row[: 4 + number] for number, row in enumerate(np.random.default_rng(0).integers(2, 42, (6, 10)).tolist())]
    return Members(memorizing.texts_of(rows), (True, False) * 3)


def test_formulas(model, texts):
    found = attack_scores(Desk(model, {}, batch_size=4), texts, ATTACKS[:4], share=0.3)
    for row, text in enumerate(texts.texts):
        alone = prompts_of(model, texts.take([row]))
        table = forward(model, alone).logits[0].double().log_softmax(-1).numpy()
        tokens = alone.real_tokens[0]
        picked = np.array([table[place, token] for place, token in enumerate(tokens[1:])])
        assert found["loss"][row] == pytest.approx(picked.mean(), abs=1e-5)
        assert found["zlib"][row] == pytest.approx(picked.sum() / len(zlib.compress(text.encode())), abs=1e-5)
        few = max(1, int(0.3 * len(picked)))
        assert found["min_k"][row] == pytest.approx(np.sort(picked)[:few].mean(), abs=1e-5)
        mean = [(np.exp(line) * line).sum() for line in table[:-1]]
        square = [(np.exp(line) * line**2).sum() for line in table[:-1]]
        spread = np.sqrt(np.array(square) - np.array(mean) ** 2)
        standardized = np.sort((picked - mean) / spread)[:few].mean()
        assert found["min_k_plus"][row] == pytest.approx(standardized, abs=1e-3)


def test_the_reference_is_subtracted(model, texts):
    desk, other = Desk(model, {}), memorizing.wrapped(memorizing.network(seed=1).eval())
    found = attack_scores(desk, texts, ("loss", "reference"), reference=other)
    there = attack_scores(Desk(other, {}), texts, ("loss",))["loss"]
    assert np.allclose(found["reference"], found["loss"] - there, atol=1e-6)
    itself = attack_scores(desk, texts, ("reference",), reference=model)
    assert np.abs(itself["reference"]).max() < 1e-6
    with pytest.raises(DataError, match="needs another model"):
        attack_scores(desk, texts, ("reference",))


def test_a_text_of_nothing_to_predict_is_refused(model):
    texts = Members(("w1 w2", "w3"), (True, False))
    prompts_of(model, texts)  # the BOS token stands before
    bare = type("Reader", (), {"tokenizer": model.tokenizer, "cfg": type("Cfg", (), {"default_prepend_bos": False})})
    with pytest.raises(DataError, match="text 1 is a single token"):
        prompts_of(bare, texts)
