"""Back from a bridge: `transformers` reads what was written and says the same, whatever was changed in between."""

import pytest
import torch
import zoo

import mechcausal as mc
from mechcausal.errors import UnsupportedError
from mechcausal.models.export import plain_weights, save, trainable

NAMES = ("gpt2", "neox", "llama", "qwen3", "gemma2", "opt", "bert")
TOKENS = torch.arange(3, 51).view(6, 8)


def fresh(name):
    module = zoo.build(name)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    return mc.load(module, copy=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_those_of_the_bare_model(name):
    found, expected = plain_weights(fresh(name)), zoo.bare(name).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_changed_through_the_bridge_is_written(name, tmp_path):
    model = fresh(name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        before = model(TOKENS)
        for parameter in trainable(model).values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        changed = model(TOKENS)
    assert (changed - before).abs().max() > 0.1
    save(model, tmp_path)
    again = type(zoo.bare(name)).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(TOKENS).logits, changed, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mc.load(str(tmp_path))(TOKENS), changed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_trained_once(name):
    model = fresh(name)
    counted = sum(parameter.numel() for parameter in trainable(model).values())
    assert counted == sum(parameter.numel() for parameter in zoo.bare(name).parameters())
    model(TOKENS).logsumexp(-1).sum().backward()
    moved = {key for key, value in trainable(model).items() if value.grad is not None and value.grad.abs().max() > 0}
    frozen = set(trainable(model)) - moved
    # A key's bias shifts all scores of a query alike, and BERT has parts that its masked head does not use.
    assert all("bias" in key or "token_type" in key for key in frozen)


def test_what_is_frozen_is_not_trained():
    model = fresh("llama")
    every = set(trainable(model))
    for parameter in model.original_model.model.layers[0].parameters():
        parameter.requires_grad_(False)
    left = set(trainable(model))
    assert left < every
    assert not any("layers.0." in key for key in left)


def test_the_tokenizer_goes_with_it(hiring, tmp_path):
    save(hiring, tmp_path)
    again = mc.load(str(tmp_path))
    text = "<app> she alice master 3y golf <dec>"
    prompts = [mc.PromptSet.from_text(model, [text]) for model in (hiring, again)]
    assert torch.equal(prompts[0].tokens, prompts[1].tokens)
    assert torch.equal(hiring(prompts[0].tokens), again(prompts[1].tokens))


def test_a_native_model_has_no_such_format(by_hand, tmp_path):
    with pytest.raises(UnsupportedError, match="no transformers format"):
        save(by_hand, tmp_path)
    assert not list(tmp_path.iterdir())
    assert trainable(by_hand)
