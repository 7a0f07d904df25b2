"""Rows of unequal length in one rectangle."""

import pytest
import torch

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
        ([[1, 2]], {"width": 1}, "too small"),
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
