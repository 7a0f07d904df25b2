"""Pairs and prompts of your own: from a table to a `Contrast` or a `PromptSet`, with errors that name the row."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mechcausal.data.columns import PAIRS, PROMPTS, Record, column, others, records
from mechcausal.data.contrast import Contrast
from mechcausal.data.files import read_rows
from mechcausal.data.prompts import PromptSet
from mechcausal.data.targets import tokens_of
from mechcausal.data.tokens import encode, encode_all, tokenizer_of, wants_bos
from mechcausal.errors import DataError

logger = logging.getLogger("mechcausal")
UNKNOWN, ANSWER, LENGTH, SEVERAL, TWICE = (
    "words that the tokenizer does not know", "an answer that does not fit the tokenizer", "prompts of different length",
    "an answer of several tokens", "repeats another row",
)  # fmt: skip


class Unfit(Exception):
    """A row that this tokenizer cannot take: a reason in few words, and the error that says it in full."""

    def __init__(self, reason: str, error: DataError) -> None:
        super().__init__(reason)
        self.reason, self.error = reason, error


def read_pairs(
    source: Any,  # noqa: ANN401 - see `read_rows`
    model: Any,  # noqa: ANN401 - anything with a tokenizer
    *,
    factor: str | None = None,
    name: str | None = None,
    **options: Any,  # noqa: ANN401
) -> Contrast:
    """Return the pairs of a table; the options are those of `pairs_of`."""
    rows = read_rows(source, needed=PAIRS)
    return pairs_of(records(rows, PAIRS), model, factor=factor, name=name or rows.name, **options)


def pairs_of(
    found: Iterable[Record],
    model: Any,  # noqa: ANN401 - anything with a tokenizer
    *,
    factor: str | None = None,
    name: str = "own",
    unfit: str = "refuse",
    most: int | None = None,
    even: bool = False,
    one_token: bool = False,
    took: Callable[[Record], None] = lambda _: None,
    **options: Any,  # noqa: ANN401 - spans, side, bos of `Contrast.from_text`
) -> Contrast:
    """Return rows as pairs.

    Args:
        found: The rows.
        model: The model whose tokenizer reads them.
        factor: What differs within a pair.
        name: Where they come from.
        unfit: Whether a row that the tokenizer cannot take is refused or dropped.
        most: Take no more than so many pairs, the first that fit.
        even: Whether prompts of a pair must have as many tokens.
        one_token: Whether answers must be one token.
        took: Called with each row that fits, before the next one is asked for.
        **options: See `Contrast.from_text`.
    """
    tokenizer, bos = tokenizer_of(model), _leads(model, options.get("bos"))

    def check(record: Record) -> None:
        _check_prompts(record, PAIRS, tokenizer, bos)
        _check_answers(record, record.cells["clean"], tokenizer, bos, one_token=one_token)
        sides = [encode(tokenizer, record.cells[side], bos=bos)[0] for side in PAIRS]
        if even and len(sides[0]) != len(sides[1]):
            raise Unfit(
                LENGTH,
                record.refuse("the prompts have different lengths", got=f"{len(sides[0])} and {len(sides[1])} tokens"),
            )
        if sides[0] == sides[1]:
            raise Unfit(UNKNOWN, record.refuse("clean and corrupt are the same tokens"))
        if len(sides[0]) != len(sides[1]) or record.places[1]:
            try:
                _contrast([record], model, "", "", **options)
            except DataError as error:
                raise Unfit(LENGTH, _in_row(record, error)) from None

    kept, dropped = _fitting(found, check, _key, unfit=unfit, most=most, took=took)
    if not kept:
        raise DataError(f"the tokenizer can take none of the pairs of {name}", got=dropped.in_words())
    stated = factor or next((str(record.cells["factor"]) for record in kept if "factor" in record.cells), "undeclared")
    made = _contrast(kept, model, stated, name, **options)
    return replace(made, dropped=dropped.told(name, len(kept)))


def _contrast(found: Sequence[Record], model: Any, factor: str, name: str, **options: Any) -> Contrast:  # noqa: ANN401
    answers = {what: column(found, what) or None for what in ("answer", "foil")}
    positions = {key: [record.places[0][key] for record in found] for key in found[0].places[0]}
    # Where only some rows say where a position of the counterpart is, it is the same text in the others.
    there = {
        key: [record.places[1].get(key, record.places[0][key]) for record in found]
        for key in positions if any(key in record.places[1] for record in found)
    }  # fmt: skip
    made = Contrast.from_text(
        model, column(found, "clean"), column(found, "corrupt"), factor=factor, name=name, positions=positions or None,
        corrupt_positions=there or None, **_columns(found), **_both_variables(found), **answers, **options,
    )  # fmt: skip
    own = others(found, PAIRS)
    sides = []
    for number, side in enumerate((made.clean, made.corrupt)):
        given = {**side.given, **{key: tuple(values[number]) for key, values in own.items()}}
        sides.append(replace(side, given=given))
    if labels := column(found, "corrupt_label"):
        sides[1] = replace(sides[1], labels=tuple(labels))
    return replace(made, clean=sides[0], corrupt=sides[1])


def read_prompts(source: Any, model: Any, *, unfit: str = "refuse", **options: Any) -> PromptSet:  # noqa: ANN401
    """Return the prompts of a table; the options are those of `PromptSet.from_text`."""
    found = records(read_rows(source, needed=PROMPTS), PROMPTS)
    tokenizer, bos = tokenizer_of(model), _leads(model, options.get("bos"))

    def check(record: Record) -> None:
        _check_prompts(record, PROMPTS, tokenizer, bos)
        _check_answers(record, record.cells["text"], tokenizer, bos, one_token=False)

    kept, dropped = _fitting(found, check, _key, unfit=unfit)
    if not kept:
        raise DataError(f"the tokenizer can take none of the {len(found)} prompts", got=dropped.in_words())
    dropped.told("the prompts", len(kept))
    answers = {what: column(kept, what) or None for what in ("answer", "foil")}
    positions = {key: [record.places[0][key] for record in kept] for key in kept[0].places[0]}
    made = PromptSet.from_text(
        model, column(kept, "text"), positions=positions or None, variables=_variables(kept, 0) or None,
        **_columns(kept), **answers, **options,
    )  # fmt: skip
    own = {key: tuple(values[0]) for key, values in others(kept, PROMPTS).items()}
    return replace(made, given={**made.given, **own})


def _leads(model: Any, bos: bool | None) -> bool:  # noqa: ANN401
    return wants_bos(model) if bos is None else bos


def _columns(found: Sequence[Record]) -> dict[str, Any]:
    columns = {f"{name}s": column(found, name) for name in ("group", "environment", "cluster", "label")}
    columns["clusters"] = columns["clusters"] or column(found, "template")
    for name in ("groups", "environments", "clusters"):
        for record, value in zip(found, columns[name], strict=False):
            if value is None:
                raise record.refuse(
                    f"the {name.removesuffix('s')} is missing, which other rows have",
                    fix="give it in every row, or in none",
                )
        columns[name] = [str(value) for value in columns[name]]
    return columns


def _variables(found: Sequence[Record], side: int) -> dict[str, np.ndarray]:
    names = [name for record in found[:1] for name in record.variables[side]]
    for record in found:
        if set(record.variables[side]) != set(names):
            raise record.refuse("it has other variables than the first row", expected=", ".join(names) or "none")
    return {name: np.asarray([record.variables[side][name] for record in found]) for name in names}


def _both_variables(found: Sequence[Record]) -> dict[str, Any]:
    sides = _variables(found, 0), _variables(found, 1)
    return {"variables": sides[0] or None, "corrupt_variables": sides[1] or None}


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


def _fitting(
    found: Iterable[Record],
    check: Callable[[Record], None],
    key: Callable[[Record], str],
    *,
    unfit: str,
    most: int | None = None,
    took: Callable[[Record], None] = lambda _: None,
) -> tuple[list[Record], Dropped]:
    """Return the rows that fit, and why others do not; refuse the first of these unless they are dropped."""
    kept: list[Record] = []
    dropped = Dropped()
    seen: dict[str, Record] = {}
    for record in found:
        try:
            if key(record) in seen:
                raise Unfit(TWICE, record.refuse(f"it repeats {seen[key(record)].where}", fix="leave one of them out"))
            seen[key(record)] = record
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


def _in_row(record: Record, error: DataError) -> DataError:
    """Return an error about the only pair or prompt of a set as one about its row."""
    what = re.sub(r" \(\d+ (of \d+ )?(such )?(pairs|prompts)( do)?\)", "", error.what)
    what = re.sub(r"^(pair|prompt) 0:? ?", "the pair ", what) if not what.startswith("pair 0: ") else what[8:]
    return record.refuse(what, got=error.got, expected=error.expected, fix=error.fix)


def _check_prompts(record: Record, sides: Sequence[str], tokenizer: Any, bos: bool) -> None:  # noqa: ANN401
    for side in sides:
        try:
            encode_all(tokenizer, [record.cells[side]], bos=bos)
        except DataError as error:
            what = error.what.replace("in prompt 0", f"in the {side} prompt")
            raise Unfit(UNKNOWN, record.refuse(what, got=error.got, fix=error.fix)) from None


def _check_answers(record: Record, text: str, tokenizer: Any, bos: bool, *, one_token: bool) -> None:  # noqa: ANN401
    for what in ("answer", "foil"):
        said = record.cells.get(what, [])
        for answer in said if isinstance(said, list) else [said]:
            try:
                ids = tokens_of(tokenizer, answer)
            except DataError as error:
                detail = error.what.replace("the answer", f"the {what}")
                raise Unfit(ANSWER, record.refuse(detail, got=error.got, fix=error.fix)) from None
            if wrong := _starts_wrongly(tokenizer, text, answer, ids, bos):
                raise Unfit(ANSWER, record.refuse(f"the {what} {answer!r} {wrong[0]}", fix=wrong[1]))
            if one_token and len(ids) > 1:
                raise Unfit(SEVERAL, record.refuse(f"the {what} {answer!r} is {len(ids)} tokens"))
    first, second = (
        {*said} if isinstance(said, list) else {said} for said in map(record.cells.get, ("answer", "foil"))
    )
    if shared := (first & second) - {None}:
        raise record.refuse(f"the answer {sorted(shared)[0]!r} is the foil too, so there is nothing to compare")


def _starts_wrongly(
    tokenizer: Any,  # noqa: ANN401
    text: str,
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
    before = encode(tokenizer, text, bos=bos)[0]

    def behind(rest: str) -> list[int]:
        both = encode(tokenizer, text + rest, bos=bos)[0]
        return both[len(before) :] if both[: len(before)] == before else []

    word, ids = answer.strip(), list(ids)
    if text[-1].isspace():
        if behind(answer) == ids:
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
