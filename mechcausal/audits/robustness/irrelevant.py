"""Irrelevant words: decisions must not depend on them; how much they are attended to is another matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from mechcausal.address import Site
from mechcausal.arguments import Texts
from mechcausal.audits import perturbed
from mechcausal.audits.decisions import forwards_of, undecidable, unnamed
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.moved import OfMoves
from mechcausal.audits.question import Family
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import tokenizer_of
from mechcausal.errors import DataError, MechcausalError, did_you_mean
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import forward

_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Irrelevant(OfMoves):
    """Exchange words that must not matter, or put some in, and count the decisions that move.

    The estimate is the largest share of moved decisions among all changes that are asked: 0 is none. Beside it stands,
    for each named position, how much the position that is read attends to it (the largest of all heads) and what
    exchanging the word does to the log-odds: attention is no effect, and a word can act without being attended to from
    there.

    Attributes:
        positions: Named positions at which the word must not matter; it is exchanged for that of another prompt.
        words: Words that must not matter; one of them is put into each prompt, at a place drawn at random.
        against: Whether a decision is that between answer and foil, the likeliest of all words (of a classifier the likeliest
            label), or (`"written"`) which of answer and foil stands first in what the model writes, or neither.
        cutoff: The log-odds above which the answer is taken, for decisions against the foil.
        tokens: How many tokens are written at most, where decisions are written.
    """

    word: ClassVar[str] = "irrelevant"
    family: ClassVar[Family] = "robustness"
    estimand: ClassVar[str] = "the largest share of decisions that move when words that must not matter are changed"
    contrast: ClassVar[str] = "each prompt against itself with an irrelevant word exchanged or put in"
    held_fixed: ClassVar[str] = "every other word of the prompt"
    population: ClassVar[str] = "prompts like those in the data, and words like those declared"
    identified: ClassVar[Identified] = "paired-counterfactual"
    scale: ClassVar[str] = "share of prompts"
    assumptions: ClassVar[tuple[str, ...]] = ("the declared words are irrelevant, as people decided",)
    limits: ClassVar[tuple[str, ...]] = ("it speaks of words like these, and of no others",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    positions: Texts = ()
    words: Texts = ()

    def answer(self, desk: Desk) -> Answer:
        """Return the share of decisions that move."""
        before = perturbed.plain_prompts(desk.data)
        changed = self._changed(desk, before)
        flips = {name: self.moves(desk, before, after) for name, after in changed.items()}
        shares = {name: desk.rate(each, before.clusters) for name, each in flips.items()}
        estimate = Estimate.largest(list(shares.values()))
        worst = max(shares, key=lambda name: shares[name].value)
        rows = [self._row(desk, name, before, changed[name], shares[name]) for name in changed]
        seen = self._attended(desk, before)
        table = pd.concat([pd.DataFrame(rows), seen], ignore_index=True) if len(seen) else pd.DataFrame(rows)
        says = (
            f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] of decisions move under the worst of "
            f"{len(changed)} changes that must not matter ({worst})"
        )
        return Answer(
            estimate, says, self._controls(desk, before, changed[worst], estimate.value), table,
            (_figure(seen),) if len(seen) else (), self._examples(desk, before, changed, flips),
            n_tests=len(changed), marks=unnamed(desk, before, self.against, self.tokens), units=tuple(flips[worst]), unit_clusters=before.clusters,
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run: as they are, changed at each place, at a place drawn at random, and redrawn."""
        prompts = perturbed.plain_prompts(desk.data)
        both = self.forwards_of_sides(desk, prompts)
        changes, attention = len(self.positions) + bool(self.words), 0
        if self._patterns(desk) and (names := _varying(prompts)):
            changes, attention = changes + len(set(names) - set(self.positions)), len(prompts)
        elsewhere = forwards_of(desk, prompts, self.against, self.tokens)
        return (1 + changes + 2 * desk.networks) * both + elsewhere + attention

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the prompts, the positions and the words."""
        yield from super().problems(data)
        if not isinstance(data["data"], (PromptSet, Contrast)):
            return
        prompts = perturbed.plain_prompts(data["data"])
        if not (self.positions or self.words):
            yield "it names nothing irrelevant: give positions = [...] or words = [...]"
        if (why := perturbed.unchangeable(prompts)) is not None:
            yield f"the prompts in {self._name_of('data')} {why}"
        for name in self.positions:
            if name not in prompts.positions:
                yield f"the prompts have no position {name!r}: {did_you_mean(name, sorted(prompts.positions) or ['positions='])}"
            elif not _varies(prompts, name):
                yield f"the same word stands at {name!r} in every prompt, so it cannot be exchanged"

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say why the model makes no decision about the prompts."""
        if (why := undecidable(desk, desk.data, self.against, tokens=self.tokens)) is not None:
            yield f"the prompts in {self._name_of('data')} {why}"
        for word in self.words:
            try:
                _token_of(desk.model, word)
            except DataError as error:
                yield str(error)

    def _changed(self, desk: Desk, before: PromptSet) -> dict[str, PromptSet]:
        changed = {
            f"exchange {name}": perturbed.swapped(before, name, seed=desk.seed, model=desk.model)
            for name in self.positions
        }
        if self.words:
            tokens = [_token_of(desk.model, word) for word in self.words]
            changed["put in a word"] = perturbed.inserted(before, tokens, seed=desk.seed, model=desk.model)
        return changed

    def _row(self, desk: Desk, name: str, before: PromptSet, after: PromptSet, flips: Estimate) -> dict[str, Any]:
        size = desk.mean(np.abs(self.shift(desk, before, after)), before.clusters)
        return {
            "what": name, "declared": "irrelevant", "flips": flips.value, "flips_low": flips.low,
            "flips_high": flips.high, "absolute_shift": size.value, "absolute_shift_low": size.low,
            "absolute_shift_high": size.high, "attention": float("nan"),
        }  # fmt: skip

    def _attended(self, desk: Desk, before: PromptSet) -> pd.DataFrame:
        """Return for each named position how much it is attended to, and what exchanging its word does."""
        names = _varying(before)
        mass = self._attention(desk, before, names)
        rows = []
        for name in names if mass else ():
            after = perturbed.swapped(before, name, seed=desk.seed, model=desk.model)
            flips = desk.rate(self.moves(desk, before, after), before.clusters)
            rows.append(self._row(desk, f"position {name}", before, after, flips) | {
                "declared": "irrelevant" if name in self.positions else "", "attention": mass[name],
            })  # fmt: skip
        return pd.DataFrame(rows)

    def _attention(self, desk: Desk, prompts: PromptSet, names: list[str]) -> dict[str, float]:
        """Return the mean attention from the position that is read to each position, of the head with the most."""
        given, sites = prompts if desk.rewrite is None else desk.rewrite(prompts), self._patterns(desk)
        kept = [name for name in names if name in given.positions]

        def one_batch(index: torch.Tensor) -> np.ndarray:
            batch = given.take(index).to(bridge.device_of(desk.model))
            read = forward(desk.model, batch, desk.edits if _plain_edits(desk) else (), read=sites).read
            rows = torch.arange(len(batch))
            queries = batch.read_columns.cpu()
            out = []
            for name in kept:
                keys = (batch.starts + batch.positions[name]).cpu()
                out.append(torch.stack([read[site].cpu()[rows, :, queries, keys].float() for site in sites], 1))
            return torch.stack(out).flatten(2).permute(0, 2, 1).flatten(0, 1).numpy()

        if not (sites and kept):
            return {}
        values, _ = in_batches(len(given), desk.batch_size, one_batch, progress="attention")
        heads = values.reshape(len(kept), -1, len(given)).mean(axis=2).max(axis=1)
        return dict(zip(kept, heads.tolist(), strict=True)) | {name: float("nan") for name in names if name not in kept}

    def _patterns(self, desk: Desk) -> list[Site]:
        """Return the attention of all layers; none where it cannot be read."""
        able = abilities(desk.model)
        sites = [Site("pattern", layer) for layer in range(able.shape.n_layers)]
        try:
            able.require(sites, writes=False)
        except MechcausalError:
            return []
        return sites

    def _controls(self, desk: Desk, before: PromptSet, after: PromptSet, value: float) -> tuple[Control, ...]:
        return (
            self.moved_anywhere(desk, before),
            self.beyond_redraws(desk, before, after, value),
            Control.inapplicable("trivial-input", "the changes are themselves changes of the input alone"),
        )

    def _examples(
        self, desk: Desk, before: PromptSet, changed: Mapping[str, PromptSet], flips: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, Any], ...]:
        rows = []
        for name, after in changed.items():
            order = np.argsort(-flips[name], kind="stable")[:_SHOWN].tolist()
            texts = [perturbed.written(side.take(order), desk.model) for side in (before, after)]
            rows += [
                {"change": name, "prompt": row, "before": texts[0][place], "after": texts[1][place], "moves": bool(flips[name][row])}
                for place, row in enumerate(order)
            ]  # fmt: skip
        return tuple(rows)


def _plain_edits(desk: Desk) -> bool:
    """Say whether the edits need nothing of another run, so that a forward can be read under them."""
    return not any(edit.do.needs_source for edit in desk.edits)


def _varying(prompts: PromptSet) -> list[str]:
    """Return the named positions at which not the same word stands in every prompt."""
    return [name for name in prompts.positions if _varies(prompts, name)]


def _varies(prompts: PromptSet, name: str) -> bool:
    places = prompts.positions[name].tolist()
    return len({prompts.real_tokens_of(row)[place] for row, place in enumerate(places)}) > 1


def _token_of(model: Any, word: str) -> int:  # noqa: ANN401
    """Return the token of a word within a sentence."""
    tokenizer = tokenizer_of(model)
    for text in (f" {word.strip()}", word):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] != getattr(tokenizer, "unk_token_id", None):
            return int(ids[0])
    raise DataError(f"the word {word!r} is not one token of this model", fix="name words that are")


def _figure(seen: pd.DataFrame) -> Points:
    points = tuple(
        Point(
            row["what"].removeprefix("position "), float(row["attention"]), float(row["absolute_shift"]),
            y_low=float(row["absolute_shift_low"]), y_high=float(row["absolute_shift_high"]),
            group="must not matter" if row["declared"] else "others",
        )
        for _, row in seen.iterrows()
    )  # fmt: skip
    return Points(
        points, "Attention is no effect", "largest mean attention of a head", "mean absolute shift of the log-odds"
    )
