"""Units join clusters with equal texts; a split never tears one apart."""

import numpy as np
import pytest
import torch

from mechcausal.data import Contrast, PromptSet
from mechcausal.data.splits import cluster_numbers, split, units
from mechcausal.errors import DataError

CLUSTERS = [f"t{i % 10}" for i in range(50)]


def prompts(rows, clusters=()):
    tokens = torch.tensor(rows)
    return PromptSet(tokens=tokens, mask=torch.ones_like(tokens).bool(), clusters=clusters)


def test_equal_texts_and_clusters_are_one_unit():
    first = units(prompts([[1, 2], [1, 2], [3, 4], [5, 6], [7, 8]], ("a", "b", "b", "c", "d")))
    assert first[0] == first[1] == first[2]
    assert len(set(first)) == 3


def test_pairs_are_one_unit_where_both_sides_are_equal():
    clean, corrupt = prompts([[1, 2], [1, 2], [1, 2], [3, 2]]), prompts([[5, 2], [5, 2], [6, 2], [5, 2]])
    numbers = units(Contrast(clean, corrupt, "first token")).tolist()
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def test_a_split_takes_whole_clusters_and_follows_its_seed():
    ids = cluster_numbers(CLUSTERS, 50)
    first, second = split(ids, 0.5, 0)
    assert sorted([*first, *second]) == list(range(50))
    assert not {CLUSTERS[i] for i in first} & {CLUSTERS[i] for i in second}
    assert len({CLUSTERS[i] for i in first}) == 5
    assert first.tolist() == split(ids, 0.5, 0).first.tolist()
    assert first.tolist() != split(ids, 0.5, 1).first.tolist()
    assert first.tolist() != split(ids, 0.5, [0, 5]).first.tolist()


@pytest.mark.parametrize(
    ("share", "count", "size"), [(0.5, 7, 3), (0.8, 10, 8), (0.8, 7, 6), (0.01, 5, 1), (0.99, 5, 4)]
)
def test_the_share_is_of_the_units(share, count, size):
    assert len(split(np.arange(count), share).first) == size


def test_each_side_gets_the_fewest_it_needs():
    assert [len(side) for side in split(np.arange(10), 0.1, fewest=4)] == [4, 6]


def test_what_cannot_be_split():
    with pytest.raises(DataError, match=r"too few independent pairs.*got 3 clusters of 15 pairs; expected at least 8"):
        split(np.arange(15) % 3, fewest=4, what="pairs")
    with pytest.raises(DataError, match=r"got 10 clusters.*at least 12\): bring people"):
        split(cluster_numbers(CLUSTERS, 50), fewest=6, fix="bring people")
    with pytest.raises(DataError, match="got 1 cluster of 2 prompts"):
        split(units(prompts([[1, 2], [1, 2]])))
    for share in (0, 1, -1, 2):
        with pytest.raises(DataError, match="between 0 and 1"):
            split(np.arange(4), share)


def test_without_clusters_each_example_is_its_own():
    assert cluster_numbers((), 3).tolist() == [0, 1, 2]
    assert cluster_numbers(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="one cluster per example"):
        cluster_numbers(["a"], 2)


def test_a_share_of_the_examples_is_never_exceeded():
    ids = np.repeat(np.arange(12), [40, *[2] * 11])
    sizes = [len(split(ids, 0.3, seed, of="examples").first) for seed in range(50)]
    assert max(sizes) <= 0.3 * len(ids) + 1
    assert not any(0 in ids[split(ids, 0.3, seed, of="examples").first] for seed in range(50))
    with pytest.raises(DataError, match="at least 2 on each side"):
        split(np.repeat([0, 1, 2], [20, 20, 1]), 0.3, of="examples", fewest=2)
