"""The check of shapes is on, finds a wrong shape, and leaves everything else to the package."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from shapes import has_shape, modules_with_shapes, shapes_only
from torch import Tensor

from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import at_read_position


def prompts(n=2, length=3):
    return PromptSet(torch.zeros(n, length, dtype=torch.long), torch.ones(n, length, dtype=torch.bool))


def test_a_wrong_shape_is_found():
    assert at_read_position(torch.zeros(2, 3, 5), prompts()).shape == (2, 5)
    with pytest.raises(TypeCheckError, match="logits"):
        at_read_position(torch.zeros(2, 5), prompts())
    with pytest.raises(TypeCheckError, match="logits"):
        at_read_position(torch.zeros(2, 3, 5, dtype=torch.long), prompts())


def test_the_returned_value_and_the_arguments_share_their_axes():
    @jaxtyped(typechecker=shapes_only)
    def half(x: Float[Tensor, "batch pos"], count: int) -> Float[Tensor, " batch"]:
        return x[:count, 0]

    half(torch.zeros(4, 2), count=4)
    with pytest.raises(TypeCheckError, match="return value"):
        half(torch.zeros(4, 2), count=2)


def test_only_shapes_are_checked():
    @jaxtyped(typechecker=shapes_only)
    def double(x: int) -> int:
        return x * 2

    assert double("a") == "aa"
    assert has_shape(Float[Tensor, "batch"] | None)
    assert not has_shape(int | None)


def test_the_modules_that_are_watched():
    assert {"mechcausal.metrics", "mechcausal.data.prompts"} <= set(modules_with_shapes())


def test_only_functions_with_shapes_are_wrapped():
    assert hasattr(PromptSet.select, "__wrapped__")
    assert hasattr(at_read_position, "__wrapped__")
    assert not hasattr(PromptSet.take, "__wrapped__")
    assert not hasattr(PromptSet.__len__, "__wrapped__")
