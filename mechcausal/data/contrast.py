"""Pairs of prompts that differ in one declared factor: built once, aligned once, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mechcausal.arguments import Column, Reader, Texts, checked
from mechcausal.data.prompts import PromptSet, Side
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
    """

    clean: PromptSet
    corrupt: PromptSet
    factor: str
    name: str = "own"

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupt):
            raise DataError("clean and corrupt differ in number", got=len(self.corrupt), expected=len(self.clean))
        unequal = (self.clean.lengths != self.corrupt.lengths).nonzero().flatten().tolist()
        if unequal:
            row = unequal[0]
            raise DataError(
                f"pair {row} has prompts of different length, so positions cannot be matched ({len(unequal)} such pairs)",
                got=f"{self.clean.real_tokens[row]} and {self.corrupt.real_tokens[row]}",
                fix="reword the pair so that both tokenize to the same number of tokens",
            )
        for what in ("answer", "foil"):
            _same_on_both_sides(what, getattr(self.clean, what), getattr(self.corrupt, what))
        _answer_is_not_foil(self.clean)
        if not bool(self.differs.any()):
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
        corrupt = self.corrupt.padded(self.clean.tokens.shape[1], self.clean.side)
        return (corrupt.tokens != self.clean.tokens) & self.clean.mask

    @property
    def hash(self) -> str:
        """A digest of both sides."""
        return hashlib.sha256(f"{self.clean.hash}|{self.corrupt.hash}|{self.factor}".encode()).hexdigest()[:16]

    @property
    def pooled(self) -> PromptSet:
        """Both sides as one set, so that a mean over it carries neither side's factor."""
        clean, corrupt = self.clean, self.corrupt.padded(self.clean.tokens.shape[1], self.clean.side)
        return PromptSet(
            tokens=torch.cat([clean.tokens, corrupt.tokens]),
            mask=torch.cat([clean.mask, corrupt.mask]),
            side=clean.side,
            positions={name: torch.cat([index, corrupt.positions[name]]) for name, index in clean.positions.items()},
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
        answer: str | Sequence[str],
        foil: str | Sequence[str],
        factor: str = "undeclared",
        groups: Column = (),
        environments: Column = (),
        clusters: Column = (),
        labels: Column = (),
        positions: Mapping[str, Sequence[Any] | str | int] | None = None,
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
            answer: The token the clean prompts call for; one for all or one each. It must be one token.
            foil: The token it is compared with.
            factor: What differs within a pair, in words.
            groups: The group of each pair.
            environments: The environment of each pair.
            clusters: The unit of independence of each pair (its template, its person); intervals are clustered by it.
            labels: What is true of each pair.
            positions: Named positions of the clean prompts: a substring or a word number for all, or a list with a
                substring, a word number or a character span for each.
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
        _same_lengths(tokenizer_of(model), first.real_tokens, others.real_tokens)
        # Token i stands against token i, so what is said of the clean prompt's positions holds of its counterpart.
        second = replace(first, tokens=others.tokens, mask=others.mask, texts=others.texts, variables=others.variables)
        return cls(clean=first, corrupt=second, factor=factor, name=name)


def _same_on_both_sides(what: str, clean: Tensor | None, corrupt: Tensor | None) -> None:
    """Refuse pairs whose sides are measured by different tokens: the difference would be of the tokens, not of the runs."""
    if clean is None or corrupt is None:
        return
    different = (clean.cpu() != corrupt.cpu()).nonzero().flatten().tolist()
    if different:
        row = different[0]
        raise DataError(
            f"the two sides of pair {row} have different {what}s ({len(different)} such pairs)",
            got=f"tokens {int(clean[row])} and {int(corrupt[row])}",
            fix=f"give both sides the {what} of the clean prompt: the metric follows one pair of tokens through both runs",
        )


def _answer_is_not_foil(prompts: PromptSet) -> None:
    if prompts.answer is None or prompts.foil is None:
        return
    equal = (prompts.answer.cpu() == prompts.foil.cpu()).nonzero().flatten().tolist()
    if equal:
        raise DataError(
            f"the answer of pair {equal[0]} is its foil ({len(equal)} such pairs), so there is nothing to compare",
            got=f"token {int(prompts.answer[equal[0]])} for both", fix="give another foil, or leave the pair out",
        )  # fmt: skip


def _same_lengths(tokenizer: Any, clean: list[list[int]], corrupt: list[list[int]]) -> None:  # noqa: ANN401
    unequal = [i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if len(a) != len(b)]
    if unequal:
        first, second = (tokenizer.convert_ids_to_tokens(rows[unequal[0]]) for rows in (clean, corrupt))
        raise DataError(
            f"pair {unequal[0]} tokenizes to different lengths ({len(unequal)} of {len(clean)} pairs do)",
            got=f"{len(first)} tokens {first} and {len(second)} tokens {second}",
            fix="reword the pair so that both have the same number of tokens",
        )
