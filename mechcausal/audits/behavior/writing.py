"""What a model writes after prompts, and which of the declared answers stands in it first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from mechcausal.audits.desk import Desk
from mechcausal.audits.journal import digest
from mechcausal.audits.sources import digest_of
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import tokenizer_of
from mechcausal.errors import UnsupportedError
from mechcausal.generation.generating import Generating

TOKENS = 16
"""How many tokens are written at most, unless a question says otherwise."""

ANSWER, FOIL, NEITHER = 1.0, 0.0, -1.0
_AT_A_TIME = 64  # prompts after which texts are kept, so that an interrupted run goes on there


def written_after(
    desk: Desk, prompts: PromptSet, *, tokens: int = TOKENS, temperature: float = 0.0, samples: int = 1
) -> list[list[str]]:
    """Return what the model writes after each prompt under the edits of the desk, [prompt sample]; kept as it comes.

    Args:
        desk: The desk.
        prompts: The prompts.
        tokens: How many tokens are written at most.
        temperature: At 0 the most likely token is taken; above, tokens are drawn.
        samples: How many texts are written after each prompt.
    """
    how = tokens, temperature, samples, desk.seed
    key = "generated", digest_of(prompts), digest(*how), desk.treatment

    def run(part: PromptSet) -> list[list[str]]:
        made = Generating(
            edits=desk.edits, tokens=tokens, temperature=temperature, samples=samples, batch_size=desk.batch_size,
            seed=desk.seed,
        ).run(desk.model, part)  # fmt: skip
        return [made.texts[row : row + samples] for row in range(0, len(made.texts), samples)]

    def write() -> list[list[str]]:
        if desk.runner is not None:
            raise UnsupportedError("text is not written with a path ablated", fix="ask it under other edits")
        given = prompts if desk.rewrite is None else desk.rewrite(prompts)
        parts = [slice(low, low + _AT_A_TIME) for low in range(0, len(given), _AT_A_TIME)]
        return [
            texts
            for part in desk.bar(parts, "writing", "batch")
            for texts in desk.rows.row(f"{digest(*key)} {part.start}", lambda part=part: run(given.take(part)))
        ]

    return desk.once(key, write)


def require_room(model: Any, prompts: PromptSet, tokens: int, **how: Any) -> None:  # noqa: ANN401 - a model, options
    """Refuse a model that cannot write, and prompts behind which its context has no room for so many tokens."""
    Generating(tokens=tokens, **how).cost(model, prompts)


def forwards_of_writing(desk: Desk, prompts: PromptSet, tokens: int, samples: int = 1) -> float:
    """Return how many forwards of one prompt it takes at most to write after prompts: texts may end earlier."""
    return Generating(tokens=tokens, samples=samples).cost(desk.model, prompts).forwards


def named_first(desk: Desk, prompts: PromptSet, tokens: int = TOKENS) -> np.ndarray:
    """Return for each prompt which declared answer stands first in what the model writes: answer (1), foil (0), neither (-1).

    Args:
        desk: The desk.
        prompts: The prompts, each with an answer and a foil.
        tokens: How many tokens are written at most.
    """
    texts = written_after(desk, prompts, tokens=tokens)
    sides = [declared(prompts, name, desk.model) for name in ("answer", "foil")]
    rows = zip(texts, *sides, strict=True)
    return np.array([first_of(written[0], answer, foil) for written, answer, foil in rows])


def first_of(text: str, answer: Sequence[str], foil: Sequence[str]) -> float:
    """Return 1 where one of the answers stands first in a text, 0 where one of the foils does, -1 where there is neither.

    Whole words are found, in capital letters or not. Of two that begin at the same place the longer one stands there.
    """
    match = pattern_of((*answer, *foil)).search(text)
    if match is None:
        return NEITHER
    return ANSWER if pattern_of(tuple(answer)).fullmatch(match.group()) else FOIL


@cache
def pattern_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern that finds any of these words, the longest first."""
    listed = "|".join(
        re.escape(word) for word in sorted({word.strip() for word in words if word.strip()}, key=len)[::-1]
    )
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)", re.IGNORECASE)


def declared(prompts: PromptSet, name: str, model: Any) -> list[tuple[str, ...]]:  # noqa: ANN401 - a TransformerBridge
    """Return the answers, or the foils, of each prompt as text.

    Args:
        prompts: The prompts.
        name: `"answer"` or `"foil"`.
        model: The model whose tokenizer writes them.
    """
    tokenizer, single = tokenizer_of(model), getattr(prompts, name)
    rows = [[[token]] for token in single.tolist()] if single is not None else getattr(prompts, f"{name}s").tolist()
    return [
        tuple(tokenizer.decode(kept).strip() for member in row if (kept := [token for token in member if token >= 0]))
        for row in rows
    ]
