"""Batches by length: every prompt once, little padding, and the prompts themselves unchanged."""

import pytest
import torch
from zoo import make_pairs

from mechcausal.data.batching import batches, by_length, padding_share, parts, trimmed


def test_every_prompt_is_there_once_and_the_order_is_of_length():
    prompts = make_pairs(lengths=(7, 3, 9, 3, 5)).clean
    order = by_length(prompts)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
    assert prompts.lengths[order].tolist() == [3, 3, 5, 7, 9]
    assert order.tolist()[:2] == [1, 3]  # equal lengths keep their order


def test_trimming_takes_nothing_but_padding():
    for side in ("left", "right"):
        prompts = make_pairs(lengths=(7, 3, 9, 3, 5), side=side).clean
        short = prompts.take([1, 3])
        assert short.tokens.shape[1] == 9
        assert trimmed(short).tokens.shape[1] == 3
        assert trimmed(short).side == side
        assert trimmed(short).real_tokens == short.real_tokens
        assert trimmed(prompts).hash == prompts.hash


def test_padding_stays_under_a_tenth():
    draw = torch.Generator().manual_seed(0)
    lengths = tuple(torch.randint(3, 60, (200,), generator=draw).tolist())
    count = torch.tensor(lengths)
    assert padding_share(count, [torch.arange(200)]) > 0.4
    made = batches(count, 64)
    assert sorted(torch.cat(made).tolist()) == list(range(200))
    assert max(len(batch) for batch in made) <= 64
    assert all(padding_share(count[batch], [torch.arange(len(batch))]) <= 0.08 for batch in made)
    assert padding_share(count, made) < 0.08
    assert len(made) < 40  # and not one prompt at a time
    assert [len(batch) for batch in batches(torch.full((7,), 5), 3)] == [3, 3, 1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_parts_are_the_prompts_with_little_padding(side):
    """Every row once, its tokens where the first column says they are, and less than a tenth of padding."""
    prompts = make_pairs((5, 30, 6, 29, 5, 30, 6, 12), side=side).clean
    seen, computed = [], 0
    for rows, batch, first in parts(prompts, torch.arange(1, 8)):
        width = batch.tokens.shape[1]
        computed += batch.tokens.numel()
        seen += rows.tolist()
        assert torch.equal(prompts.mask[rows][:, first : first + width], batch.mask)
        assert batch.real_tokens == [prompts.real_tokens[row] for row in rows]
    assert sorted(seen) == list(range(1, 8))
    assert 1 - int(prompts.lengths[1:].sum()) / computed < 0.1
