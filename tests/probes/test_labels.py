import numpy as np
import pandas as pd
import pytest
import torch

from mechcausal.data import Contrast, PromptSet
from mechcausal.data.splits import units
from mechcausal.errors import DataError
from mechcausal.probes import labels_of
from mechcausal.probes.labels import one_set


def prompts(n=6, **columns):
    tokens = torch.arange(4 * n).reshape(n, 4)
    return PromptSet(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool), **columns)


@pytest.mark.parametrize(
    "given",
    [
        ["b", "a", "b", "a", "a", "b"],
        np.array([1, 0, 1, 0, 0, 1]),
        torch.tensor([True, False, True, False, False, True]),
        pd.Series([1.5, 0.5, 1.5, 0.5, 0.5, 1.5]),
        np.array([[1], [0], [1], [0], [0], [1]]),
    ],
)
def test_labels_are_given_in_many_forms(given):
    found = labels_of(prompts(), given, "thing")
    assert found.concept == "thing"
    assert found.codes.tolist() == [1, 0, 1, 0, 0, 1]


def test_labels_are_named():
    known = prompts(variables={"gender": torch.tensor([1, 0, 1, 0, 1, 0])}, groups=("x", "y") * 3)
    assert labels_of(known, "gender").codes.tolist() == [1, 0, 1, 0, 1, 0]
    assert labels_of(known, "groups").classes == ("x", "y")
    with pytest.raises(DataError, match=r"no variable or column 'gendre'.*did you mean 'gender'"):
        labels_of(known, "gendre")


def test_what_is_missing_has_no_label():
    found = labels_of(prompts(), ["a", None, "b", "a", "b", None])
    assert found.codes.tolist() == [0, -1, 1, 0, 1, -1]
    assert labels_of(prompts(), [0.0, np.nan, 1.0, 0, 1, np.nan]).codes.tolist() == [0, -1, 1, 0, 1, -1]


def test_labels_of_tokens_leave_out_the_padding():
    set_of = prompts(2)
    short = PromptSet(tokens=set_of.tokens, mask=torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool())
    found = labels_of(short, [["a", "b", "a", "b"]] * 2)
    assert found.of_tokens
    assert found.codes.tolist() == [[0, 1, 0, 1], [0, 1, -1, -1]]


def test_wrong_labels_are_refused_in_one_sentence():
    with pytest.raises(DataError, match=r"labels 'sex' are all 'f' \(expected two values at least\)"):
        labels_of(prompts(), ["f"] * 6, "sex")
    with pytest.raises(DataError, match=r"the labels 'sex' and the prompts differ in number \(got 3; expected 6"):
        labels_of(prompts(), [0, 1, 0], "sex")
    with pytest.raises(DataError, match="nearly every example has its own"):
        labels_of(prompts(), list("abcdef"))
    with pytest.raises(DataError, match="numbers, not classes"):
        labels_of(prompts(), np.linspace(0, 1, 6))
    wrong = ({"a": 1}, {1, 2}, b"abcdef", (x for x in "abcdef"), None, 3, [[1], [1, 2]], [object()] * 6, [[], []] * 3)
    for labels in wrong:
        with pytest.raises(DataError) as raised:
            labels_of(prompts(), labels)
        assert len(str(raised.value)) < 400


def test_numbers_with_a_fraction_are_numbers_and_whole_ones_classes():
    numbers = labels_of(prompts(), [0.5, 1.5, None, 2.0, 1.0, float("nan")], "size", numbers=None)
    assert numbers.classes == ()
    assert numbers.codes.tolist() == [0, 0, -1, 0, 0, -1]
    np.testing.assert_array_equal(numbers.numbers, [0.5, 1.5, np.nan, 2.0, 1.0, np.nan])
    assert labels_of(prompts(), [0.0, 1.0, 2.0] * 2, numbers=None).classes == ("0.0", "1.0", "2.0")
    assert labels_of(prompts(), [0.5, 1.5] * 3, numbers=None).classes == ("0.5", "1.5")
    assert labels_of(prompts(), [True, False] * 3, numbers=None).classes == ("False", "True")
    assert labels_of(prompts(), [0, 1, 2] * 2, numbers=True).numbers.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(DataError, match="are all missing"):
        labels_of(prompts(), [None] * 6)
    with pytest.raises(DataError, match="several values per prompt"):
        labels_of(prompts(variables={"number": torch.zeros(6, 4)}), "number")


def test_both_sides_of_pairs_stay_together():
    clean, corrupt = (prompts(3, variables={"g": torch.full((3,), value)}) for value in (0, 1))
    corrupt = PromptSet(tokens=corrupt.tokens + 1, mask=corrupt.mask, variables=corrupt.variables)
    both = one_set(Contrast(clean, corrupt, "g"))
    assert len(both) == 6
    assert labels_of(both, "g").codes.tolist() == [0, 0, 0, 1, 1, 1]
    assert units(both).tolist()[:3] == units(both).tolist()[3:]
