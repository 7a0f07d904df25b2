"""Units of pairs: shared texts join clusters, unless one side is shared by design."""

from __future__ import annotations

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.data import Contrast
from mechcausal.links.units import units_of


def made(hiring, clean, corrupt, clusters=()):
    """Return pairs of sequences of token ids, written as prompts of the organism."""
    pairs = mc.contrast("hiring/gender", hiring, len(clean))
    sides = []
    for side, texts in ((pairs.clean, clean), (pairs.corrupt, corrupt)):
        tokens = side.tokens.clone()
        for row, text in enumerate(texts):
            tokens[row, 1] = text + 5
            tokens[row, 2:] = 4
        sides.append(mc.PromptSet(tokens, side.mask, side.side, clusters=tuple(clusters)))
    return Contrast(*sides, factor="text")


@pytest.mark.parametrize("generalize", ["clusters", "texts"])
def test_a_shared_side_is_fixed_and_joins_nothing(hiring, generalize):
    pairs = made(hiring, [1, 2, 3, 4, 5, 6], [10, 10, 10, 11, 11, 11])
    units = units_of(pairs, generalize)
    assert len(set(units.names)) == 6
    assert units.fixed == "corrupt"
    assert "corrupt side has 2 texts, the clean side 6" in units.note
    assert "exactly these" in units.note
    turned = units_of(Contrast(pairs.corrupt, pairs.clean, factor="text"), generalize)
    assert turned.fixed == "clean"


def test_clusters_of_the_varying_side_are_kept(hiring):
    pairs = made(hiring, [1, 2, 3, 4], [10, 10, 11, 11], ["nurse", "maid", "nurse", "maid"])
    names = units_of(pairs, "clusters").names
    assert names[0] == names[2] != names[1] == names[3]


def test_a_repeated_text_of_the_varying_side_joins(hiring):
    pairs = made(hiring, [1, 1, 2, 3, 4], [10, 10, 10, 11, 11])
    units = units_of(pairs, "clusters")
    assert units.fixed
    assert len(set(units.names)) == 4


@pytest.mark.parametrize(
    ("clean", "corrupt"),
    [
        ([1, 2, 3, 4], [10, 10, 10, 11]),  # the last text of the corrupt side stands against one text
        ([1, 2, 1, 4], [10, 10, 11, 11]),  # a text stands against both
        ([1, 2, 3, 10], [10, 10, 10, 4]),  # a text stands on both sides
    ],
)
def test_texts_that_are_shared_otherwise_join_their_pairs(hiring, clean, corrupt):
    units = units_of(made(hiring, clean, corrupt), "clusters")
    assert not units.fixed
    assert units.note == ""
    assert len(set(units.names)) < 4


def test_pairs_without_common_texts_are_independent(hiring):
    assert len(set(units_of(made(hiring, [1, 2, 3], [10, 11, 12]), "clusters").names)) == 3


def test_a_link_with_a_shared_side_says_so(hiring):
    pairs = mc.contrast("hiring/gender", hiring, 200)
    texts = np.array([hash(tuple(row)) for row in pairs.corrupt.real_tokens])
    first = np.unique(texts, return_index=True)[1][:1]
    # Every clean text against one corrupt text of the same length.
    keep = np.unique([hash(tuple(row)) for row in pairs.clean.real_tokens], return_index=True)[1]
    shared = Contrast(
        pairs.clean.take(keep.tolist()), pairs.corrupt.take([int(first[0])] * len(keep)), factor="everything"
    )
    links = mc.link(hiring, shared, "L1.z.H2", {"clean": np.repeat([1, 0], len(keep))}, redrawn=0, details=0, random=0)
    assert links.tables["fixed"].startswith("The corrupt side has one text")
    assert links.tables["fixed"] in links.summary()
    assert links.provenance.prompts["n"] == len(keep)
