"""Distributed alignment search: which directions of a place carry a variable?

A rotation is trained so that exchanging k of its coordinates between runs gives the answers that exchanging the variable
gives in the causal model (Geiger et al. 2023); in the boundless form the number of coordinates is learned too (Wu et al.
2023). Only rotations are searched: with a free nonlinear map any network, even an untrained one, can be aligned to
anything. Even so a search can fit noise, so what counts is measured on prompts it never saw, beside controls.
"""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.linalg import subspace_angles
from torch import Tensor

from mechcausal.address import HEAD_COMPONENTS
from mechcausal.causal.exchange import Cell, Scores, placebos, score
from mechcausal.causal.hypothesis import Hypothesis, Part
from mechcausal.causal.interchange import (
    ALIGNED,
    LABELS,
    METRIC,
    PLACEBO,
    RANDOM,
    WHOLE,
    Interchange,
    Line,
    asked,
    assembled,
    row_of,
)
from mechcausal.causal.pairs import Pairs, answer_tokens, base_rows, check_exchange, draw_pairs, refuse_unchanged
from mechcausal.causal.search import Harvest, Split, minimize, practice, split
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError, SiteError
from mechcausal.interventions.specs import vector
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance

_GAP = 0.1  # more than this lost between the prompts searched on and those held out is over-fitting
_HOTTEST, _COLDEST = 0.25, 0.1  # how soft the boundary is: at first a quarter of the width, at last a tenth of a place
_TINY = 1e-12


@dataclass(frozen=True)
class Aligned:
    """What a search found, judged on prompts that it never saw.

    Attributes:
        variable: The variable.
        part: The place with the subspace that was found; it can stand in the alignment of a `Hypothesis`.
        result: A row for what was found and one for each control, in the columns of `interchange`; `train` and
            `train_iia` are `value` and `iia` on the prompts searched on.
        losses: The loss at every step.
    """

    variable: str
    part: Part
    result: Interchange
    losses: tuple[float, ...]

    @property
    def basis(self) -> np.ndarray:
        """The directions, orthonormal rows, [k feature]."""
        return np.array(self.part.basis)

    @property
    def changed(self) -> float:
        """IIA over held-out pairs whose answer changes: the honest number."""
        return self._found("value")

    @property
    def test_iia(self) -> float:
        """IIA over all held-out pairs."""
        return self._found("iia")

    @property
    def train_changed(self) -> float:
        """IIA over the pairs searched on whose answer changes."""
        return self._found("train")

    @property
    def train_iia(self) -> float:
        """IIA over all pairs searched on."""
        return self._found("train_iia")

    @property
    def controls(self) -> pd.DataFrame:
        """What the same search finds where there is nothing to find, and what no search gives."""
        frame = self.result.frame
        return frame.loc[frame["role"] != ALIGNED, ["role", "label", "value", "value_low", "value_high", "train"]]

    def angles(self, to: Any) -> np.ndarray:  # noqa: ANN401 - rows, or a part with a basis
        """Return the principal angles to another subspace in degrees, smallest first."""
        rows = np.atleast_2d(np.array(to.basis if isinstance(to, Part) else to, dtype=float))
        if rows.shape[1] != self.basis.shape[1]:
            raise DataError(
                "the other subspace is one of another activation", got=f"{rows.shape[1]} features", expected=self.basis.shape[1]
            )  # fmt: skip
        return np.sort(np.degrees(subspace_angles(self.basis.T, rows.T)))

    @property
    def verdict(self) -> str:
        """Say in one sentence what to make of it."""
        row = self.result.frame.iloc[0]
        k, where = len(self.part.basis), f"{self.part.site}{self.part.at}"
        place = f"{k} direction{'s' if k > 1 else ''} of {where}"
        held = f"{row['value']:.2f} [{row['value_low']:.2f}, {row['value_high']:.2f}]"
        rivals = self.controls[self.controls["role"].isin([LABELS, PLACEBO])]
        told = ", ".join(f"{rival['role']} {rival['value']:.2f}" for _, rival in rivals.iterrows())
        against = f" ({told})" if told else ""
        fits = row["train"] - row["value"] > _GAP
        if row["value_low"] <= row["chance"] or row["iia_low"] <= row["blind"]:
            if fits and row["train"] > row["chance"] + _GAP:
                return (
                    f"over-fits: {place} give {row['train']:.2f} of the answers that {self.variable} changes on the "
                    f"prompts searched on, and {held} on held-out ones, which is not above chance{against}"
                )
            return f"not above chance: {place} give {held} of the answers that {self.variable} changes{against}"
        if len(rivals) and rivals["value"].max() >= row["value_low"]:
            best = rivals.loc[rivals["value"].idxmax()]
            return f"no better than a control: {place} give {held} of the answers that {self.variable} changes, {best['role']} {best['value']:.2f}"
        if fits:
            return (
                f"over-fits: {place} give {row['train']:.2f} of the answers that {self.variable} changes on the prompts "
                f"searched on, but {held} on held-out ones{against}"
            )
        verb = ("carry" if k > 1 else "carries") + ("" if row["value"] >= 1 - _GAP else " part of")
        return f"{place} {verb} {self.variable}: {held} of the answers it changes on held-out prompts{against}"

    def __repr__(self) -> str:
        """Say what was found, and the rows behind it."""
        return f"{self.verdict}\n{self.result.summary()}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.verdict)}</p>{self.result._repr_html_()}"

    def _found(self, column: str) -> float:
        return float(self.result.frame[column].iloc[0])


def das(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    about: Hypothesis | SCM | Task,
    variable: str,
    part: str | Part,
    prompts: PromptSet,
    *,
    k: int = 1,
    boundless: bool = False,
    steps: int = 300,
    rate: float = 3e-2,
    batch_size: int = 128,
    holdout: float = 0.5,
    n: int = 512,
    controls: bool = True,
    seed: int = 0,
) -> Aligned:
    """Search a place for the directions that carry a variable, and judge them on prompts held out.

    Estimand: the IIA of `interchange` over pairs of held-out prompts, for the subspace found. An IIA of 1 says that the
    subspace suffices to carry the variable, not that it is the only one: see `Aligned.angles` where the truth is known.

    Args:
        model: The model; its weights stay as they are.
        about: The causal model; of a hypothesis also which places are not used as a placebo.
        variable: The variable that is looked for.
        part: The place: a stream, a sublayer's output or a head, at some positions.
        prompts: The prompts, with their variables.
        k: How many directions.
        boundless: Learn how many, at most half the width at first; `k` is not used then.
        steps: How many steps of Adam.
        rate: Its rate at first, in which it falls to zero.
        batch_size: How many pairs at each step, and prompts at a time otherwise.
        holdout: The share of the units that is judged on; no unit and no text is on both sides.
        n: How many pairs are judged on.
        controls: Whether to search also with the variable's values permuted over prompts, and at another place of the
            same kind; three times the cost.
        seed: The seed of split, draws and start.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, 256, environment="broad")
        >>> found = das(model, mc.task("hiring"), "merit", "L1.z.H0@decision", prompts, steps=60, rate=0.1, controls=False)
        >>> found.part.basis[0] is not None
        True
    """
    started = time.perf_counter()
    part = Part.parse(part)
    _check_part(part)
    question = asked(about, variable, part)
    table = check_exchange(model, question, prompts, [variable])
    words, rows = answer_tokens(model, question), split(prompts, holdout, seed)
    size = None if boundless else k
    job = _Job(model, prompts, words, rows, variable, size, steps, rate, batch_size, n, seed)
    draw = np.random.default_rng([seed, 4])
    trials = [_Trial(ALIGNED, part, question, table, part)]
    if controls:
        permuted = {**table, variable: draw.permutation(table[variable])}
        trials.append(_Trial(LABELS, part, question, permuted, part))
        known = about if isinstance(about, Hypothesis) else question
        for (other,) in placebos(abilities(model), [part], known, 1, draw):
            trials.append(_Trial(PLACEBO, other, asked(about, variable, other), table, other))
    for trial in trials:
        job.search(trial)
    lines = job.judge(trials)
    found = trials[0].found
    result = assembled(
        Interchange, lines, prompts,
        chance=1 / len(job.words),
        provenance=Provenance(
            method="das",
            arguments={
                "metric": METRIC, "scm": question.scm.name, "variable": variable, "part": str(part),
                "k": size, "boundless": boundless, "steps": steps, "rate": rate,
                "holdout": holdout, "found": found.to_json(),
            },
            seed=seed,
            **facts(
                model, prompts, started=started, forwards=job.forwards, batch_size=batch_size,
                n_train=len(job.rows.train), n_test=len(job.rows.test),
            ),
        ),
    )  # fmt: skip
    return Aligned(variable, found, result, trials[0].losses)


@dataclass(eq=False)
class _Trial:
    """One search: what it is for, where, and what came of it."""

    role: str
    part: Part
    question: Hypothesis
    table: Table
    found: Part
    losses: tuple[float, ...] = ()


@dataclass(eq=False)
class _Job:
    """What all searches of one request share."""

    model: Any
    prompts: PromptSet
    words: Tensor
    rows: Split
    variable: str
    k: int | None
    steps: int
    rate: float
    batch_size: int
    n: int
    seed: int
    forwards: int = 0

    def search(self, trial: _Trial) -> None:
        """Find the directions."""
        count = self.steps * self.batch_size
        pairs = practice(trial.question, trial.table, self.variable, self.rows.train, count, self.seed)
        refuse_unchanged(pairs, [self.variable])
        values = Harvest(self.model, self.prompts, self.rows.train, [trial.part], batch_size=self.batch_size)
        width = values.width(trial.part)
        if self.k is not None and not 1 <= self.k <= width:
            raise DataError(f"{trial.part} has {width} directions", got=self.k, expected=f"1 to {width}")
        rotation = _Rotation(width, self.k, values.device, self.seed)
        words = self.words.to(values.device)

        def objective(step: int) -> Tensor:
            batch = pairs.take(np.arange(step * self.batch_size, (step + 1) * self.batch_size))
            columns = rotation.columns(step / max(self.steps - 1, 1))
            logits = values.logits(batch.base, batch.sources[self.variable], [(trial.part, columns)])
            expected = torch.as_tensor(batch.expected, device=words.device)
            return F.cross_entropy(logits.float(), words[expected]) + rotation.penalty

        parameters = [(one, self.rate) for one in rotation.parameters]
        trial.losses = minimize(self.model, parameters, objective, self.steps, progress=f"das, {trial.role}")
        trial.found = replace(trial.part, basis=rotation.basis())
        self.forwards += values.forwards + self.steps

    def judge(self, trials: Sequence[_Trial]) -> list[Line]:
        """Measure what was found on held-out prompts and on those searched on, beside what needs no search."""
        draw = np.random.default_rng([self.seed, 5])
        first = trials[0]
        k, width = len(first.found.basis), len(first.found.basis[0])
        random = np.linalg.qr(draw.normal(size=(width, k)))[0].T
        found = [(trial.role, trial.found) for trial in trials]
        unsought = [(WHOLE, first.part), (RANDOM, replace(first.part, basis=tuple(vector(row) for row in random)))]
        before, at_train = self._scores(trials, found, self.rows.train, draw)
        after, at_test = self._scores(trials, [*found, *unsought], self.rows.test, draw)
        lines = []
        for number, (role, part) in enumerate([*found, *unsought]):
            told = {"train": np.nan, "train_iia": np.nan}
            if number < len(found):
                hits = before.hits[number]
                told = {"train": float(hits[at_train[number].pairs.changed].mean()), "train_iia": float(hits.mean())}
            where = row_of([part], [self.variable], role) | told
            lines.append(Line.of(where, at_test[number].pairs, after, [number]))
        return lines

    def _scores(
        self, trials: Sequence[_Trial], places: Sequence[tuple[str, Part]], rows: np.ndarray, draw: np.random.Generator
    ) -> tuple[Scores, list[Cell]]:
        """Score places on pairs of these rows: the permuted variable on its own pairs, all else on the same."""
        base = base_rows(self.n, rows, draw)
        drawn: dict[bool, Pairs] = {}
        for trial in trials:
            if (trial.role == LABELS) not in drawn:
                pairs = draw_pairs(trial.question, trial.table, [self.variable], base, draw, pool=rows)
                refuse_unchanged(pairs, [self.variable])
                drawn[trial.role == LABELS] = pairs
        cells = [Cell(drawn[role == LABELS], {self.variable: [part]}) for role, part in places]
        found = score(self.model, self.prompts, cells, self.words, batch_size=self.batch_size)
        self.forwards += found.forwards
        return found, cells


class _Rotation:
    """An orthonormal basis under descent; in the boundless form of the whole space, with a soft boundary in it."""

    def __init__(self, width: int, k: int | None, device: torch.device, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(width, width if k is None else k, generator=generator)
        self.raw = start.to(device).requires_grad_(True)
        self.boundary = torch.tensor(0.5, device=device, requires_grad=True) if k is None else None

    @property
    def parameters(self) -> list[Tensor]:
        """What is searched for."""
        return [self.raw] if self.boundary is None else [self.raw, self.boundary]

    @property
    def penalty(self) -> Tensor | float:
        """The share of the space that lies within the boundary."""
        return 0.0 if self.boundary is None else self.boundary.clamp(min=0.0)

    def columns(self, progress: float) -> Tensor:
        """Return the columns inside which values are moved; soft ones are shorter than 1."""
        basis = torch.linalg.qr(self.raw)[0]
        if self.boundary is None:
            return basis
        width = len(basis)
        hottest = max(_HOTTEST * width, _COLDEST)
        temperature = hottest * (_COLDEST / hottest) ** progress
        place = torch.arange(width, device=basis.device) + 0.5
        inside = torch.sigmoid((self.boundary * width - place) / temperature)
        # A change is made by `columns @ columns.T`, so the root makes each coordinate move by its share.
        return basis * inside.clamp(min=_TINY).sqrt()

    def basis(self) -> tuple[tuple[float, ...], ...]:
        """Return the directions that were found, as rows."""
        found = torch.linalg.qr(self.raw.detach())[0]
        if self.boundary is not None:
            found = found[:, : max(1, round(float(self.boundary.detach()) * len(found)))]
        return tuple(vector(row) for row in found.T)


def _check_part(part: Part) -> None:
    site = part.site
    if part.basis:
        raise SiteError(
            f"{part} is a subspace already", fix="name the whole place, and the search finds directions in it"
        )
    if site.neuron is not None or site.component == "pattern":
        raise SiteError(f"{site} has no directions to search", fix="name a stream, a sublayer's output or a head")
    if site.component in HEAD_COMPONENTS and site.head is None:
        raise SiteError(f"{site} is all heads at once", fix=f"name one head, as {site}.H0")
