"""What is there and what is not: compared with plain sets."""

import numpy as np
import pytest

from mechcausal.runs.index import NOWHERE, Index, Places, codes, ranks


def places(cell, prompt, shard=0):
    n = len(cell)
    return Places(
        np.asarray(cell, np.uint64),
        np.asarray(prompt, np.uint64),
        np.full(n, shard, np.int32),
        np.arange(n, dtype=np.int32),
    )


@pytest.mark.parametrize("seed", range(30))
def test_done_is_what_a_set_says(seed):
    draw = np.random.default_rng(seed)
    cells, prompts = (draw.integers(2**64, size=n, dtype=np.uint64) for n in draw.integers(1, 40, size=2))
    index, there = Index(), set()
    for shard in range(draw.integers(8)):
        n = draw.integers(1, 20_000 if seed % 3 == 0 else 60)
        cell, prompt = draw.choice(cells, n), draw.choice(prompts, n)
        index.add(places(cell, prompt, shard))
        there |= set(zip(cell.tolist(), prompt.tolist(), strict=True))
        strangers = draw.integers(2**64, size=3, dtype=np.uint64)
        rows = draw.permutation(np.concatenate([draw.choice(cells, draw.integers(1, 9)), strangers]))
        columns = draw.permutation(np.concatenate([draw.choice(prompts, draw.integers(1, 9)), strangers[:1]]))
        expected = [[(row, column) in there for column in columns.tolist()] for row in rows.tolist()]
        assert index.done(rows, columns).tolist() == expected


def test_places_are_sorted_by_cell_and_all_there():
    index = Index()
    assert len(index.places()) == 0
    index.add(places([3, 1], [1, 1], 0))
    index.places()
    index.add(places([2, 1], [5, 1], 1))
    rows = index.places()
    assert list(zip(rows.cell, rows.prompt, rows.shard, rows.row, strict=True)) == [
        (1, 1, 0, 1), (1, 1, 1, 1), (2, 5, 1, 0), (3, 1, 0, 0),
    ]  # fmt: skip


def test_codes_are_equal_where_keys_are_and_in_their_order():
    draw = np.random.default_rng(0)
    largest = 2**64 - 1
    parts = [
        (draw.choice(np.array([0, 1, 7, largest], np.uint64), n), draw.choice(np.array([2, 3, largest], np.uint64), n))
        for n in (30, 0, 20)
    ]
    keys = [key for cell, prompt in parts for key in zip(cell.tolist(), prompt.tolist(), strict=True)]
    answers = codes(*parts)
    assert [len(answer) for answer in answers] == [30, 0, 20]
    numbers = np.concatenate(answers)
    assert [keys[i] for i in np.argsort(numbers, kind="stable")] == sorted(keys)
    assert (numbers[:, None] == numbers).tolist() == [[a == b for b in keys] for a in keys]
    assert len(codes((NOWHERE.cell, NOWHERE.prompt))[0]) == 0


def test_ranks():
    assert ranks(["b", "c", "a"]).tolist() == [1, 2, 0]
    assert ranks([(1, "b"), (0, "z"), (1, "a")]).tolist() == [2, 0, 1]
