"""The independent unit of each pair, and texts that many pairs share on one side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mechcausal.data.contrast import Contrast
from mechcausal.data.questions import Generalize
from mechcausal.data.splits import units
from mechcausal.probes.labels import one_set


@dataclass(frozen=True)
class Units:
    """What is independent of what.

    Attributes:
        names: The unit of each pair.
        fixed: The side whose texts are shared by many pairs and taken as fixed, `"clean"` or `"corrupt"`; else empty.
        fixed_texts: How many texts that side has.
        varying_texts: How many texts the other side has.
    """

    names: tuple[str, ...]
    fixed: str = ""
    fixed_texts: int = 0
    varying_texts: int = 0

    @property
    def note(self) -> str:
        """What a shared side means for claims, in a sentence; empty where no side is shared."""
        if not self.fixed:
            return ""
        other = "corrupt" if self.fixed == "clean" else "clean"
        texts = "one text" if self.fixed_texts == 1 else f"{self.fixed_texts} texts"
        return (
            f"The {self.fixed} side has {texts}, the {other} side {self.varying_texts}: the {self.fixed} side is taken as "
            f"fixed, and claims compare other {other} texts with exactly these"
        )


def units_of(pairs: Contrast, generalize: Generalize) -> Units:
    """Return the independent unit of each pair: its cluster, joined with the clusters that hold one of its texts.

    Where claims are about new texts of the same clusters, each pair starts as a unit of its own. Pairs that share a text
    are dependent, with one exception: a side that stands against many texts of the other side ("The man said that"
    against every occupation) is part of what is asked. It is held fixed, and joins nothing.
    """
    n = len(pairs)
    prompts = one_set(pairs)
    if generalize == "texts":
        prompts = replace(prompts, clusters=tuple(f"pair {i}" for i in range(n)) * 2)
    texts = [[tuple(row) for row in side.real_tokens] for side in (pairs.clean, pairs.corrupt)]
    for number, word in enumerate(("clean", "corrupt")):
        fixed, varying = texts[number], texts[1 - number]
        if _is_shared(fixed, varying):
            varying_rows = torch.arange(n) + (1 - number) * n
            names = units(prompts.take(varying_rows))
            return Units(tuple(map(str, names)), word, len(set(fixed)), len(set(varying)))
    return Units(tuple(map(str, units(prompts)[:n])))


def _is_shared(fixed: list[tuple[int, ...]], varying: list[tuple[int, ...]]) -> bool:
    """Say whether each text of one side stands against several texts of the other, and each of those against it alone."""
    against: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for text, other in zip(fixed, varying, strict=True):
        against.setdefault(text, set()).add(other)
    several = all(len(others) > 1 for others in against.values())
    alone = sum(len(others) for others in against.values()) == len(set(varying))
    return several and alone and not set(fixed) & set(varying)
