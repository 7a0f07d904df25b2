"""Distributed alignment search: which directions of a place carry a variable?

A rotation is trained so that exchanging k of its coordinates between runs gives the answers that exchanging the variable
gives in the causal model (Geiger et al. 2023); in the boundless form the number of coordinates is learned too (Wu et al.
2023). Only rotations are searched: with a free nonlinear map any network, even an untrained one, can be aligned to
anything. Even so a search can fit noise, so what counts is measured on prompts it never saw, beside controls.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mechcausal.address import Place
from mechcausal.arguments import Count, Model, OpenShare, Positive, Seed
from mechcausal.causal.alignment.aligned import (
    LABELS,
    PLACEBO,
    RANDOM,
    UNSEEN,
    UNTRAINED,
    WHOLE,
    Aligned,
    angles_between,
)
from mechcausal.causal.alignment.exchange import Cell, Scores, placebos, score
from mechcausal.causal.alignment.interchanged import ALIGNED, METRIC, Interchange, Line, assembled, row_of
from mechcausal.causal.alignment.pairs import (
    Pairs,
    base_rows,
    check_exchange,
    draw_pairs,
    refuse_unchanged,
)
from mechcausal.causal.alignment.rotation import Cooling, Rotation, rows_of
from mechcausal.causal.alignment.search import Harvest, Moved, Split, minimize, practice, split_for_search, untrained
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.fields import hypothesis_about, read_question, write_question
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError, SiteError
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance

Control = Literal["labels", "place", "model"]
CONTROLS: tuple[Control, ...] = get_args(Control)


@dataclass(frozen=True, kw_only=True)
class Aligning(Method[PromptSet, Aligned]):
    """Search a place for the directions that carry a variable, and judge them on prompts held out.

    Estimand: the IIA of `interchange` over pairs of held-out prompts, for the subspace found: 1 where exchanging it gives
    every answer that the variable changes, 0 where it gives none. An IIA of 1 says that the subspace suffices to carry
    the variable, not that it is the only one: `Aligned.angle` says how far it is from the subspace that a hypothesis
    names.

    Attributes:
        hypothesis: The causal model: a task (or its name), or a hypothesis, whose places are then not used as a placebo.
        variable: The variable that is looked for.
        at: The place: a stream, a sublayer's output or a head, at some positions, such as `"L2.resid_post@end"`.
        k: How many directions.
        boundless: Learn how many, half of those in which the place varies at first, and then search for so many; `k`
            is not used then. It takes twice the steps.
        steps: How many steps of Adam.
        rate: Its rate at first, in which it falls to zero.
        batch_size: How many pairs at each step, and prompts at a time otherwise.
        holdout: The share of the units that is judged on; no unit and no text is on both sides.
        unseen: Values of the variable that are not searched on either; a row says how sources with these values do.
        n: How many pairs are judged on.
        controls: Whether to search also with the variable's values permuted over prompts (`"labels"`), at another place
            of the same kind (`"place"`) and in a copy of the model with random weights (`"model"`), or which of these;
            each costs as much as the search itself.
        seed: The seed of split, draws and start.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, 256, environment="broad")
        >>> aligned = mc.causal.das(
        ...     model, prompts, "hiring", "merit", "L1.z.H0@decision", steps=60, rate=0.1, controls=False
        ... )
        >>> str(aligned.part)
        'L1.z.H0@decision[1d]'
    """

    word: ClassVar[str] = "das"
    hypothesis: Hypothesis | SCM | Task = field(
        kw_only=False, metadata={"read": read_question, "write": write_question}
    )
    variable: str = field(kw_only=False)
    at: Place = field(kw_only=False, metadata={"read": Place.parse})
    k: Count = 1
    boundless: bool = False
    steps: Count = 300
    rate: Positive = 0.1
    batch_size: Count = 128
    holdout: OpenShare = 0.5
    unseen: Sequence[int] = ()
    n: Count = 512
    controls: bool | Control | Sequence[Control] = True
    seed: Seed = 0

    def run(self, model: Model, data: PromptSet) -> Aligned:
        """Search, search again where there is nothing to find, and judge all of it on held-out prompts."""
        started = time.perf_counter()
        job, question, table = self._job(model, data)
        with torch.inference_mode(False):  # what is made in inference mode cannot be searched
            trials = self._trials(model, question, table)
            for trial in trials:
                job.search(trial)
        lines = job.judge(trials, _named(self.hypothesis, self.variable, self.at))
        part = trials[0].subspace
        result = assembled(
            Interchange, lines, data,
            chance=1 / len(job.words),
            provenance=Provenance(
                method=self.word,
                arguments={
                    "metric": METRIC, "scm": question.scm.name, "variable": self.variable, "at": str(self.at),
                    "k": job.k, "boundless": self.boundless, "steps": self.steps, "rate": self.rate,
                    "holdout": self.holdout, "unseen": [int(value) for value in self.unseen],
                    "controls": list(self._controls), "found": part.to_json(),
                },
                seed=self.seed,
                **facts(
                    model, data, started=started, forwards=job.forwards, batch_size=self.batch_size,
                    n_train=len(job.rows.train), n_test=len(job.rows.test),
                ),
            ),
        )  # fmt: skip
        return Aligned(self.variable, part, result, trials[0].losses)

    def cost(self, model: Model, data: PromptSet) -> Cost:
        """Return how many runs it takes, each backward pass counted as two more; nothing is run."""
        job, _, _ = self._job(model, data)
        steps = self.steps * (2 if self.boundless else 1)
        controls, unseen = {*self._controls}, bool(self.unseen)
        searching = (1 + len(controls)) * (3 * steps * self.batch_size + len(job.rows.train))
        here, other = len(controls - {"model"}), 3 * ("model" in controls)
        sources = 1 + ("labels" in controls)
        # Bases, sources and exchanged runs, first of the prompts searched on, then of those held out.
        judging = self.n * ((2 + sources + here + other) + (4 + sources + here + other + 2 * unseen))
        return Cost(3 + len(controls) + unseen, self.n, searching + judging, searching + judging)

    @property
    def _controls(self) -> tuple[Control, ...]:
        if isinstance(self.controls, bool):
            return CONTROLS if self.controls else ()
        listed = [self.controls] if isinstance(self.controls, str) else self.controls
        return tuple(name for name in CONTROLS if name in listed)

    def _job(self, model: Model, prompts: PromptSet) -> tuple[_Job, Hypothesis, Table]:
        """Refuse what cannot be searched; return what all searches share, the question, and the variables."""
        able, k = abilities(model), None if self.boundless else self.k
        _check_kind(self.at)
        question = hypothesis_about(self.hypothesis, self.variable, self.at)
        table = check_exchange(model, question, prompts, [self.variable])
        _check_width(self.at, able, k)
        words = answer_tokens(model, question)
        rows = split_for_search(prompts, self.holdout, self.seed)
        rows = _without(rows, table[self.variable], self.variable, self.unseen)
        job = _Job(
            prompts, words, rows, self.variable, tuple(self.unseen), k, self.steps, self.rate, self.batch_size, self.n, self.seed
        )  # fmt: skip
        return job, question, table

    def _trials(self, model: Model, question: Hypothesis, table: Table) -> list[_Trial]:
        """Return the search itself, and the same search where there should be nothing to find."""
        draw = np.random.default_rng([self.seed, 4])
        trials = [_Trial(ALIGNED, model, self.at, question, table, self.at)]
        if "labels" in self._controls:
            permuted = {**table, self.variable: draw.permutation(table[self.variable])}
            trials.append(_Trial(LABELS, model, self.at, question, permuted, self.at))
        if "place" in self._controls:
            named = self.hypothesis if isinstance(self.hypothesis, Hypothesis) else question
            for (other,) in placebos(abilities(model), [self.at], named, 1, draw):
                elsewhere = hypothesis_about(self.hypothesis, self.variable, other)
                trials.append(_Trial(PLACEBO, model, other, elsewhere, table, other))
        if "model" in self._controls:
            trials.append(_Trial(UNTRAINED, untrained(model, self.seed), self.at, question, table, self.at))
        return trials


@dataclass(eq=False)
class _Trial:
    """One search: what it is for, in what and where, and what came of it."""

    role: str
    model: Any
    part: Place
    question: Hypothesis
    table: Table
    subspace: Place
    losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """One thing to judge: the part in the network of a trial, with the pairs of that trial."""

    role: str
    trial: _Trial
    part: Place


@dataclass(eq=False)
class _Job:
    """What all searches of one request share."""

    prompts: PromptSet
    words: Tensor
    rows: Split
    variable: str
    unseen: tuple[int, ...]
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
        values = Harvest(trial.model, self.prompts, self.rows.train, [trial.part], batch_size=self.batch_size)
        words = self.words.to(values.device)

        def descend(rotation: Rotation) -> tuple[float, ...]:
            cooling = Cooling(self.steps, len(words))

            def objective(step: int) -> Tensor:
                batch = pairs.take(np.arange(step * self.batch_size, (step + 1) * self.batch_size))
                columns = rotation.columns(step / max(self.steps - 1, 1))
                logits = values.logits(batch.base, batch.sources[self.variable], [Moved(trial.part, columns)])
                expected = words[torch.as_tensor(batch.expected, device=words.device)]
                temperature = cooling.temperature(logits, expected, step)
                return F.cross_entropy(logits.float() / temperature, expected) + rotation.penalty / temperature

            self.forwards += self.steps
            name = f"das, {trial.role}"
            return minimize(trial.model, rotation.parameters(self.rate), objective, self.steps, progress=name)

        rotation = Rotation(self._span(values, trial), self.k, self.seed)
        trial.losses = descend(rotation)
        if self.k is None:  # it is clear now how many; which ones is found better without the others in the way
            rotation = rotation.settled()
            trial.losses += descend(rotation)
        trial.subspace = replace(trial.part, basis=rotation.basis())
        self.forwards += values.forwards

    def _span(self, values: Harvest, trial: _Trial) -> Tensor:
        """Return the directions that are searched: those in which the place varies, for a control enough of them."""
        span = values.span(trial.part)
        wanted = self.k or 1
        if span.shape[1] >= wanted:
            return span
        if trial.role == ALIGNED:
            raise DataError(
                f"{trial.part} varies over these prompts in fewer directions than are looked for",
                got=f"k = {wanted}",
                expected=f"at most {span.shape[1]}",
                fix="name a place that depends on the prompt, or look for fewer directions",
            )
        return torch.eye(values.width(trial.part), device=values.device, dtype=span.dtype)

    def judge(self, trials: Sequence[_Trial], named: Place | None) -> list[Line]:
        """Measure what was found on held-out prompts and on those searched on, beside what needs no search."""
        draw = np.random.default_rng([self.seed, 5])
        first = trials[0]
        k, width = len(first.subspace.basis), len(first.subspace.basis[0])
        random = replace(first.part, basis=rows_of(np.linalg.qr(draw.normal(size=(width, k)))[0].T))
        searched = [_Entry(trial.role, trial, trial.subspace) for trial in trials]
        others = [_Entry(WHOLE, first, first.part), _Entry(RANDOM, first, random)]
        others += [_Entry(UNSEEN, first, first.subspace)] if self.unseen else []
        before = self._measured(searched, self.rows.train, draw)
        after = self._measured([*searched, *others], self.rows.test, draw)
        lines = []
        for number, (entry, (pairs, scores, cell)) in enumerate(zip([*searched, *others], after, strict=True)):
            columns = {"train": np.nan, "train_iia": np.nan, "angle_least": np.nan, "angle": np.nan}
            if number < len(searched):
                practiced, train_scores, train_cell = before[number]
                hits = train_scores.hits[train_cell]
                columns |= {"train": float(hits[practiced.changed].mean()), "train_iia": float(hits.mean())}
            if named is not None and entry.part.basis and entry.trial is first:
                angles = angles_between(np.array(entry.part.basis), np.array(named.basis))
                columns |= {"angle_least": float(angles[0]), "angle": float(angles[-1])}
            lines.append(Line.of(row_of([entry.part], [self.variable], entry.role) | columns, pairs, scores, [cell]))
        return lines

    def _measured(
        self, entries: Sequence[_Entry], rows: np.ndarray, draw: np.random.Generator
    ) -> list[tuple[Pairs, Scores, int]]:
        """Score entries on pairs of these rows; return for each its pairs, and the scores with its place in them."""
        base = base_rows(self.n, rows, draw)
        drawn: dict[str, Pairs] = {}
        for entry in entries:
            kind = _kind(entry)
            if kind not in drawn:
                table = entry.trial.table
                pool = rows if kind != UNSEEN else rows[np.isin(table[self.variable][rows], self.unseen)]
                drawn[kind] = draw_pairs(entry.trial.question, table, [self.variable], base, draw, pool=pool)
                refuse_unchanged(drawn[kind], [self.variable])
        out: dict[int, tuple[Pairs, Scores, int]] = {}
        for network in dict.fromkeys(id(entry.trial.model) for entry in entries):
            numbers = [number for number, entry in enumerate(entries) if id(entry.trial.model) == network]
            cells = [Cell(drawn[_kind(entries[i])], {self.variable: [entries[i].part]}) for i in numbers]
            owner = entries[numbers[0]].trial.model
            scores = score(owner, self.prompts, cells, self.words, batch_size=self.batch_size, progress="das, judged")
            self.forwards += scores.forwards
            out |= {number: (cells[cell].pairs, scores, cell) for cell, number in enumerate(numbers)}
        return [out[number] for number in range(len(entries))]


def _kind(entry: _Entry) -> str:
    """Say which pairs an entry is judged on: permuted labels and unseen values have their own."""
    return entry.role if entry.role in (LABELS, UNSEEN) else ALIGNED


def _without(rows: Split, column: np.ndarray, variable: str, unseen: Sequence[int]) -> Split:
    """Take the prompts with unseen values out of those that are searched on."""
    if not len(unseen):
        return rows
    for value in unseen:
        if int((column[rows.test] == value).sum()) < 2:
            raise DataError(
                f"fewer than 2 of {len(rows.test)} held-out prompts have {variable} = {value}",
                fix="leave the value out, or draw more prompts",
            )
    train = rows.train[~np.isin(column[rows.train], unseen)]
    if len(np.unique(column[train])) < 2:
        raise DataError(
            f"without the unseen values {variable!r} does not vary in the prompts that are searched on",
            got=f"unseen {', '.join(map(str, unseen))}",
            expected="at least 2 values that are left",
        )
    return Split(train, rows.test)


def _named(question: Hypothesis | SCM | Task, variable: str, part: Place) -> Place | None:
    """Return the subspace of this place where a hypothesis has the variable."""
    for named in question.alignment.get(variable, ()) if isinstance(question, Hypothesis) else ():
        if named.basis and (named.site, named.at) == (part.site, part.at):
            return named
    return None


def _check_kind(part: Place) -> None:
    site = part.site
    if part.basis:
        raise SiteError(
            f"{part} is a subspace already", fix="name the whole place, and the search finds directions in it"
        )
    if site.unit is not None or site.component == "pattern":
        raise SiteError(f"{site} has no directions to search", fix="name a stream, a sublayer's output or a head")
    if site.by_head and site.head is None:
        raise SiteError(f"{site} is all heads at once", fix=f"name one head, as {site}.H0")


def _check_width(part: Place, able: Abilities, k: int | None) -> None:
    width = able.shape_at(part.site)[-1]
    if k is not None and not 1 <= k <= width:
        raise DataError(f"{part} has {width} directions", got=f"k = {k}", expected=f"1 to {width}")


das = function(Aligning, data="prompts", about="The prompts, with the value of every variable.")
