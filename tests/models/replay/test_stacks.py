"""Entries in stacks: what is merged and cut, and what a stack gives."""

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.address import Site
from mechcausal.interventions import Edit, Patch
from mechcausal.models.hooked import forward
from mechcausal.models.replay.stacks import Entries, chunks, merged, run
from mechcausal.models.replay.verify import replayer

WIDTH, LAYERS = 7, 3


def entries(n=200, seed=0):
    draw = np.random.default_rng(seed)
    high = (12, 5, WIDTH, 9, LAYERS)
    return Entries(*(draw.integers(0, most, n) for most in high))


def test_what_entries_cost_is_counted_token_by_token():
    some = entries(50)
    counted = sum(
        1
        for start, layer in zip(some.start, some.layer, strict=True)
        for _ in range(layer, LAYERS)
        for _ in range(start, WIDTH)
    )
    assert some.token_layers(LAYERS, WIDTH) == counted


@pytest.mark.parametrize("free", [0, 20, 60, 10_000])
def test_entries_begin_earlier_where_that_is_cheaper_than_a_call(free):
    some = entries()
    joined = merged(some, free)
    begins = {}
    for start in sorted(set(some.start)):  # by hand, from the left
        before = begins[max(begins)] if begins else None
        cheap = before is not None and (some.start == start).sum() * (start - before) <= free
        begins[start] = before if cheap else start
    assert joined.start.tolist() == [begins[start] for start in some.start]
    assert (joined.start <= some.start).all()
    for name in ("cell", "row", "change", "layer"):
        assert getattr(joined, name) is getattr(some, name)
    if free == 0:
        assert joined.start.tolist() == some.start.tolist()


@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_chunks_hold_every_entry_once_begin_at_one_column_and_fit(budget):
    some = entries()
    cut = list(chunks(some, WIDTH, lambda tokens: 10 * tokens, budget))
    rows = lambda part: list(zip(part.start, part.layer, part.change, part.cell, part.row, strict=True))  # noqa: E731
    assert sorted(row for part in cut for row in rows(part)) == sorted(rows(some))
    for part in cut:
        (start,) = set(part.start)
        assert len(part) <= max(1, budget // (10 * (WIDTH - start)))
        assert rows(part) == sorted(rows(part))


@pytest.mark.parametrize("where", ["one column", "all columns"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_stack_gives_what_whole_runs_give(name, where):
    """Entries that enter at different layers, against one forward for each with the stream set."""
    model, batch = loaded(name), make_pairs().clean
    twin = replayer(model).twin
    base = twin.record(batch)
    delta = torch.randn(3, *base.hidden[0].shape, generator=torch.Generator().manual_seed(1)) * 0.3
    part = Entries(
        cell=np.array([0, 1, 1, 2]), row=np.array([0, 3, 5, 2]), start=np.full(4, 2), change=np.array([0, 1, 1, 2]),
        layer=np.array([0, 1, 1, 2]),
    )  # fmt: skip
    mask = torch.zeros(4, WIDTH, dtype=torch.bool)
    for entry, columns in enumerate(([2, 3], [2], [4, 6], [5, 6])):
        mask[entry, columns] = True
    read = batch.read_columns if where == "one column" else None
    made = run(twin, base, part, delta.clone(), mask, read, None)
    for entry in range(4):
        row, layer, change = int(part.row[entry]), int(part.layer[entry]), int(part.change[entry])
        site, alone = Site("resid_pre", layer), batch.take([row])
        stream = base.hidden[layer][[row]] + delta[change, [row]] * mask[entry][None, :, None]
        end = Site("resid_post", LAYERS - 1)
        final = forward(model, alone, [Edit(site, Patch())], read=[end], sources=[stream]).read[end][0]
        expected = final[-1] if read is not None else final[2:]
        torch.testing.assert_close(made[entry], expected, atol=1e-4, rtol=1e-4)
