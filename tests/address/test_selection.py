import numpy as np
import pytest
import torch

from mechcausal.address import ALL, Selection
from mechcausal.errors import SiteError


@pytest.mark.parametrize("text", ["@-1", "@3:7", "@subject", "@all", "@0", "@2:", "@0:-1"])
def test_selections_print_as_they_parse(text):
    assert str(Selection.parse(text)) == text
    assert Selection.parse(text.removeprefix("@")) == Selection.parse(text)


def test_selection_bounds_count_real_tokens():
    assert Selection.parse(-1).bounds(5) == (4, 5)
    assert Selection.parse(7).bounds(5) == (0, 0)
    assert Selection.parse(slice(1, -1)).bounds(5) == (1, 4)
    assert Selection.parse(None) == ALL
    assert ALL.bounds(5) == (0, 5)


@pytest.mark.parametrize("index", [2, np.int64(2), torch.tensor(2), "2", "@2"])
def test_any_integer_is_a_position(index):
    assert str(Selection.parse(index)) == "@2"


@pytest.mark.parametrize("text", ["@1:2:3", "@?", slice(0, 4, 2)])
def test_a_wrong_selection(text):
    with pytest.raises(SiteError):
        Selection.parse(text)
