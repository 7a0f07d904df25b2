"""Columns that do not fit together are refused when the prompts are made."""

import numpy as np
import pandas as pd
import pytest
import torch

import mechcausal as mc
from mechcausal.data import PromptSet
from mechcausal.data.checking import check_answers, rows_of
from mechcausal.data.padding import pad
from mechcausal.errors import DataError

NANS = (float("nan"), np.float32("nan"), np.float64("nan"), torch.tensor(float("nan")), pd.NA, pd.NaT)


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
        (lambda: PromptSet([[1, 2]], [[True, True]]), r"'tokens' of prompts is no tensor of 2 dim.*got a list.*pad"),
        (lambda: PromptSet(np.ones((1, 2)), None), "got a ndarray"),
        (lambda: PromptSet(torch.ones(2).long(), torch.ones(2).bool()), r"got shape \(2,\) on cpu"),
        (lambda: PromptSet(None, None), "got None"),
        (lambda: made(answer=[1, 2]), "'answer' of prompts is no tensor of 1 dimension"),
        (lambda: made(clusters="ab"), "'clusters' of prompts is no list"),
        (lambda: made(positions=[1]), "'positions' of prompts have no names"),
        (lambda: made(positions={"a": [1, 0]}), "the column 'a' of positions is of another kind"),
        (lambda: made(side="middle"), "padded on one of two sides"),
        *((lambda nan=nan: made(labels=(1.0, nan)), "label of prompt 1 is NaN") for nan in NANS),
        *((lambda nan=nan: made(clusters=("a", nan)), "cluster of prompt 1 is missing or no text") for nan in NANS),
        (lambda: made(clusters=("a", None)), r"cluster of prompt 1 is missing or no text .1 such prompts. .got None"),
        (lambda: made(groups=(None, "a")), "group of prompt 0 is missing"),
        (
            lambda: made(environments=([], "a")),
            "environment of prompt 0 is missing or no text .1 such prompts. .got a list",
        ),
    ],
)
def test_it_is_refused(make, said):
    with pytest.raises(DataError, match=said):
        make()


def test_what_fits_is_taken():
    assert (
        len(made(read_at=torch.tensor([2, 0]), groups=("a", "b"), labels=(1, None), answer=torch.tensor([1, 2]))) == 2
    )


def test_columns_are_the_same_whatever_they_come_in(by_hand):
    texts, clusters = ["he low ask", "she low ask", "he high ask"], [0, 1, 0]
    sets = [
        PromptSet.from_text(by_hand, texts, clusters=column)
        for column in (clusters, np.array(clusters), torch.tensor(clusters), pd.Series(clusters))
    ]
    assert {prompts.n_clusters for prompts in sets} == {2}
    assert len({prompts.hash for prompts in sets}) == 1


def test_an_answer_that_is_its_foil_is_refused_before_it_is_measured(by_hand):
    texts = ["he ask", "she ask"]
    with pytest.raises(DataError, match=r"answer of prompt 0 is its foil .2 such prompts.*got token \d+ for both"):
        PromptSet.from_text(by_hand, texts, answer="low", foil="low")
    with pytest.raises(DataError, match=r"answer of prompt 1 is its foil .1 such.*got a text that is in both"):
        PromptSet.from_text(by_hand, texts, answer=[["he"], ["low", "he"]], foil=[["she"], ["he", "she"]])
    equal = made(answer=torch.tensor([3, 4]), foil=torch.tensor([5, 4]))
    with pytest.raises(DataError, match="answer of prompt 1 is its foil"):
        mc.measure(by_hand, equal, metric="logit_diff")
    check_answers(made(answer=torch.tensor([3, 4])))


def test_rows():
    assert rows_of([2, -1, 0], 3).tolist() == [2, 2, 0]
    assert rows_of(slice(1, None), 3).tolist() == rows_of(range(1, 3), 3).tolist() == [1, 2]
    assert rows_of(np.array([True, False, True]), 3).tolist() == [0, 2]
    for rows in ("a", None, 3, [1.5], [[1]], {1}, slice("a"), [None], torch.tensor(2), object()):
        with pytest.raises(DataError, match="prompts are taken by their numbers"):
            rows_of(rows, 3)
    for rows in ([3], [-4], [0, 10**12]):
        with pytest.raises(DataError, match=r"there is no prompt .* .expected 0 to 2"):
            rows_of(rows, 3)
    for rows in ([], slice(0), [False] * 3):
        with pytest.raises(DataError, match="the selection of prompts is empty"):
            rows_of(rows, 3)
    with pytest.raises(DataError, match="one entry per prompt"):
        rows_of([True, False], 3)
