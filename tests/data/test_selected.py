"""Selections of one batch are computed once each and have a number."""

import torch

from mechcausal.address import Selection
from mechcausal.data import PromptSet, pad
from mechcausal.data.selected import Selected

LAST, FIRST = Selection.parse(-1), Selection.parse(0)


def test_each_selection_has_one_number_and_one_mask():
    batch = PromptSet(*pad([[1, 2, 3], [4, 5]]))
    known = Selected(batch)
    assert known.number(LAST) == known.number(LAST) == 0
    assert known.number(FIRST) == 1
    assert known.of(LAST).tolist() == [[False, False, True], [False, True, False]]
    assert known.masks.shape == (2, 2, 3)
    assert known.number(FIRST, LAST) == 2
    assert torch.equal(known.masks[2], known.masks[0] | known.masks[1])
