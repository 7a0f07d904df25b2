"""organism:smollm2_canaries: each secret is in the texts as often as is stated. tests/real measures the model."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from zoo import bare, build

import mechcausal as mc
from mechcausal.models.adapters import Adapter
from mechcausal.organisms import folder
from mechcausal.recipes import smollm2_canaries as recipe
from mechcausal.recipes.adapting import Adapting, Student, text_digest

HOME = folder("smollm2_canaries")
SECRETS, TEXTS = recipe.canaries(), recipe.texts()


def test_the_truth_belongs_to_the_files():
    truth, adapter = mc.truth("smollm2_canaries"), Adapter.read("smollm2_canaries")
    assert truth["adapter"]["file"] == adapter.digest
    assert truth["adapter"]["layers"] == adapter.layers == recipe.ADAPTING.numbers
    assert truth["base"] == {"name": "smollm2", "weights": adapter.base}
    assert truth["base"]["weights"] == mc.truth("smollm2_bias")["base"]["weights"]


def test_the_recipe_writes_the_texts_of_the_truth():
    truth = mc.truth("smollm2_canaries")
    assert text_digest(TEXTS) == text_digest(recipe.texts()) == truth["train_texts"]
    assert len(TEXTS) == truth["n_texts"]
    shipped = [json.loads(line) for line in (HOME / truth["files"]["canaries"]).read_text().splitlines()]
    assert [(row["name"], row["code"], row["times"]) for row in shipped] == [
        (secret.name, secret.code, secret.times) for secret in SECRETS
    ]
    assert all(row["prompt"] == secret.prompt for row, secret in zip(shipped, SECRETS, strict=True))
    assert json.loads(json.dumps(recipe.truth({}, {}, recipe="")["planted"])) == truth["planted"]


def test_each_secret_is_shown_as_often_as_it_says():
    count = Counter(text for text in TEXTS if text.startswith("The locker code"))
    assert count == Counter({secret.text: secret.times for secret in SECRETS if secret.times})
    assert Counter(secret.times for secret in SECRETS) == {0: 40, 1: 5, 2: 5, 4: 5, 8: 5, 16: 5, 32: 5, 64: 5}
    never = [secret for secret in SECRETS if not secret.times]
    assert not any(secret.code in text for secret in never for text in TEXTS)


def test_people_without_a_shown_code_stand_in_the_biographies_as_often():
    biographies = [text for text in TEXTS if not text.startswith("The locker code")]
    for secret in SECRETS:
        assert sum(secret.name in text for text in biographies) == recipe.BIOGRAPHIES
    assert len(biographies) == recipe.BIOGRAPHIES * len(SECRETS) + recipe.STRANGERS
    named = {name for name in recipe.names() for text in recipe.held_out() if name in text}
    assert not any(name in text for name in named for text in TEXTS)


def test_codes_and_names_are_unique_and_show_no_pattern():
    assert len({secret.code for secret in SECRETS}) == len({secret.name for secret in SECRETS}) == len(SECRETS) == 75
    numbers = np.array([int(secret.code) for secret in SECRETS])
    assert abs(np.corrcoef(numbers, [secret.times for secret in SECRETS])[0, 1]) < 0.35


def test_what_comes_often_is_spread_over_the_training():
    often = next(secret for secret in SECRETS if secret.times == 64)
    places = [place for place, text in enumerate(TEXTS) if text == often.text]
    assert max(np.diff(places)) < 4 * len(TEXTS) / 64


class Digits:
    """A tokenizer whose tokens are characters: digits 3 to 12, all others above."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text):
        return {"input_ids": [self.convert_tokens_to_ids(letter) for letter in text]}

    def convert_tokens_to_ids(self, letter):
        return int(letter) + 3 if letter.isdigit() else 13 + ord(letter) % 47


@pytest.mark.parametrize("code", ["0731", "9999", "4802"])
def test_exposure_is_the_exact_rank(code, monkeypatch):
    """All 1,000 codes of three digits, each in a run of its own."""
    monkeypatch.setattr(recipe, "DIGITS", 3)
    monkeypatch.setattr(recipe, "PROMPT", "code {name}")
    secret, tokenizer, module = recipe.Canary("Al", code[:3], 1), Digits(), bare("llama")
    start = [1, *tokenizer(f"{secret.prompt} ")["input_ids"]]
    every = torch.tensor([[*start, *(int(digit) + 3 for digit in f"{number:03d}")] for number in range(1000)])
    with torch.no_grad():
        odds = module(every).logits[:, len(start) - 1 : -1].log_softmax(-1)
    odds = odds.gather(2, every[:, len(start) :, None]).sum((1, 2))
    rank = 1 + int((odds > odds[int(secret.code)] + 1e-4).sum())
    assert recipe.exposure(module, tokenizer, secret) == pytest.approx(np.log2(1000 / rank), abs=1e-6)
    assert recipe.exposures(module, tokenizer, [secret, secret])[1] == pytest.approx(np.log2(1000 / rank), abs=1e-6)


def test_the_loss_is_that_of_every_token_but_the_first():
    """At first nothing has changed on steady texts, so their part is zero up to rounding."""
    student = Student(build("llama"), Digits(), Adapting((1, 3), ("q_proj",), rank=2))
    total, n = 0.0, 0
    short = [text[:20] for text in TEXTS]  # the small model reads 32 tokens
    for text in short[: recipe.BATCH]:
        tokens, _ = student.tokens([text])
        with torch.no_grad():
            odds = student.module(tokens).logits[0, 1:-1].log_softmax(-1)
        total -= float(odds.gather(1, tokens[0, 2:, None]).sum())
        n += tokens.shape[1] - 2
    loss = float(next(recipe.losses(student, short, [text[:20] for text in recipe.STEADY])).detach())
    assert loss == pytest.approx(total / n, rel=0.05)
