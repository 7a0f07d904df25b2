"""Pairs that a circuit was found on do not judge it."""

import pytest
from zoo import make_pairs

from mechcausal.circuits.held_out import FOUND_ON, digests, held_out
from mechcausal.errors import DataError


def test_a_digest_is_that_of_the_tokens_alone():
    pairs = make_pairs(lengths=(5, 7, 6))
    padded = make_pairs(lengths=(5, 7, 6), side="left")
    assert digests(pairs) == digests(padded)
    assert digests(pairs.take([2, 0])) == [digests(pairs)[2], digests(pairs)[0]]
    assert len(set(digests(pairs))) == 3


def test_a_pair_that_shares_one_side_is_another_pair():
    first, second = make_pairs(changed=(1, 3)), make_pairs(changed=(1,))
    assert not set(digests(first)) & set(digests(second))


def test_used_pairs_are_dropped():
    pairs = make_pairs(lengths=(7,) * 10)
    about = {FOUND_ON: digests(pairs.take([0, 1, 2]))}
    left = held_out(pairs, about)
    assert (len(left.pairs), left.dropped, left.shared) == (7, 3, 0)
    assert digests(left.pairs) == digests(pairs)[3:]
    assert "3 pairs were left out" in left.sentence


def test_shared_pairs_stay_and_are_counted():
    pairs = make_pairs(lengths=(7,) * 10)
    kept = held_out(pairs, {FOUND_ON: digests(pairs.take([0, 1, 2]))}, shared=True)
    assert (len(kept.pairs), kept.shared) == (10, 3)
    assert "no test on held-out pairs" in kept.sentence


def test_too_few_clusters_are_refused_in_one_sentence():
    pairs = make_pairs(lengths=(7,) * 10)
    with pytest.raises(DataError, match=r"too few pairs are left.*found on 7 of these 10.*shared=True") as raised:
        held_out(pairs, {FOUND_ON: digests(pairs.take(list(range(7))))})
    assert len(str(raised.value)) < 400


def test_a_circuit_that_does_not_say_is_told_so():
    kept = held_out(make_pairs(), {})
    assert not kept.told
    assert "does not say" in kept.sentence
    assert held_out(make_pairs(), {FOUND_ON: []}).sentence == ""
