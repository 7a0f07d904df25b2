"""What a suite is, which there are, and how pairs are drawn of one."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from mechcausal.data.columns import Record
from mechcausal.data.contrast import Contrast
from mechcausal.data.making import pairs_of
from mechcausal.data.tokens import tokenizer_of

logger = logging.getLogger("mechcausal")
FOLDER = Path(__file__).parent / "files"
Maker = Callable[[Random, Any], Iterator[Record]]


@dataclass(frozen=True)
class Suite:
    """A source of pairs.

    Attributes:
        name: What it is called.
        factor: What differs within a pair.
        records: From a source of randomness and a tokenizer to pairs as text, in random order.
        even: Whether pairs whose prompts differ in length are left out unless asked for.
        one_token: Whether pairs whose answers are several tokens are left out.
    """

    name: str
    factor: str
    records: Maker
    even: bool = True
    one_token: bool = True


# Where each suite stands; a module holds its suites by name in SUITES.
_WRITTEN, _PUBLISHED = "mechcausal.data.suites.written", "mechcausal.data.suites.published"
SUITES = {
    **dict.fromkeys(("ioi", "greater_than", "induction"), _WRITTEN),
    **dict.fromkeys(
        (
            "sva/simple", "sva/nounpp", "professions/gender", "winogender", "winobias/type1", "winobias/type2",
            "crows_pairs", "bbq/age", "bbq/religion",
        ),
        _PUBLISHED,
    ),
}  # fmt: skip


def suite(name: str) -> Suite:
    """Return a suite by its name."""
    return import_module(SUITES[name]).SUITES[name]


def draw(
    name: str,
    model: Any,  # noqa: ANN401 - anything with a tokenizer
    n: int,
    *,
    seed: int = 0,
    lengths: str | None = None,
    side: str = "right",
) -> Contrast:
    """Draw pairs of a suite; what the tokenizer cannot take is left out, counted in `dropped`, and said.

    Where a suite has fewer pairs than are asked for, all of them are returned, and that is said.

    Args:
        name: The suite.
        model: The model whose tokenizer reads them.
        n: How many pairs at most.
        seed: The seed of the draw.
        lengths: `"equal"` leaves out pairs whose prompts differ in length, `"any"` keeps them; None is as the suite says.
        side: The side to pad on.
    """
    asked = suite(name)
    even = asked.even if lengths is None else lengths == "equal"
    pairs = pairs_of(
        asked.records(Random(seed), tokenizer_of(model)), model, factor=asked.factor, name=name, unfit="drop", most=n,
        even=even, one_token=asked.one_token, side=side,
    )  # fmt: skip
    if len(pairs) < n:
        logger.warning(
            "%s has %d different pairs that this tokenizer can take, fewer than the %d asked for", name, len(pairs), n
        )
    return pairs


@cache
def shipped(name: str) -> tuple[dict[str, Any], ...]:
    """Return the rows of a file that ships."""
    text = gzip.decompress((FOLDER / f"{name}.jsonl.gz").read_bytes()).decode()
    return tuple(json.loads(line) for line in text.splitlines())


def shuffled(rows: tuple[dict[str, Any], ...] | list[Any], random: Random) -> list[Any]:
    """Return rows in random order."""
    return random.sample(list(rows), len(rows))


def pair(
    where: str,
    clean: str,
    corrupt: str,
    answer: Any = None,  # noqa: ANN401 - a text or a list of texts
    foil: Any = None,  # noqa: ANN401
    *,
    places: dict[str, tuple[Any, Any]] | None = None,
    **cells: Any,  # noqa: ANN401 - cluster, group and columns of the suite's own
) -> Record:
    """Return a pair as a row, with the last word named `end`.

    Args:
        where: What it is called in messages.
        clean: The prompt as it is.
        corrupt: The same with the factor changed.
        answer: The answer.
        foil: What it is compared with.
        places: Named positions: what stands there in the clean prompt, and in its counterpart.
        **cells: Further columns.
    """
    stated: dict[str, Any] = {"clean": clean, "corrupt": corrupt, "answer": answer, "foil": foil, **cells}
    sides = tuple(
        {**{name: both[number] for name, both in (places or {}).items()}, "end": _last_word(text)}
        for number, text in enumerate((clean, corrupt))
    )
    kept = {name: cell for name, cell in stated.items() if cell is not None}
    return Record(where, kept, (sides[0], sides[1]))


def _last_word(text: str) -> list[int]:
    start = text.rstrip().rfind(" ") + 1
    return [start, len(text)]
