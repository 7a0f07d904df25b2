"""Association: against Mann and Whitney, against all permutations, and where nothing is to be found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from mechcausal.errors import DataError
from mechcausal.links.association import (
    Shuffle,
    associations,
    cluster_numbers,
    fewest_clusters,
    mean_difference,
)
from mechcausal.results.multiplicity import benjamini_hochberg


def test_the_area_is_the_share_of_pairs_that_stand_in_order():
    draw = np.random.default_rng(0)
    scores, labels = draw.integers(0, 6, size=(4, 30)), draw.random(30) < 0.4
    found = associations(scores, labels)
    for row, auc in zip(scores, found.auc, strict=True):
        pairs = [(a > b) + (a == b) / 2 for a in row[labels] for b in row[~labels]]
        assert auc == pytest.approx(np.mean(pairs))


def test_without_clusters_it_is_the_exact_test_of_mann_and_whitney():
    draw = np.random.default_rng(1)
    labels = np.arange(16) % 3 == 0
    scores = draw.normal(size=(6, 16)) + 0.5 * labels * np.arange(6)[:, None]
    found = associations(scores, labels, draws=40_000)
    for row, p in zip(scores, found.p, strict=True):
        exact = stats.mannwhitneyu(row[labels], row[~labels], method="exact").pvalue
        assert p == pytest.approx(exact, abs=4 * np.sqrt(exact / 40_000))


def test_with_pairs_as_clusters_it_agrees_with_all_exchanges_within_pairs():
    draw = np.random.default_rng(2)
    first = draw.normal(size=12)
    second = first + 0.2 * draw.normal(size=12) + 0.15  # alike within a pair, so that pairing matters
    scores = np.concatenate([second, first])[None]
    labels = np.arange(24) < 12
    found = associations(scores, labels, [str(i % 12) for i in range(24)])
    ranks = stats.rankdata(scores[0])
    differences = ranks[:12] - ranks[12:]
    flips = np.array(list(itertools.product((1, -1), repeat=12)))
    exact = np.mean(np.abs(flips @ differences) >= abs(differences.sum()) - 1e-9)
    assert found.p[0] == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))
    assert found.p[0] < associations(scores, labels).p[0] / 2  # the pairing was used


def test_clusters_with_one_label_change_labels_as_a_whole():
    ids = np.repeat(np.arange(6), [1, 2, 3, 4, 1, 2])
    scores, labels = ids[None].astype(float), np.isin(ids, [3, 4, 5])
    exact = []
    for chosen in itertools.combinations(range(6), 3):
        exact.append(abs((stats.rankdata(scores[0]) - 7) @ np.isin(ids, chosen)))
    observed = exact[-1]
    found = associations(scores, labels, [str(i) for i in ids])
    assert found.p[0] == pytest.approx(np.mean(np.array(exact) >= observed - 1e-9), abs=0.01)


def test_a_cluster_of_several_pairs_is_exchanged_as_a_whole():
    draw = np.random.default_rng(6)
    ids = np.repeat(np.arange(7), [1, 2, 3, 1, 2, 4, 2])
    first, second = draw.normal(size=(2, 15)) + np.array([[0.8], [0]])
    found = associations(np.concatenate([first, second])[None], np.arange(30) < 15, [str(i) for i in np.tile(ids, 2)])
    ranks = stats.rankdata(np.concatenate([first, second]))
    sums = np.bincount(ids, ranks[:15] - ranks[15:])
    flips = np.array(list(itertools.product((1, -1), repeat=7)))
    exact = np.mean(np.abs(flips @ sums) >= abs(sums.sum()) - 1e-9)
    assert found.p[0] == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))


def test_an_exchange_leaves_what_clusters_are_beside_their_labels():
    labels, ids = np.array([1, 0, 0, 1, 1, 0, 1, 1, 0, 0]), np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 4])
    scores = np.random.default_rng(0).normal(size=10)
    for weights in Shuffle(labels, ids).draw(20, np.random.default_rng(1)):
        for number in range(5):
            mine = ids == number
            told, own = scores[mine] - scores[mine].mean(), labels[mine]
            if own.all() or not own.any():
                assert len(set(weights[mine])) == 1
            else:
                assert abs(told @ weights[mine]) == pytest.approx(abs(told @ own))
                assert weights[mine].sum() == pytest.approx(own.sum())


@pytest.mark.parametrize("rate", [0.05, 0.01, 0.2])
def test_the_fewest_clusters_with_which_anything_can_be_found(rate):
    fewest = fewest_clusters(rate)
    smallest = [2 / 2**groups for groups in (fewest - 1, fewest)]  # of all exchanges, the observed one and its opposite
    assert smallest[1] <= rate < smallest[0]


@pytest.mark.parametrize(("groups", "sizes"), [(6, "equal"), (6, "unequal"), (12, "unequal")])
def test_of_few_people_who_differ_in_nothing_but_being_people_nothing_is_found(groups, sizes):
    """Every person answers to the label in a way of their own, on average in none; texts of a person are alike."""
    draw, runs, features, found, alone = np.random.default_rng(7), 200, 12, 0, 0
    for run in range(runs):
        count = np.full(groups, 12) if sizes == "equal" else 1 + draw.poisson(11, groups)
        ids = np.repeat(np.arange(groups), count)
        own = draw.normal(size=(features, 2, groups))[:, :, ids].reshape(features, -1)
        scores = own + 0.3 * draw.normal(size=own.shape)
        labels, clusters = np.arange(2 * len(ids)) < len(ids), [str(i) for i in np.tile(ids, 2)]
        told = associations(scores, labels, clusters, draws=999, seed=run)
        found += bool((benjamini_hochberg(told.p) <= 0.05).any())
        alone += int((told.p <= 0.05).sum())
    assert found / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    # One feature at a time: the features of a run are independent.
    assert alone / (runs * features) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / (runs * features))


def test_perfect_separation_of_few_clusters_is_not_certainty():
    scores = np.array([[0.0] * 5 + [1.0] * 5])
    found = associations(scores, np.arange(10) >= 5, [str(i % 5) for i in range(10)])
    assert found.auc[0] == 1
    assert found.p[0] == pytest.approx(2 * 0.5**5, rel=0.2)
    assert found.low[0] < 0.6
    assert found.high[0] == pytest.approx(1)


def test_what_never_changes_tells_nothing():
    found = associations(np.ones((1, 20)), np.arange(20) < 8)
    assert found.auc[0] == 0.5
    assert found.p[0] == 1


def test_intervals_hold_the_true_area_as_often_as_they_say():
    draw = np.random.default_rng(3)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    labels = np.arange(80) % 2 == 0
    noise = draw.normal(size=(600, 40)).repeat(2, axis=1)  # two prompts a cluster
    scores = labels + np.sqrt(0.5) * noise + np.sqrt(0.5) * draw.normal(size=(600, 80))
    found = associations(scores, labels, [str(i // 2) for i in range(80)])
    # Pairs share half of their noise, but prompts of different pairs do not, and those are nearly all comparisons.
    assert 0.92 <= np.mean((found.low <= truth) & (truth <= found.high)) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alone", "pairs", "blocks"])
def test_on_labels_that_mean_nothing_the_rate_of_discoveries_is_at_most_nominal(kind):
    draw = np.random.default_rng(4)
    n, features, runs = 96, 60, 200
    clusters = {"alone": [], "pairs": [str(i // 2) for i in range(n)], "blocks": [str(i // 6) for i in range(n)]}[kind]
    labels = {"alone": draw.random(n) < 0.3, "pairs": np.arange(n) % 2 == 0, "blocks": np.arange(n) // 6 % 2 == 0}[kind]
    ids = cluster_numbers(clusters, n)
    common = draw.normal(size=(features, ids.max() + 1))[:, ids]  # clusters matter
    mixed = np.maximum(common + draw.normal(size=(8, n))[draw.integers(0, 8, features)] - 1, 0)  # sparse and dependent
    found = 0
    for run, meaningless in enumerate(Shuffle(labels, ids).draw(runs, draw)):
        p = associations(mixed, meaningless, clusters, draws=1999, seed=run).p
        found += bool((benjamini_hochberg(p) <= 0.05).any())
    # All null hypotheses are true, so a run with any discovery is a run of false ones alone.
    assert found / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_shuffled_labels_keep_what_clusters_are():
    draw = np.random.default_rng(5)
    pairs = Shuffle(np.arange(20) % 2 == 0, np.arange(20) // 2).draw(50, draw)
    assert (pairs.reshape(50, 10, 2).sum(axis=2) == 1).all()
    assert 0.4 < pairs[:, 0].mean() < 0.6
    blocks = Shuffle(np.arange(20) < 8, np.arange(20) // 4).draw(50, draw)
    assert set(blocks.reshape(50, 5, 4).sum(axis=2).ravel()) == {0, 4}
    assert (blocks.sum(axis=1) == 8).all()


def test_a_mean_difference_points_from_without_to_with():
    values = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 5.0]])
    assert mean_difference(values, np.array([0, 0, 1])).tolist() == [3.0, 4.0]


def test_labels_of_one_kind_are_refused():
    with pytest.raises(DataError, match="all alike"):
        associations(np.zeros((1, 4)), np.ones(4))
