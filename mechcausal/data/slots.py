"""Pairs from texts with slots: each combination of fillers may occur, and all fillers occur equally often."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mechcausal.data.columns import Record
from mechcausal.data.contrast import Contrast
from mechcausal.data.files import read_rows
from mechcausal.data.making import pairs_of
from mechcausal.errors import DataError, did_you_mean

_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")
_MOST = 20_000  # combinations that are weighed against each other
Fillers = Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """Texts with slots, and what differs between the sides of a pair.

    Attributes:
        templates: The texts.
        sides: What stands in the slots of each side that are not filled.
        answers: The answer and the foil, one text or several, with slots.
        columns: Other columns of the pairs, with slots.
        factor: What differs within a pair.
    """

    templates: tuple[str, ...]
    sides: tuple[Fillers, Fillers]
    answers: dict[str, tuple[str, ...]]
    columns: dict[str, str]
    factor: str

    @classmethod
    def of(
        cls,
        template: str | Sequence[str],
        clean: Fillers,
        corrupt: Fillers,
        answer: str | Sequence[str] | None,
        foil: str | Sequence[str] | None,
        factor: str | None,
        columns: Mapping[str, str | None],
    ) -> Form:
        """Return what was asked for in one form."""
        templates = (template,) if isinstance(template, str) else tuple(template)
        if set(clean) != set(corrupt):
            odd = sorted(set(clean) ^ set(corrupt))
            raise DataError(
                "clean and corrupt fill different slots", got=", ".join(odd), fix="fill the same slots on both sides"
            )
        differing = [name for name in clean if clean[name] != corrupt[name]]
        if not differing:
            raise DataError(
                "clean and corrupt say the same in every slot",
                fix="change one: clean={'S': '{B}'}, corrupt={'S': '{A}'}",
            )
        said = {"answer": answer, "foil": foil}
        answers = {
            what: (text,) if isinstance(text, str) else tuple(text) for what, text in said.items() if text is not None
        }
        stated = {name: text for name, text in columns.items() if text is not None}
        return cls(templates, (clean, corrupt), answers, stated, factor or ", ".join(differing))

    def check(self, slots: Sequence[str]) -> None:
        """Refuse slots that nothing fills."""
        filled = [*slots, *self.sides[0], "template"]
        texts = [*self.templates, *itertools.chain(*self.answers.values()), *self.columns.values()]
        texts += [text for side in self.sides for text in side.values()]
        for text in texts:
            for slot in _SLOT.findall(text):
                if slot not in filled:
                    raise DataError(f"nothing fills the slot {{{slot}}} of {text!r}", fix=did_you_mean(slot, filled))
        for template in self.templates:
            if missing := [slot for slot in self.sides[0] if f"{{{slot}}}" not in template]:
                raise DataError(
                    f"the template {template!r} has no slot {{{missing[0]}}}",
                    fix="put it in, or leave it out of clean and corrupt",
                )

    def record(self, number: int, words: Fillers) -> Record:
        """Return the pair that these fillers make."""
        fillers = {"template": f"template {number}", **words}
        texts, places = [], []
        for side in self.sides:
            text, positions = written(self.templates[number], {**fillers, **side})
            texts.append(text)
            places.append(positions)
        both = {**fillers, **self.sides[0]}
        cells: dict[str, Any] = {"clean": texts[0], "corrupt": texts[1]}
        if len(self.templates) > 1:  # else all pairs would be one cluster, which allows no interval
            cells["template"] = fillers["template"]
        for what, members in self.answers.items():
            said = [written(text, both)[0] for text in members]
            cells[what] = said[0] if len(said) == 1 else said
        cells |= {name: written(text, both)[0] for name, text in self.columns.items()}
        where = f"{fillers['template']} with " + ", ".join(f"{slot} {word!r}" for slot, word in words.items())
        return Record(where, cells, (places[0], places[1]))


def written(template: str, words: Fillers) -> tuple[str, dict[str, list[int]]]:
    """Return a template with its slots filled, and the characters of each slot where it first occurs."""
    text, places, last = "", {}, 0
    for match in _SLOT.finditer(template):
        word = _SLOT.sub(lambda inner: words[inner[1]], words[match[1]])
        text += template[last : match.start()]
        places.setdefault(match[1], [len(text), len(text) + len(word)])
        text, last = text + word, match.end()
    return text + template[last:], places


@dataclass
class Draw:
    """Combinations in an order in which all fillers come up equally often, counted over those that were taken.

    Attributes:
        slots: The names of the slots.
        rows: The words of each combination.
        codes: The number of the filler of each slot, [combination slot], and last the template.
        counts: How often each filler was taken, for each slot.
    """

    slots: tuple[str, ...]
    rows: list[tuple[str, ...]]
    codes: np.ndarray
    counts: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [np.zeros(column.max() + 1) for column in self.codes.T]
        self.left = np.ones(len(self.codes), dtype=bool)
        self.last = 0

    def records(self, form: Form) -> Iterator[Record]:
        """Yield the pair of the combination whose fillers were taken least often, until none is left."""
        for _ in range(len(self.codes)):
            score = sum(count[column] for count, column in zip(self.counts, self.codes.T, strict=True))
            self.last = int(np.where(self.left, score, np.inf).argmin())
            self.left[self.last] = False
            words = dict(zip(self.slots, self.rows[self.last // len(form.templates)], strict=True))
            yield form.record(int(self.codes[self.last, -1]), words)

    def took(self, record: Record) -> None:
        """Count the fillers of the last combination."""
        del record
        for count, code in zip(self.counts, self.codes[self.last], strict=True):
            count[code] += 1


def pairs_from(form: Form, fillers: Any, model: Any, *, n: int | None, seed: int, **options: Any) -> Contrast:  # noqa: ANN401
    """Return the pairs of a form; the options are those of `pairs_of`."""
    slots, rows, same = _combinations(fillers, np.random.default_rng(seed))
    form.check(slots)
    if clash := set(slots) & set(form.sides[0]):
        raise DataError(
            f"the slot {{{sorted(clash)[0]}}} is filled twice",
            fix="leave it out of the fillers, or of clean and corrupt",
        )
    numbers = np.arange(len(form.templates))
    numbered = [np.unique([row[place] for row in rows], return_inverse=True)[1] for place in range(len(slots))]
    columns = [np.repeat(column, len(numbers)) for column in numbered]
    draw = Draw(slots, rows, np.stack([*columns, np.tile(numbers, len(rows))], axis=1))
    made = pairs_of(draw.records(form), model, factor=form.factor, unfit="drop", most=n, took=draw.took, **options)
    repeated = (("one filler in two slots", same),) if same else ()
    return replace(made, dropped=(*made.dropped, *repeated))


def _combinations(fillers: Any, draw: np.random.Generator) -> tuple[tuple[str, ...], list[tuple[str, ...]], int]:  # noqa: ANN401
    """Return the slots, their combinations in random order, and how many there are with a filler twice."""
    if not isinstance(fillers, Mapping):
        table = read_rows(fillers)
        slots = tuple(table.columns)
        for where, row in zip(table.where, table.values, strict=True):
            if missing := [slot for slot in slots if not isinstance(row.get(slot), str)]:
                raise DataError(f"{where}: there is no text for the slot {missing[0]!r}", got=row.get(missing[0]))
        rows = [tuple(row[slot] for slot in slots) for row in table.values]
        return slots, [rows[i] for i in draw.permutation(len(rows))][:_MOST], 0
    slots = tuple(fillers)
    for slot, words in fillers.items():
        if isinstance(words, str) or not words or not all(isinstance(word, str) and word for word in words):
            raise DataError(f"the fillers of {slot!r} are no list of words", fix=f'give {{"{slot}": ["Mary", "John"]}}')
        if len(set(words)) < len(words):
            raise DataError(f"the fillers of {slot!r} name a word twice", fix="name each once")
    sizes = [len(words) for words in fillers.values()]
    total = int(np.prod(sizes, dtype=float))
    chosen = draw.permutation(total)[:_MOST] if total <= 10 * _MOST else np.unique(draw.integers(0, total, _MOST))
    rows = []
    for number in draw.permutation(chosen):
        codes = np.unravel_index(int(number), sizes)
        rows.append(tuple(words[code] for words, code in zip(fillers.values(), codes, strict=True)))
    apart = [row for row in rows if len(set(row)) == len(row)]
    if not apart:
        raise DataError("every combination of fillers has one word in two slots", fix="give more words")
    return slots, apart, len(rows) - len(apart)
