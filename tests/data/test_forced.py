"""A row for each answer: prompts with all but its last token behind them."""

import pytest
import torch
from unequal import unequal
from written import ANSWERS, several

from mechcausal.data.forced import forced, several_tokens
from mechcausal.errors import DataError


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows(side):
    prompts = several(side).clean
    made = forced(prompts)
    assert made.owner.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert made.answers.tolist() == [[0, -1], [2, 3], [5, -1]]
    assert made.foils.tolist() == [[1, -1], [4, -1], [6, 7]]
    own = prompts.real_tokens
    assert made.prompts.real_tokens[0] == [*own[0], *ANSWERS[0][0][:-1]]
    assert made.prompts.real_tokens[3] == [*own[1], *ANSWERS[1][1][:-1]]
    assert made.prompts.forced.tolist() == [1, 0, 0, 2, 1, 2, 0, 0]
    assert not made.single


def test_positions_are_those_of_the_prompt():
    prompts = several().clean
    made = forced(prompts).prompts
    rows = torch.arange(len(made))
    for at in (0, -1, "@1:3"):
        assert [made.tokens[made.select(at)].tolist()] == [
            [t for row in forced(prompts).owner.tolist() for t in prompts.take([row]).tokens[prompts.take([row]).select(at)].tolist()]
        ]  # fmt: skip
    assert made.tokens[rows, made.read_columns].tolist() == [prompts.real_tokens[i][-1] for i in forced(prompts).owner]
    assert bool((made.select("all") == made.mask).all())


def test_aligned_prompts_go_on_counting():
    from dataclasses import replace

    from mechcausal.data.targets import filled

    side = replace(unequal("mean").clean, answer=None, foil=None, answers=filled([[[40, 41, 42]]] * 4))
    made = forced(side).prompts
    assert made.aligned[0] == (0, 1, 2, 2, 2, 3, 4, 5, 6)
    assert made.n_positions.tolist() == side.n_positions.tolist()
    assert made.select(-1).nonzero().tolist() == side.select(-1).nonzero().tolist()


def test_what_is_asked_of_others():
    prompts = several()
    other = forced(prompts.corrupt, prompts.clean).prompts
    assert other.real_tokens[0] == [*prompts.corrupt.real_tokens[0], 5]
    assert several_tokens(prompts.clean)
    from dataclasses import replace

    with pytest.raises(DataError, match="read at their end"):
        forced(replace(prompts.clean, read_at=torch.tensor([0, 0, 0])))
