"""Rows of unequal length in one table."""

import pytest
import torch

from mechcausal.data.layout import laid_out, pad
from mechcausal.errors import DataError


def test_padded_on_either_side():
    tokens, mask = pad([[1, 2], [3]], width=3)
    assert (tokens.tolist(), mask.tolist()) == ([[1, 2, 2], [3, 3, 3]], [[True, True, False], [True, False, False]])
    tokens, mask = pad([[1, 2], [3]], side="left")
    assert (tokens.tolist(), mask.tolist()) == ([[1, 2], [3, 3]], [[True, True], [False, True]])
    with pytest.raises(DataError, match="too small"):
        pad([[1, 2]], width=1)


def test_columns_of_their_own():
    number = torch.tensor([[-1, 0, 1], [0, 1, 2]])  # the first row is padded on the left
    assert laid_out([[5, 6], [7, 8, 9]], number).tolist()[0][1:] == [5, 6]
    assert laid_out([[5, 6], [7, 8, 9]], number).tolist()[1] == [7, 8, 9]
