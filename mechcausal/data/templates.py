"""Templates that nobody declared: texts that are equal but for a few words are not independent examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mechcausal.data.prompts import PromptSet

_MOST = 400  # prompts that are compared with each other
_LONGEST = 64  # words of a text that are compared
_SHARED = 0.6  # the share of words in place from which on two texts are of one template


def undeclared_templates(prompts: PromptSet) -> int | None:
    """Return how many templates the texts of a set without clusters come from; None where nothing points to templates.

    Two texts come from one template if they have as many words and at least 60 % of them are equal in place. Sets that
    declare clusters, and sets in which most texts stand alone, have no undeclared templates.
    """
    if prompts.clusters or len(prompts) < 4:
        return None
    texts: Sequence[Sequence[Any]]
    texts = [text.split() for text in prompts.texts] if prompts.texts else [row[1:] for row in prompts.real_tokens]
    step = -(-len(texts) // _MOST)
    texts = texts[::step]
    count = _templates(texts)
    return count if count <= len(texts) / 2 else None


def _templates(texts: Sequence[Sequence[Any]]) -> int:
    by_length: dict[int, list[Sequence[Any]]] = {}
    for text in texts:
        by_length.setdefault(len(text), []).append(text[:_LONGEST])
    total = 0
    for rows in by_length.values():
        number = {word: code for code, word in enumerate({word for row in rows for word in row})}
        codes = np.array([[number[word] for word in row] for row in rows])
        if codes.shape[1] == 0:
            total += len(rows)
            continue
        equal = np.zeros((len(rows), len(rows)))
        for column in codes.T:
            equal += column[:, None] == column[None]
        total += connected_components(csr_array(equal >= _SHARED * codes.shape[1]), directed=False)[0]
    return total
