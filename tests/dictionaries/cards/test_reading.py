"""What a card reads off a model is what a forward holds there."""

import pytest
import torch
from random_dictionaries import Bent, TopK
from zoo import loaded, make_pairs

from mechcausal.address import Selection
from mechcausal.dictionaries.cards.reading import Reading, token_text
from mechcausal.models.attached import detach
from mechcausal.models.binding import attach
from mechcausal.models.hooked import forward


@pytest.fixture
def reading():
    model = loaded("gpt2")
    bound = attach(model, TopK(32), "L1.resid_post", name="read")
    yield Reading(model, bound, bound.feature(5), Selection.parse("@1:4"), 2)
    detach(model, "read")


def test_activations_and_how_many_tokens_each_feature_fires_on(reading):
    prompts = make_pairs((7, 5, 6)).clean
    values, fired = reading.activations(prompts)
    features = forward(reading.model, prompts, read=[reading.dictionary.features]).read[reading.dictionary.features]
    chosen = prompts.select("@1:4") & prompts.mask
    torch.testing.assert_close(values, torch.where(chosen, features[..., 5], 0.0), rtol=1e-5, atol=1e-6)
    assert fired.tolist() == (features[chosen] != 0).sum(0).tolist()


def test_a_feature_that_is_nowhere_active_adds_nothing(reading):
    prompts = make_pairs((7, 5, 6)).clean
    table = reading.logits(prompts, torch.zeros(prompts.tokens.shape), 3, exact=False)
    assert len(table) == 0
    assert list(table.columns) == ["token", "direct"]


def test_a_decoder_that_is_not_linear_has_no_direct_path():
    model = loaded("gpt2")
    bound = attach(model, Bent(32), "L1.resid_post", name="bent")
    prompts = make_pairs((7, 5)).clean
    table = Reading(model, bound, bound.feature(0), Selection(), 8).logits(
        prompts, torch.zeros(prompts.tokens.shape), 3, exact=False
    )
    assert list(table.columns) == ["token", "exact"]
    detach(model, "bent")


def test_a_token_without_text_is_its_number(hiring):
    assert token_text(loaded("gpt2"), 7) == "[7]"
    assert token_text(hiring, hiring.tokenizer.convert_tokens_to_ids("she")).strip() == "she"
