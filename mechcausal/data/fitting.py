"""Which rows a tokenizer can take: the check of each, and why others are refused or left out."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mechcausal.data.columns import PAIRS, Record
from mechcausal.data.spans import Spans, align_pair, with_space
from mechcausal.data.targets import tokens_of
from mechcausal.data.tokens import characters_of, encode, encode_all
from mechcausal.errors import DataError

logger = logging.getLogger("mechcausal")
Encoded = tuple[list[int], list[tuple[int, int]]]
UNKNOWN, ANSWER, LENGTH, SEVERAL, TWICE = (
    "words that the tokenizer does not know", "an answer that does not fit the tokenizer", "prompts of different length",
    "an answer of several tokens", "repeats another row",
)  # fmt: skip


class Unfit(Exception):
    """A row that this tokenizer cannot take: a reason in few words, and the error that says it in full."""

    def __init__(self, reason: str, error: DataError) -> None:
        super().__init__(reason)
        self.reason, self.error = reason, error


@dataclass
class Dropped:
    """Why rows were left out, how often, and an example of it."""

    counts: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, reason: Unfit) -> None:
        """Count one more."""
        self.counts[reason.reason] += 1
        self.example = self.example or str(reason.error)

    def in_words(self) -> str:
        """Return the counts and the example as one line."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
        return f"{counts}; for example {self.example}"

    def told(self, name: str, kept: int) -> tuple[tuple[str, int], ...]:
        """Say what was left out, where anything was, and return the counts."""
        if self.counts:
            count = self.counts.total()
            logger.warning("%d of %d rows of %s are left out: %s", count, count + kept, name, self.in_words())
        return tuple(self.counts.most_common())


def fitting(
    records: Iterable[Record],
    check: Callable[[Record], None],
    *,
    unfit: str,
    most: int | None = None,
    took: Callable[[Record], None] = lambda _: None,
) -> tuple[list[Record], Dropped]:
    """Return the rows that fit, and why others do not; refuse the first of these unless they are dropped."""
    kept: list[Record] = []
    dropped = Dropped()
    seen: dict[str, Record] = {}
    for record in records:
        try:
            if _key(record) in seen:
                raise Unfit(TWICE, record.refuse(f"it repeats {seen[_key(record)].where}", fix="leave one of them out"))
            seen[_key(record)] = record
            check(record)
            kept.append(record)
            took(record)
        except Unfit as reason:
            if unfit == "refuse":
                raise reason.error from None
            dropped.add(reason)
        if most is not None and len(kept) == most:
            break
    return kept, dropped


def _key(record: Record) -> str:
    return json.dumps([record.cells, record.places, record.variables], sort_keys=True, default=str)


def read_side(record: Record, side: str, tokenizer: Any, bos: bool) -> Encoded:  # noqa: ANN401
    """Return the tokens of one prompt and their characters."""
    try:
        return encode_all(tokenizer, [record.cells[side]], bos=bos)[0]
    except DataError as error:
        what = error.what.replace("in prompt 0", f"in the {side} prompt")
        raise Unfit(UNKNOWN, record.refuse(what, got=error.got, fix=error.fix)) from None


@dataclass(frozen=True)
class PairCheck:
    """Whether a tokenizer can take a pair.

    Attributes:
        tokenizer: The tokenizer.
        bos: Whether a BOS token leads.
        mode: What a span of several tokens counts as.
        even: Whether prompts of a pair must have as many tokens.
        one_token: Whether answers must be one token.
    """

    tokenizer: Any
    bos: bool
    mode: Spans = "last"
    even: bool = False
    one_token: bool = False

    def __call__(self, record: Record) -> None:
        """Raise `Unfit` where it cannot."""
        clean, corrupt = (read_side(record, side, self.tokenizer, self.bos) for side in PAIRS)
        check_answers(record, "clean", clean[0], self.tokenizer, self.bos, one_token=self.one_token)
        lengths = len(clean[0]), len(corrupt[0])
        if clean[0] == corrupt[0]:
            raise Unfit(UNKNOWN, record.refuse("clean and corrupt are the same tokens"))
        if lengths[0] == lengths[1] and not record.places[1]:
            return
        got = f"{lengths[0]} and {lengths[1]} tokens"
        if self.even and lengths[0] != lengths[1]:
            raise Unfit(LENGTH, record.refuse("the prompts have different lengths", got=got))
        if not record.places[0]:
            fix = (
                "reword it, name the words that differ (position.NAME and corrupt_position.NAME), or read whole texts "
                "(whole=True)"
            )
            raise Unfit(LENGTH, record.refuse("the prompts have different lengths", got=got, fix=fix))
        try:
            align_pair(self._spans(record, 0, clean[1]), self._spans(record, 1, corrupt[1]), lengths, self.mode)
        except DataError as error:
            raise Unfit(LENGTH, record.refuse(error.what, got=error.got, fix=error.fix)) from None

    def _spans(self, record: Record, side: int, offsets: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
        text = record.cells[PAIRS[side]]
        # Where a row does not say where a position of the counterpart is, the same words stand there.
        places = {name: record.places[side].get(name, words) for name, words in _words(record).items()}
        return {name: with_space(offsets, text, place) for name, place in places.items()}


def _words(record: Record) -> dict[str, str]:
    """Return the words at each place of the clean prompt."""
    text = record.cells["clean"]
    ends = {name: characters_of(text, place) for name, place in record.places[0].items()}
    return {name: text[begin:end] for name, (begin, end) in ends.items()}


def check_answers(
    record: Record,
    side: str,
    prompt: Sequence[int],
    tokenizer: Any,  # noqa: ANN401
    bos: bool,
    *,
    one_token: bool,
) -> None:
    """Raise `Unfit` where an answer or a foil does not follow its prompt in this tokenizer.

    Args:
        record: The row.
        side: The column of the prompt.
        prompt: Its tokens.
        tokenizer: The tokenizer.
        bos: Whether a BOS token leads.
        one_token: Whether answers must be one token.
    """
    text = record.cells[side]
    for what in ("answer", "foil"):
        said = record.cells.get(what, [])
        for answer in said if isinstance(said, list) else [said]:
            try:
                ids = tokens_of(tokenizer, answer)
            except DataError as error:
                detail = error.what.replace("the answer", f"the {what}")
                raise Unfit(ANSWER, record.refuse(detail, got=error.got, fix=error.fix)) from None
            if wrong := _starts_wrongly(tokenizer, text, prompt, answer, ids, bos):
                raise Unfit(ANSWER, record.refuse(f"the {what} {answer!r} {wrong[0]}", fix=wrong[1]))
            if one_token and len(ids) > 1:
                raise Unfit(SEVERAL, record.refuse(f"the {what} {answer!r} is {len(ids)} tokens"))
    first, second = (
        {*said} if isinstance(said, list) else {said} for said in map(record.cells.get, ("answer", "foil"))
    )
    if shared := (first & second) - {None}:
        raise record.refuse(
            f"the answer {sorted(map(str, shared))[0]!r} is the foil too, so there is nothing to compare"
        )


def _starts_wrongly(
    tokenizer: Any,  # noqa: ANN401
    text: str,
    before: Sequence[int],
    answer: str,
    ids: Sequence[int],
    bos: bool,
) -> tuple[str, str] | None:
    """Say how an answer does not follow its prompt as text does with this tokenizer, and what to do; None if it does.

    Many tokenizers have one token for a word behind a space and another for the same letters within a word.
    """
    mask = getattr(tokenizer, "mask_token", None)
    if mask and mask in text:
        return None

    def behind(rest: str) -> list[int]:
        both = encode(tokenizer, text + rest, bos=bos)[0]
        return both[len(before) :] if both[: len(before)] == list(before) else []

    word, ids = answer.strip(), list(ids)
    if text[-1].isspace():
        if behind(answer) == ids and not answer[:1].isspace():
            return None
        return (
            "does not follow a prompt that ends with a space in this tokenizer",
            f"end the prompt without it, and write the answer as {' ' + word!r}",
        )
    inside = text[-1].isalnum() and answer[:1].isalnum() and not (text[-1].isdigit() and answer[:1].isdigit())
    if not inside or behind(f" {word}") == ids:
        return None
    return (
        f"continues the last word of the prompt ({text.split()[-1]!r}) in this tokenizer",
        f"write {' ' + word!r} to start a new word",
    )
