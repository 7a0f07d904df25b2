"""Pairs and prompts of your own: from a table to a `Contrast` or a `PromptSet`, with errors that name the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mechcausal.data.columns import PAIRS, PROMPTS, Record, column, others, records
from mechcausal.data.contrast import Contrast
from mechcausal.data.files import read_rows
from mechcausal.data.fitting import PairCheck, check_answers, fitting, read_side
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import tokenizer_of, wants_bos
from mechcausal.errors import DataError


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
    rows: Iterable[Record],
    model: Any,  # noqa: ANN401 - anything with a tokenizer
    *,
    factor: str | None = None,
    name: str = "own",
    unfit: str = "refuse",
    most: int | None = None,
    even: bool = False,
    one_token: bool = False,
    whole: bool = False,
    took: Callable[[Record], None] = lambda _: None,
    **options: Any,  # noqa: ANN401 - spans, side, bos of `Contrast.from_text`
) -> Contrast:
    """Return rows as pairs.

    Args:
        rows: The rows.
        model: The model whose tokenizer reads them.
        factor: What differs within a pair.
        name: Where they come from.
        unfit: Whether a row that the tokenizer cannot take is refused or dropped.
        most: Take no more than so many pairs, the first that fit.
        even: Whether prompts of a pair must have as many tokens.
        one_token: Whether answers must be one token.
        whole: Whether each text is one span, so that the two of a pair may differ anywhere and in length.
        took: Called with each row that fits, before the next one is asked for.
        **options: See `Contrast.from_text`.
    """
    tokenizer, bos = tokenizer_of(model), _leads(model, options.get("bos"))
    rows = map(_as_wholes, rows) if whole else rows
    check = PairCheck(tokenizer, bos, mode=options.get("spans", "last"), even=even, one_token=one_token)
    kept, dropped = fitting(rows, check, unfit=unfit, most=most, took=took)
    if not kept:
        raise DataError(f"the tokenizer can take none of the pairs of {name}", got=dropped.in_words())
    stated = factor or next((str(record.cells["factor"]) for record in kept if "factor" in record.cells), "undeclared")
    made = _contrast(kept, model, stated, name, **options)
    return replace(made, dropped=dropped.told(name, len(kept)))


def _as_wholes(record: Record) -> Record:
    """Return a row whose two texts correspond as wholes."""
    if record.places[0] or record.places[1]:
        raise record.refuse(
            "it names a position, and texts that are read as wholes have none",
            fix="leave the positions out, or whole=True",
        )
    first, second = ({"text": [0, len(record.cells[side])]} for side in PAIRS)
    return replace(record, places=(first, second))


def _contrast(rows: Sequence[Record], model: Any, factor: str, name: str, **options: Any) -> Contrast:  # noqa: ANN401
    answers = {what: column(rows, what) or None for what in ("answer", "foil")}
    positions = {key: [record.places[0][key] for record in rows] for key in rows[0].places[0]}
    # Where only some rows say where a position of the counterpart is, it is the same text in the others.
    there = {
        key: [record.places[1].get(key, record.places[0][key]) for record in rows]
        for key in positions if any(key in record.places[1] for record in rows)
    }  # fmt: skip
    made = Contrast.from_text(
        model, column(rows, "clean"), column(rows, "corrupt"), factor=factor, name=name, positions=positions or None,
        corrupt_positions=there or None, **_columns(rows), **_both_variables(rows), **answers, **options,
    )  # fmt: skip
    columns = others(rows, PAIRS)
    sides = []
    for number, side in enumerate((made.clean, made.corrupt)):
        given = {**side.given, **{key: tuple(values[number]) for key, values in columns.items()}}
        sides.append(replace(side, given=given))
    if labels := column(rows, "corrupt_label"):
        sides[1] = replace(sides[1], labels=tuple(labels))
    return replace(made, clean=sides[0], corrupt=sides[1])


def read_prompts(source: Any, model: Any, *, unfit: str = "refuse", **options: Any) -> PromptSet:  # noqa: ANN401
    """Return the prompts of a table; the options are those of `PromptSet.from_text`."""
    rows = records(read_rows(source, needed=PROMPTS), PROMPTS)
    tokenizer, bos = tokenizer_of(model), _leads(model, options.get("bos"))

    def check(record: Record) -> None:
        ids = read_side(record, "text", tokenizer, bos)[0]
        check_answers(record, "text", ids, tokenizer, bos, one_token=False)

    kept, dropped = fitting(rows, check, unfit=unfit)
    if not kept:
        raise DataError(f"the tokenizer can take none of the {len(rows)} prompts", got=dropped.in_words())
    dropped.told("the prompts", len(kept))
    answers = {what: column(kept, what) or None for what in ("answer", "foil")}
    positions = {key: [record.places[0][key] for record in kept] for key in kept[0].places[0]}
    made = PromptSet.from_text(
        model, column(kept, "text"), positions=positions or None, variables=_variables(kept, 0) or None,
        **_columns(kept), **answers, **options,
    )  # fmt: skip
    columns = {key: tuple(values[0]) for key, values in others(kept, PROMPTS).items()}
    return replace(made, given={**made.given, **columns})


def _leads(model: Any, bos: bool | None) -> bool:  # noqa: ANN401
    return wants_bos(model) if bos is None else bos


def _columns(rows: Sequence[Record]) -> dict[str, Any]:
    columns = {f"{name}s": column(rows, name) for name in ("group", "environment", "cluster", "label")}
    columns["clusters"] = columns["clusters"] or column(rows, "template")
    for name in ("groups", "environments", "clusters"):
        for record, value in zip(rows, columns[name], strict=False):
            if value is None:
                raise record.refuse(
                    f"the {name.removesuffix('s')} is missing, which other rows have",
                    fix="give it in every row, or in none",
                )
        columns[name] = [str(value) for value in columns[name]]
    return columns


def _variables(rows: Sequence[Record], side: int) -> dict[str, np.ndarray]:
    names = [name for record in rows[:1] for name in record.variables[side]]
    for record in rows:
        if set(record.variables[side]) != set(names):
            raise record.refuse("it has other variables than the first row", expected=", ".join(names) or "none")
    return {name: np.asarray([record.variables[side][name] for record in rows]) for name in names}


def _both_variables(rows: Sequence[Record]) -> dict[str, Any]:
    sides = _variables(rows, 0), _variables(rows, 1)
    return {"variables": sides[0] or None, "corrupt_variables": sides[1] or None}
