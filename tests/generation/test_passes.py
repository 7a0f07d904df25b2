"""Growing texts: one forward a step, with and without a cache."""

import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.errors import UnsupportedError
from mechcausal.generation.passes import Growing, why_no_cache
from mechcausal.models.hooked import forward


def test_a_step_gives_the_logits_of_the_whole_text():
    model, prompts = loaded("qwen3"), make_pairs(lengths=(5, 3), side="left").clean
    texts = [Growing(model, prompts, (), cached=cached) for cached in (True, False)]
    for token in (7, 8):
        cached, whole = (text.logits() for text in texts)
        assert torch.allclose(cached, whole, atol=1e-4)
        for text in texts:
            text.add(torch.tensor([token, token]))
    assert texts[0].forwards == 2
    assert texts[0].tokens.shape == (2, 7)
    alone = forward(model, prompts.take([0])).logits[0, -1]
    assert torch.allclose(Growing(model, prompts, (), cached=True).logits()[0], alone, atol=1e-4)


def test_why_there_is_no_cache():
    assert why_no_cache(loaded("gemma2")) == ""
    with pytest.raises(UnsupportedError, match="masked language model"):
        why_no_cache(loaded("bert"))
