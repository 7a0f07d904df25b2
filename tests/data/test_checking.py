"""Columns that do not fit together are refused when the prompts are made."""

import pytest
import torch

from mechcausal.data import PromptSet
from mechcausal.data.padding import pad
from mechcausal.errors import DataError


def made(**columns):
    return PromptSet(*pad([[5, 6, 7], [8]]), **columns)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: made(read_at=torch.tensor([3, 0])), "read position lies outside"),
        (lambda: made(read_at=torch.tensor([0, -1])), "read position lies outside"),
        (lambda: made(groups=("a",)), "groups must have one entry per prompt"),
        (lambda: made(positions={"x": torch.tensor([3, 3])}), "'x' lies outside"),
        (lambda: PromptSet(torch.ones(1, 2).long(), torch.ones(1, 3).bool()), "differ in shape"),
        (lambda: PromptSet(torch.ones(1, 2).long(), torch.zeros(1, 2).bool()), "prompt 0 has no tokens"),
        (lambda: made(answer=torch.tensor([1.0, 2.0])), "answer must be whole numbers"),
        (lambda: made(labels=(1.0, float("nan"))), "label of prompt 1 is NaN"),
        (lambda: PromptSet(torch.ones(0, 2).long(), torch.ones(0, 2).bool()), "the set of prompts is empty"),
        (lambda: PromptSet(torch.ones(1, 2).long(), torch.ones(1, 2).long()), "mask must be True or False"),
    ],
)
def test_it_is_refused(make, said):
    with pytest.raises(DataError, match=said):
        make()


def test_what_fits_is_taken():
    assert (
        len(made(read_at=torch.tensor([2, 0]), groups=("a", "b"), labels=(1, None), answer=torch.tensor([1, 2]))) == 2
    )
