"""Rows of unequal length in one rectangle."""

import pytest
import torch

from mechcausal.data import PromptSet
from mechcausal.data.padding import laid_out, pad, read_position
from mechcausal.errors import DataError


@pytest.mark.parametrize(
    ("side", "tokens", "mask"),
    [
        ("right", [[5, 6, 7], [8, 8, 8]], [[1, 1, 1], [1, 0, 0]]),
        ("left", [[5, 6, 7], [8, 8, 8]], [[1, 1, 1], [0, 0, 1]]),
    ],
)
def test_the_filler_is_a_token_of_the_row(side, tokens, mask):
    made, where = pad([[5, 6, 7], [8]], side=side)
    assert made.tolist() == tokens
    assert where.int().tolist() == mask


def test_bad_input():
    for rows, options, said in (
        ([], {}, "without tokens"),
        ([[1], []], {}, "without tokens"),
        ([[1, 2]], {"width": 1}, "padded to this width"),
        ([[1]], {"side": "top"}, "one of two sides"),
    ):
        with pytest.raises(DataError, match=said):
            pad(rows, **options)


def test_masked_prompts_are_read_at_their_mask():
    class Tokenizer:
        mask_token_id = 4

    assert read_position(Tokenizer(), [[1, 4, 2], [4, 3]]).equal(torch.tensor([1, 0]))
    assert read_position(Tokenizer(), [[1, 4, 2], [3]]) is None
    assert read_position(object(), [[1, 4]]) is None


def test_columns_of_their_own():
    number = torch.tensor([[-1, 0, 1], [0, 1, 2]])  # the first row is padded on the left
    assert laid_out([[5, 6], [7, 8, 9]], number).tolist()[0][1:] == [5, 6]
    assert laid_out([[5, 6], [7, 8, 9]], number).tolist()[1] == [7, 8, 9]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([[True, False, True, True], [True, True, True, True]], r"mask of prompt 0 has a hole.*got TFTT"),
        ([[True, True, True, False], [False, True, False, True]], r"mask of prompt 1 has a hole.*got FTFT"),
        ([[True, True, True, True], [False, False, False, False]], "prompt 1 has no tokens"),
    ],
)
def test_padding_between_tokens_is_refused(mask, said):
    """What the loop hides there, the engine would count as a position."""
    with pytest.raises(DataError, match=said):
        PromptSet(tokens=torch.ones(2, 4, dtype=torch.long), mask=torch.tensor(mask))


def test_padding_on_both_sides_is_none_between_tokens():
    mask = torch.tensor([[False, True, True, False], [True, True, False, False]])
    assert PromptSet(tokens=torch.ones(2, 4, dtype=torch.long), mask=mask).starts.tolist() == [1, 0]


@pytest.mark.parametrize("side", ["middle", "", None, 3])
def test_a_side_is_left_or_right(side):
    with pytest.raises(DataError, match=r"padded on one of two sides .*expected left or right"):
        PromptSet(*pad([[1, 2]]), side=side)
