"""Pairs of prompts that differ in one declared factor: built once, aligned once, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mechcausal.arguments import Column, Draws, Reader, Seed, Text, Texts, check_fields, checked
from mechcausal.data.checking import check_answers
from mechcausal.data.matching import aligned, counterparts
from mechcausal.data.prompts import PromptSet, Side
from mechcausal.data.spans import Spans
from mechcausal.data.targets import Words
from mechcausal.data.tokens import tokenizer_of
from mechcausal.errors import DataError


@dataclass(frozen=True, eq=False)
class Contrast:
    """Pairs (clean, corrupt) with an answer and a foil; token i of a clean prompt stands against token i of its corrupt.

    Attributes:
        clean: The prompts as they are.
        corrupt: The same prompts with the factor changed.
        factor: What differs, in words.
        name: Where the pairs come from.
        dropped: Why pairs were left out when these were built, and how many for each reason.
    """

    clean: PromptSet
    corrupt: PromptSet
    factor: str
    name: str = "own"
    dropped: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.clean) != len(self.corrupt):
            raise DataError("clean and corrupt differ in number", got=len(self.corrupt), expected=len(self.clean))
        if self.clean.aligned or self.corrupt.aligned:
            _same_positions(self.clean, self.corrupt)
        else:
            _same_number_of_tokens(self.clean, self.corrupt)
        for what in ("answer", "foil", "answers", "foils"):
            _same_on_both_sides(what, getattr(self.clean, what), getattr(self.corrupt, what))
        check_answers(self.clean)
        if self.clean.real_tokens == self.corrupt.real_tokens:
            raise DataError("clean and corrupt are the same prompts", fix="change the factor in at least one pair")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.clean)

    def __repr__(self) -> str:
        """Say what the pairs are."""
        return f"Contrast({self.name!r}, {len(self)} pairs, factor {self.factor!r}, clean {self.clean!r})"

    @property
    def differs(self) -> Tensor:
        """[batch pos] mask of the columns in which a pair differs (clean's columns)."""
        if not self.clean.aligned:
            corrupt = self.corrupt.padded(self.clean.tokens.shape[1], self.clean.side)
            return (corrupt.tokens != self.clean.tokens) & self.clean.mask
        differs = torch.zeros_like(self.clean.mask)
        for row, (first, second) in enumerate(zip(self.clean.aligned, self.corrupt.aligned, strict=True)):
            sides = (self.clean.real_tokens_of(row), first), (self.corrupt.real_tokens_of(row), second)
            here, there = ([(at, token) for at, token in zip(*reversed(side), strict=True)] for side in sides)
            differs[row][self.clean.mask[row]] = torch.tensor([pair not in there for pair in here])
        return differs

    @property
    def even(self) -> bool:
        """Whether the two prompts of every pair have as many tokens, so that token i stands against token i."""
        return not self.clean.aligned

    @property
    def hash(self) -> str:
        """A digest of both sides."""
        return hashlib.sha256(f"{self.clean.hash}|{self.corrupt.hash}|{self.factor}".encode()).hexdigest()[:16]

    @property
    def pooled(self) -> PromptSet:
        """Both sides as one set, so that a mean over it carries neither side's factor."""
        width = max(side.tokens.shape[1] for side in (self.clean, self.corrupt))
        clean, corrupt = self.clean.padded(width), self.corrupt.padded(width, self.clean.side)
        return PromptSet(
            tokens=torch.cat([clean.tokens, corrupt.tokens]),
            mask=torch.cat([clean.mask, corrupt.mask]),
            side=clean.side,
            positions={name: torch.cat([index, corrupt.positions[name]]) for name, index in clean.positions.items()},
            spans={name: torch.cat([span, corrupt.spans[name]]) for name, span in clean.spans.items()},
        )

    def take(self, rows: Sequence[int] | slice | Tensor) -> Contrast:
        """Return the pairs at `rows`."""
        return replace(self, clean=self.clean.take(rows), corrupt=self.corrupt.take(rows))

    @classmethod
    @checked
    def from_text(
        cls,
        model: Reader,
        clean: Texts,
        corrupt: Texts,
        *,
        answer: Words | None = None,
        foil: Words | None = None,
        factor: str = "undeclared",
        groups: Column = (),
        environments: Column = (),
        clusters: Column = (),
        labels: Column = (),
        positions: Mapping[str, Sequence[Any] | str | int] | None = None,
        corrupt_positions: Mapping[str, Sequence[Any] | str | int] | None = None,
        spans: Spans = "last",
        variables: Mapping[str, Any] | None = None,
        corrupt_variables: Mapping[str, Any] | None = None,
        side: Side = "right",
        bos: bool | None = None,
        name: str = "own",
    ) -> Contrast:
        """Build pairs from texts.

        Args:
            model: The model whose tokenizer reads them.
            clean: The prompts as they are.
            corrupt: Their counterparts, in the same order.
            answer: The text the clean prompts call for: one for all, or a list with one for each; see
                `PromptSet.from_text` for several tokens and sets.
            foil: What it is compared with.
            factor: What differs within a pair, in words.
            groups: The group of each pair.
            environments: The environment of each pair.
            clusters: The unit of independence of each pair (its template, its person); intervals are clustered by it.
            labels: What is true of each pair.
            positions: Named positions of the clean prompts: a substring or a word number for all, or a list with a
                substring, a word number or a character span for each.
            corrupt_positions: The same of their counterparts. Where prompts of a pair differ in length, positions before,
                within and after these spans correspond. Names that are left out are where the same text stands.
            spans: What a span of several tokens counts as where lengths differ: its `"last"` token, the `"mean"` over its
                tokens, or `"each"` token, counted from the end of the span.
            variables: The variables of a causal model, of the clean prompts.
            corrupt_variables: The same of their counterparts.
            side: The side to pad on.
            bos: Whether a BOS token leads; None follows the model's own convention.
            name: Where the pairs come from.
        """
        if len(clean) != len(corrupt):
            raise DataError("clean and corrupt differ in number", got=len(corrupt), expected=len(clean))
        if not clean:
            raise DataError("the set of pairs is empty", fix="give at least one pair")
        first = PromptSet.from_text(
            model, clean, answer=answer, foil=foil, positions=positions, labels=labels, groups=groups,
            environments=environments, clusters=clusters, variables=variables, side=side, bos=bos,
        )  # fmt: skip
        others = PromptSet.from_text(model, corrupt, variables=corrupt_variables, side=side, bos=bos)
        if positions and (corrupt_positions or not torch.equal(first.lengths, others.lengths)):
            places = counterparts(first, corrupt, corrupt_positions or {})
            second = PromptSet.from_text(model, corrupt, positions=places, side=side, bos=bos)
            first, others = aligned(model, first, second, spans, bos)
            others = replace(others, variables=variables_of(corrupt_variables))
        _same_lengths(tokenizer_of(model), first, others)
        # What is said of the clean prompt holds of its counterpart; only its tokens and their positions are its own.
        kept = (
            "tokens",
            "mask",
            "texts",
            "pieces",
            "variables",
            *(("positions", "spans", "aligned") if first.aligned else ()),
        )
        given = {**first.given, **{k: v for k, v in others.given.items() if k.startswith("position.")}}
        second = replace(first, given=given, **{field: getattr(others, field) for field in kept})
        return cls(clean=first, corrupt=second, factor=factor, name=name)

    @classmethod
    @checked
    def read(
        cls,
        source: Any,  # noqa: ANN401 - a file, a data frame, a data set
        model: Reader,
        *,
        factor: str | None = None,
        spans: Spans = "last",
        unfit: Literal["refuse", "drop"] = "refuse",
        whole: bool = False,
        side: Side = "right",
        bos: bool | None = None,
        name: str | None = None,
    ) -> Contrast:
        """Read pairs of your own.

        Columns are `clean`, `corrupt`, `answer`, `foil`, and any of `group`, `environment`, `cluster`, `template`,
        `label`, `position.NAME` and `corrupt_position.NAME` (words of the prompt, or first and last character). Other
        columns are kept for probes. The clusters are the templates where there is no column `cluster`. docs/data.md has
        the whole schema. Errors name the row.

        Args:
            source: A file (.jsonl, .json, .csv, .tsv, .parquet), a pandas frame, a `datasets.Dataset` or a list of mappings.
            model: The model whose tokenizer reads them.
            factor: What differs within a pair, in words; that of a column `factor` where there is one.
            spans: What a span of several tokens counts as where the prompts of a pair differ in length; see `from_text`.
            unfit: Whether a pair that the tokenizer cannot take is refused, or dropped and counted in `dropped`.
            whole: Whether each text counts as a whole, so that the two of a pair may differ anywhere and in length. Such
                pairs serve questions about whole texts; no position within them can be patched.
            side: The side to pad on.
            bos: Whether a BOS token leads; None follows the model's own convention.
            name: Where the pairs come from; the name of the file unless said.

        Example:
            >>> import mechcausal as mc
            >>> model = mc.load("organism:by_hand")
            >>> rows = [{"clean": "he high ask", "corrupt": "she high ask", "answer": "yes", "foil": "no"}]
            >>> len(mc.Contrast.read(rows, model))
            1
        """
        from mechcausal.data.making import read_pairs

        options = {"spans": spans, "unfit": unfit, "whole": whole, "side": side, "bos": bos, "name": name}
        return read_pairs(source, model, factor=factor, **options)

    @classmethod
    @checked
    def from_template(
        cls,
        model: Reader,
        template: Text | Texts,
        fillers: Any,  # noqa: ANN401 - a mapping, or whatever `read` takes
        *,
        clean: Mapping[str, str],
        corrupt: Mapping[str, str],
        answer: str | Texts | None = None,
        foil: str | Texts | None = None,
        n: Draws | None = None,
        factor: str | None = None,
        group: str | None = None,
        cluster: str | None = None,
        label: str | None = None,
        lengths: Literal["any", "equal"] = "any",
        spans: Spans = "last",
        seed: Seed = 0,
        side: Side = "right",
        bos: bool | None = None,
        name: str = "template",
    ) -> Contrast:
        """Make balanced pairs from texts with slots: each filler occurs as often as the others, as far as it fits.

        Every slot is a named position. Pairs that the tokenizer cannot take, and those in which one filler stands in two
        slots, are left out; `dropped` says how many and why.

        Args:
            model: The model whose tokenizer reads them.
            template: One text or several, with slots in braces: `"When {A} and {B} went to {PLACE}, {S} gave a drink to"`.
            fillers: For each slot the words that may stand in it, of which every combination can occur; or a table with a
                column for each slot (a file, a frame, a list of mappings), of which every row can occur.
            clean: What stands in the other slots of the clean prompt, such as `{"S": "{B}"}`.
            corrupt: The same of its counterpart, such as `{"S": "{A}"}`.
            answer: The answer, with slots: `" {A}"`.
            foil: What it is compared with.
            n: How many pairs; all of them unless said.
            factor: What differs within a pair; the slots that differ unless said.
            group: The group of each pair, with slots.
            cluster: The unit of independence, with slots; the template unless said, if there are several.
            label: What is true of each pair, with slots.
            lengths: Whether the prompts of a pair may differ in length; positions then correspond slot by slot.
            spans: What a slot of several tokens counts as where they do; see `from_text`.
            seed: The seed of the draw.
            side: The side to pad on.
            bos: Whether a BOS token leads; None follows the model's own convention.
            name: Where the pairs come from.

        Example:
            >>> import mechcausal as mc
            >>> model = mc.load("organism:by_hand")
            >>> pairs = mc.Contrast.from_template(
            ...     model, "{WHO} {HOW} ask", {"HOW": ["high", "low"]}, clean={"WHO": "he"}, corrupt={"WHO": "she"},
            ...     answer="yes", foil="no",
            ... )
            >>> len(pairs), sorted(pairs.clean.positions)
            (2, ['HOW', 'WHO'])
        """
        from mechcausal.data.slots import Form, pairs_from

        form = Form.of(
            template, clean, corrupt, answer, foil, factor, {"group": group, "cluster": cluster, "label": label}
        )
        options = {"spans": spans, "side": side, "bos": bos, "even": lengths == "equal", "name": name}
        return pairs_from(form, fillers, model, n=n, seed=seed, **options)

    @checked
    def write(self, path: str | Path) -> Path:
        """Write the pairs to a file (.jsonl, .json, .csv, .tsv, .parquet) that `read` reads back as the same pairs.

        Args:
            path: The file.
        """
        from mechcausal.data.writing import write_pairs

        return write_pairs(self, Path(path))


def require_even(data: Contrast | PromptSet, method: str) -> None:
    """Refuse pairs whose prompts differ in length, for a method that needs token i to stand against token i."""
    if isinstance(data, Contrast) and not data.even:
        raise DataError(
            f"{method} needs pairs whose prompts have as many tokens", got="pairs that are matched by named spans",
            fix="use patch or attribute, or pairs of equal length: mc.contrast(..., lengths='equal')",
        )  # fmt: skip


def variables_of(variables: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Return variables as tensors."""
    return {name: torch.as_tensor(value) for name, value in (variables or {}).items()}


def _same_number_of_tokens(clean: PromptSet, corrupt: PromptSet) -> None:
    unequal = (clean.lengths != corrupt.lengths).nonzero().flatten().tolist()
    if unequal:
        row = unequal[0]
        raise DataError(
            f"pair {row} has prompts of different length, so positions cannot be matched ({len(unequal)} such pairs)",
            got=f"{clean.real_tokens[row]} and {corrupt.real_tokens[row]}",
            fix="reword the pair so that both tokenize to the same number of tokens",
        )


def _same_positions(clean: PromptSet, corrupt: PromptSet) -> None:
    """Refuse sides of which one has positions that the other lacks."""
    for row in range(len(clean)):
        sides = [{*(side.aligned[row] if side.aligned else ())} - {-1} for side in (clean, corrupt)]
        if sides[0] != sides[1]:
            raise DataError(
                f"the prompts of pair {row} do not have the same positions", got=f"{sorted(sides[0] ^ sides[1])[:8]}",
                fix="build the pairs with Contrast.from_text and corrupt_positions={...}",
            )  # fmt: skip


def _same_on_both_sides(what: str, clean: Tensor | None, corrupt: Tensor | None) -> None:
    """Refuse pairs whose sides are measured by different tokens: the difference would be of the tokens, not of the runs."""
    if clean is None or corrupt is None:
        return
    if clean.shape != corrupt.shape:
        raise DataError(
            f"the two sides of the pairs have different {what}", fix="give both sides those of the clean one"
        )
    apart = (clean.cpu() != corrupt.cpu()).reshape(len(clean), -1).any(1)
    different = apart.nonzero().flatten().tolist()
    if different:
        row, what = different[0], what.removesuffix("s")
        raise DataError(
            f"the two sides of pair {row} have different {what}s ({len(different)} such pairs)",
            got=f"tokens {clean[row].tolist()} and {corrupt[row].tolist()}",
            fix=f"give both sides the {what} of the clean prompt: the metric follows one pair of tokens through both runs",
        )


def _same_lengths(tokenizer: Any, clean: PromptSet, corrupt: PromptSet) -> None:  # noqa: ANN401
    if clean.aligned:
        return
    unequal = (clean.lengths != corrupt.lengths).nonzero().flatten().tolist()
    if unequal:
        first, second = (tokenizer.convert_ids_to_tokens(side.real_tokens_of(unequal[0])) for side in (clean, corrupt))
        raise DataError(
            f"pair {unequal[0]} tokenizes to different lengths ({len(unequal)} of {len(clean)} pairs do)",
            got=f"{len(first)} tokens {first} and {len(second)} tokens {second}",
            fix="reword it, or name the words that differ with positions= and corrupt_positions=",
        )
