"""Digests follow the weights and changed buffers, and nothing else."""

import pytest
import torch
from zoo import build, loaded

import mechcausal as mc
from mechcausal.models import bridge
from mechcausal.models.fingerprint import module_fingerprint, weights_fingerprint


@pytest.fixture(scope="module")
def mine():
    return mc.load(build("gpt2"))


def test_the_same_weights_have_the_same_digest(mine):
    assert weights_fingerprint(mine) == weights_fingerprint(loaded("gpt2"))
    assert weights_fingerprint(mine) != weights_fingerprint(loaded("llama"))


def test_precision_counts(mine):
    assert weights_fingerprint(mc.load(build("gpt2").to(torch.bfloat16))) != weights_fingerprint(mine)


def test_one_number_written_in_place_or_replaced_is_noticed(mine):
    weight = next(iter(mine.original_model.parameters()))
    digest = weights_fingerprint(mine)
    with torch.no_grad():
        before = weight[3, 5].clone()
        weight[3, 5] += 1e-3
        changed = weights_fingerprint(mine)
        weight[3, 5] = before
    assert changed != digest
    assert weights_fingerprint(mine) == digest
    old = weight.data
    weight.data = old + 1e-3
    assert weights_fingerprint(mine) != digest
    weight.data = old
    assert weights_fingerprint(mine) == digest


def test_a_sweep_does_not_change_it(mine, pairs):
    digest = weights_fingerprint(mine)
    sweep = mc.patch(mine, pairs, sites="z")
    assert weights_fingerprint(mine) == digest == sweep.provenance.model["weights"]


def test_a_bias_of_zeros_is_none():
    """One version of the bridge gives the unembedding one and another does not; the model is the same."""
    with_bias = mc.load(build("gpt2"))
    biases = [value for name, value in with_bias.original_model.named_parameters() if name.endswith(".bias")]
    assert any(not bool(value.any()) for value in biases)
    digest = weights_fingerprint(with_bias)
    with torch.no_grad():
        next(value for value in biases if not bool(value.any()))[0] = 1e-3
    assert weights_fingerprint(with_bias) != digest


def test_an_organism_has_one_digest_whatever_loads_it(hiring):
    """The dictionary that ships with it names its model by this."""
    assert weights_fingerprint(hiring) == "a1579e8dc191be31"


def test_the_digest_of_a_tokenizer_follows_its_tokens():
    from words import words_tokenizer

    from mechcausal.models.fingerprint import tokenizer_fingerprint

    tokenizer = words_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    assert tokenizer_fingerprint(tokenizer) == before == tokenizer_fingerprint(words_tokenizer())
    tokenizer.add_tokens(["more"])
    assert tokenizer_fingerprint(tokenizer) != before
    assert tokenizer_fingerprint(None) is None


def test_buffers_that_follow_from_the_configuration_do_not_count(architecture):
    """What is stored with a digest was stored before buffers were looked at; those of shipped models stay as they were."""
    for dtype in (torch.float32, torch.bfloat16):
        module = build(architecture).to(dtype)
        parameters = module_fingerprint(module)
        model = mc.load(module, check=False)
        assert weights_fingerprint(model) == module_fingerprint(bridge.underlying(model))
        if architecture not in ("gpt2", "neox"):  # whose queries, keys and values the bridge takes apart
            assert weights_fingerprint(model) == parameters


def test_a_buffer_that_was_changed_before_loading_counts():
    plain, changed = build("llama"), build("llama")
    changed.model.rotary_emb.inv_freq *= 0.3
    digests = [weights_fingerprint(mc.load(module, check=False)) for module in (plain, changed)]
    assert digests[0] != digests[1]
