"""Two ways to the same numbers: on which prompts they are compared, and what counts as the same."""

import pytest
import torch
from zoo import build, loaded

import mechcausal as mc
from mechcausal.errors import DataError, UnsupportedError, shortened
from mechcausal.models.compared import agree, in_short, probes, theirs


def test_what_fails_in_the_model_is_a_missing_ability():
    with (
        pytest.raises(UnsupportedError, match="the layer cannot be called: RuntimeError, mat1"),
        theirs("the layer cannot be called"),
    ):
        torch.nn.Linear(3, 3)(torch.zeros(1, 4))


def test_what_fails_in_the_package_is_a_bug_and_passes():
    with pytest.raises(TypeError), theirs("the layer cannot be called"):
        shortened(3, 4)
    with pytest.raises(DataError, match="in our words"), theirs("the layer cannot be called"):
        raise DataError("in our words")
    with pytest.raises(torch.OutOfMemoryError), theirs("the layer cannot be called"):
        raise torch.OutOfMemoryError


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_probes_are_prompts_of_unequal_length_on_both_sides(name):
    model = loaded(name)
    both = probes(model)
    assert [base.side for base, _ in both] == ["right", "left"]
    for base, source in both:
        assert base.lengths.tolist() == source.lengths.tolist() == [6, 4, 6]
        assert not base.tokens.equal(source.tokens)
        assert int(base.tokens.max()) < model.cfg.d_vocab
        assert base.answer is not None
        assert base.foil is not None
    assert all(first[0].tokens.equal(second[0].tokens) for first, second in zip(both, probes(model), strict=True))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_numbers_agree_as_far_as_the_precision_goes(dtype, limit):
    model = mc.load(build("gpt2").to(dtype))
    slow = torch.linspace(-10, 30, 9)  # numbers between -10 and 30 have a range of 40
    within, beyond = slow.clone(), slow.clone()
    within[3] += 0.9 * limit * 40
    beyond[3] += 1.1 * limit * 40
    assert agree(within, slow, model)
    assert not agree(beyond, slow, model)
    assert not agree(torch.full_like(slow, torch.nan), slow, model)
    assert not agree(slow[:3], slow, model)
    assert agree(slow[:0], slow[:0], model)


def test_the_first_line_of_an_error():
    assert in_short(ValueError("first\nsecond")) == "first"
    assert len(in_short(ValueError("x" * 500))) == 200
