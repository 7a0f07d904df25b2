"""Words alone: texts drawn alike are not told apart, texts of two topics are."""

import memorizing
import numpy as np
import pytest

from mechcausal.audits.privacy.words import shared_words, word_counts, words_alone, words_in

MEMBERS = np.arange(160) < 80


def test_words_of_one_cluster_are_left_out():
    table = word_counts(["a b", "a b b", "a c"], np.array([0, 0, 1]))
    assert table.shape == (3, 2)  # "a", and the length
    assert table[:, 0].tolist() == [np.log(2)] * 3
    assert table[1, 1] == np.log(4)


def test_the_columns_are_the_shared_words_with_their_counts():
    texts, clusters = ["a b b", "b b c", "A d."], np.array([0, 1, 2])
    assert words_in(texts[2]) == ["a", "d", "."]
    assert shared_words(texts, clusters) == ["a", "b"]
    counts = word_counts(texts, clusters, damped=False)
    assert counts[:, :-1].tolist() == [[1, 2], [0, 2], [1, 0]]
    assert word_counts(texts, clusters)[:, :-1] == pytest.approx(np.log1p(counts[:, :-1]))


def test_texts_drawn_alike_are_not_told_apart():
    found = [
        words_alone(
            memorizing.texts_of(np.random.default_rng(seed).integers(2, 42, (160, 10))),
            MEMBERS,
            np.arange(160),
            seed=seed,
        ).value
        for seed in range(4)
    ]
    assert 0.42 < np.mean(found) < 0.58


def test_texts_of_two_topics_are():
    draw = np.random.default_rng(0)
    rows = np.r_[draw.integers(2, 32, (80, 10)), draw.integers(12, 42, (80, 10))]
    found = words_alone(memorizing.texts_of(rows), MEMBERS, np.arange(160))
    assert found.value > 0.9
    assert found.low > 0.85
