import numpy as np
import pytest
import torch

from mechcausal.data import PromptSet, pad
from mechcausal.errors import DataError, SiteError

ROWS = [[5, 6, 7], [8, 9, 10, 11, 12]]


def prompts(side="right", **told):
    return PromptSet(*pad(ROWS, side=side), side=side, **told)


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_mean_the_same_on_both_sides(side):
    some = prompts(side, positions={"subject": torch.tensor([1, 4])})
    for text, tokens in (
        ("@0", [5, 8]),
        ("@-1", [7, 12]),
        ("@subject", [6, 12]),
        ("@1:3", [6, 7, 9, 10]),
        ("@4", [12]),
    ):
        assert some.tokens[some.select(text)].tolist() == tokens
    assert torch.equal(some.select(None), some.mask)
    assert some.tokens[torch.arange(2), some.read_columns].tolist() == [7, 12]
    assert some.real_tokens == ROWS


def test_the_hash_is_of_the_content():
    some = prompts(groups=("a", "b"))
    assert some.hash == prompts("left", groups=("a", "b")).hash
    assert some.hash == some.padded(9).hash
    assert some.hash != some.take([1, 0]).hash
    assert some.hash != prompts(groups=("a", "c")).hash
    assert some.hash != prompts(groups=("a", "b"), answer=torch.tensor([1, 2])).hash


def test_taking_rows_takes_all_columns():
    some = prompts(groups=("a", "b"), answer=torch.tensor([1, 2]), positions={"x": torch.tensor([0, 3])})
    second = some.take([1])
    assert (second.groups, second.answer.tolist(), second.positions["x"].tolist()) == (("b",), [2], [3])
    assert len(some.take(slice(0, 1))) == 1
    assert "1 prompts of 5 tokens" in repr(second)


def test_a_boolean_mask_takes_where_it_is_true():
    some = prompts()
    for mask in ([False, True], torch.tensor([False, True]), some.lengths > 3, np.array([False, True])):
        assert some.take(mask).real_tokens == [ROWS[1]]
    assert some.take([1, 0, 1]).real_tokens == [ROWS[1], ROWS[0], ROWS[1]]
    assert some.take(np.array([1])).real_tokens == [ROWS[1]]


def test_the_read_position_may_be_another_than_the_last():
    for side in ("left", "right"):
        some = prompts(side, read_at=torch.tensor([1, 0]))
        assert some.tokens[torch.arange(2), some.read_columns].tolist() == [6, 8]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: prompts().take([False, False]), "empty"),
        (lambda: prompts().take([True]), "one entry per prompt"),
        (lambda: prompts().take([]), "empty"),
    ],
)
def test_bad_prompts(make, said):
    with pytest.raises(DataError, match=said):
        make()


def test_an_unknown_position_is_named():
    with pytest.raises(SiteError, match="did you mean 'subject'"):
        prompts(positions={"subject": torch.tensor([1, 4])}).select("@sbject")
