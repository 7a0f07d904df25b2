"""The formula of a splice: x' = x + (decode(f') - decode(f)) + (e' - e)."""

import pytest
import torch
from plain_dictionaries import TopK, attached_to

from mechcausal.models.splice import Arrival, Latents, Splice

WIDTH = 32


@pytest.fixture
def small(gpt2):
    with attached_to(gpt2, TopK(WIDTH), "L1.resid_post") as attached:
        yield attached


def noise(seed=0):
    return torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(seed))


def doubled(value):
    return 2 * value


def cut(value):
    return value * (torch.arange(value.shape[-1]) % 3 > 0)


def test_edits_of_features_and_error_add_up(small):
    x, made = noise(), small.dictionary
    latents = Latents(small, grad=False, edits=[doubled, cut], error_edits=[cut])
    features = made.encode(x)
    error = x - made.decode(features)
    expected = x + made.decode(cut(doubled(features))) - made.decode(features) + cut(error) - error
    torch.testing.assert_close(Splice({"small": latents})(x), expected, atol=1e-5, rtol=1e-5)
    assert latents.features.equal(cut(doubled(features)))
    torch.testing.assert_close(latents.error, cut(error))


def test_an_edit_that_changes_nothing_changes_exactly_nothing(small):
    x = noise()
    assert Splice({"small": Latents(small, grad=False)})(x) is x
    kept = Latents(small, grad=False, edits=[lambda value: value * 1.0], error_edits=[lambda value: value + 0.0])
    assert Splice({"small": kept})(x).equal(x)


def test_two_dictionaries_see_the_activation_as_it_comes(gpt2, small):
    x = noise()
    with attached_to(gpt2, TopK(WIDTH, seed=4), "L1.resid_post", name="other") as other:
        parts = [Latents(bound, grad=False, edits=[doubled]) for bound in (small, other)]
        alone = [Splice({"it": Latents(bound, grad=False, edits=[doubled])})(x) - x for bound in (small, other)]
        together = Splice(dict(zip(("small", "other"), parts, strict=True)))(x)
    torch.testing.assert_close(together, x + alone[0] + alone[1], atol=1e-5, rtol=1e-5)


def test_a_transcoder_changes_what_arrives_later(gpt2):
    with attached_to(gpt2, TopK(WIDTH), "L1.resid_mid", site_out="L1.mlp_out") as over:
        latents, x, y = Latents(over, grad=False, edits=[doubled]), noise(), noise(1)
        assert Splice({"over": latents})(x) is x
        features = over.dictionary.encode(x)
        expected = y + over.dictionary.decode(doubled(features)) - over.dictionary.decode(features)
        torch.testing.assert_close(Arrival(latents)(y), expected, atol=1e-5, rtol=1e-5)
        untouched = Latents(over, grad=False)
        Splice({"over": untouched})(x)
        assert Arrival(untouched)(y) is y


def test_gradients_by_features_and_error_and_through_both(small):
    """Below both the gradient is that of the model without a dictionary."""
    x, weight = noise().requires_grad_(), noise(2)
    latents = Latents(small, grad=True, wants_error=True)
    out = Splice({"small": latents})(x)
    torch.testing.assert_close(out, x, atol=1e-5, rtol=1e-5)
    by_x, by_features, by_error = torch.autograd.grad((out * weight).sum(), [x, latents.features, latents.error])
    torch.testing.assert_close(by_x, weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_features, weight @ small.W_dec.T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_error, weight)
