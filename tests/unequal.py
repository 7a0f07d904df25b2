"""Pairs whose prompts differ in length, as tokens, with a named span on both sides."""

from __future__ import annotations

import torch

from mechcausal.data import Contrast, PromptSet, pad
from mechcausal.data.spans import align_pair

# (before, span, after), clean and corrupt; the last pair has spans of equal length.
PAIRS = (
    ([5, 6], [10, 11, 12], [20, 21], [13]),
    ([7], [14], [22, 23], [15, 16]),
    ([8, 9], [17, 18], [24], [30, 31]),
    ([8, 9], [19], [24, 25], [32]),
)


def unequal(mode="last", side="right", answer=(40, 41, 42, 43), foil=(50, 51, 52, 53), **told):
    """Return the pairs, aligned by their span."""
    rows = [[[*before, *first, *after], [*before, *second, *after]] for before, first, after, second in PAIRS]
    ranges = [
        [(len(before), len(before) + len(span)) for span in (first, second)] for before, first, _, second in PAIRS
    ]
    aligned = [
        align_pair({"who": first}, {"who": second}, tuple(map(len, row)), mode)
        for (first, second), row in zip(ranges, rows, strict=True)
    ]
    sides = []
    for number in (0, 1):
        spans = torch.tensor([both[number] for both in ranges])
        sides.append(
            PromptSet(
                *pad([row[number] for row in rows], side=side),
                side=side,
                answer=torch.tensor(answer),
                foil=torch.tensor(foil),
                positions={"who": spans[:, 1] - 1},
                spans={} if mode == "last" else {"who": spans},
                aligned=tuple(pair[number] for pair in aligned),
                **told,
            )
        )
    return Contrast(*sides, "who")


def columns(before, span, after, mode, size):
    """Return the tokens of each position of a prompt, by hand: one list for each position."""
    begin, end = len(before), len(before) + len(span)
    inside = {"last": [[end - 1]], "mean": [list(range(begin, end))], "each": [[end - size + i] for i in range(size)]}
    return [*([i] for i in range(begin)), *inside[mode], *([i] for i in range(end, end + len(after)))]


def many(n=24, vocab=60):
    """Return random pairs, each a cluster: in every other one the clean prompt has a token more."""
    draw = torch.Generator().manual_seed(0)

    def words(count):
        return torch.randint(3, vocab, (count,), generator=draw).tolist()

    rows, ranges, positions = [], [], []
    for number in range(n):
        before, after, spans = words(2), words(2), (words(1 + number % 2), words(1))
        rows.append([[*before, *span, *after] for span in spans])
        ranges.append([(2, 2 + len(span)) for span in spans])
        lengths = tuple(map(len, rows[-1]))
        positions.append(align_pair(*({"who": place} for place in ranges[-1]), lengths, "last"))
    sides = [
        PromptSet(
            *pad([row[side] for row in rows]), answer=torch.arange(n) % 20 + 3, foil=torch.arange(n) % 20 + 30,
            positions={"who": torch.tensor([both[side][1] - 1 for both in ranges])},
            aligned=tuple(pair[side] for pair in positions), clusters=tuple(f"pair {number}" for number in range(n)),
            variables={"which": torch.full((n,), side)},
        )
        for side in (0, 1)
    ]  # fmt: skip
    return Contrast(*sides, "who")
