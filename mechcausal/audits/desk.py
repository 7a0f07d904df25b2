"""The desk that a question is answered at: the model, the data, and what questions share so that nothing is run twice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy import stats
from tqdm.auto import tqdm

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Control
from mechcausal.audits.journal import Counter, Rows, digest
from mechcausal.audits.outcome import outcome_of
from mechcausal.audits.sources import beside, digest_of
from mechcausal.data.batching import by_length
from mechcausal.data.contrast import Contrast
from mechcausal.data.forced import forced
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric, MetricFunction
from mechcausal.metrics import metric as metric_of
from mechcausal.models.engine import evaluate
from mechcausal.models.plan import Plan
from mechcausal.models.redrawn import redrawing

T = TypeVar("T")
_NUMBER = "the number of this memory"  # no key, which are tuples
_numbers = count()
MetricSpec = str | MetricFunction | Metric
NO_NETWORKS = "the plan asks for no networks with redrawn weights"
NETWORKS = 16
"""How many networks with redrawn weights a finding is compared with, unless the plan says otherwise."""


@dataclass
class Desk:
    """What a question works with.

    Attributes:
        model: The model, from `mc.load`.
        held: The data of the question, by the field that holds them.
        seed: The seed of everything random.
        level: The level of the intervals.
        networks: How many networks with redrawn weights findings are compared with.
        batch_size: How many prompts at a time.
        reads: What is read off the model: a label of a classifier, a metric; see `audits.outcome`.
        folder: The folder of the plan, which files are named from.
        edits: What is done to the model in every run: those of a mitigation.
        rewrite: What is done to every prompt before it is run: that of a mitigation.
        runner: What runs prompts instead of the engine, for a mitigation that no edit can say; it has a `key`.
        rows: Work that survives: `desk.rows.row(name, compute)`.
        memory: What was computed, shared by all questions of a run.
        counter: How many forwards of one prompt the question takes, under `forwards`; what is remembered counts as well.
        quiet: Whether progress is not shown.
    """

    model: Any
    held: Mapping[str, Any]
    seed: int = 0
    level: float = 0.95
    networks: int = NETWORKS
    batch_size: int = 64
    reads: str = ""
    folder: Path = Path()
    edits: tuple[Edit, ...] = ()
    rewrite: Callable[[PromptSet], PromptSet] | None = None
    runner: Callable[[Desk, PromptSet, Metric], np.ndarray] | None = None
    rows: Rows = field(default_factory=Rows)
    memory: dict[Any, Any] = field(default_factory=dict)
    counter: Counter = field(default_factory=Counter)
    quiet: bool = False

    def __post_init__(self) -> None:
        self.rows.counter = self.counter

    @property
    def outcome(self) -> Metric:
        """What is read off the model."""
        return self.once(("outcome", id(self.model), self.reads), lambda: outcome_of(self.model, self.reads))

    @property
    def data(self) -> Any:  # noqa: ANN401 - pairs, prompts, texts
        """The data of the question."""
        return self.held["data"]

    @property
    def size(self) -> int:
        """How many prompts the data hold, both sides of pairs counted."""
        try:
            return len(self.data) * (2 if isinstance(self.data, Contrast) else 1)
        except TypeError:
            return 1

    def path(self, name: str) -> str:
        """Return where a file or folder lies that the question names; what is loaded by its name stays as it is."""
        return beside(self.folder, name)

    def outcomes(self, prompts: PromptSet, metric: MetricSpec | None = None) -> np.ndarray:
        """Return the outcome of every prompt, in the model under the edits of this desk; run once, however often asked.

        Args:
            prompts: The prompts.
            metric: Another metric than the outcome of the plan.
        """
        chosen = self.outcome if metric is None else metric_of(metric)
        key = "outcomes", digest_of(prompts), chosen.name, id(chosen.function), self.treatment

        def run() -> np.ndarray:
            given = prompts if self.rewrite is None else self.rewrite(prompts)
            chosen.check(given)
            order = by_length(given)
            if self.runner is not None:
                return self.runner(self, given, chosen)
            plan = Plan(given.take(order), [self.edits], chosen)
            # One cell is one forward in the loop; replaying it would take the unedited run as well.
            values = evaluate(self.model, plan, batch_size=self.batch_size, exact="naive")
            return values.values[0][order.argsort().numpy()]

        return self.once(key, run)

    def runs(self, *sides: PromptSet, metric: MetricSpec | None = None) -> int:
        """Return how many prompts `outcomes` runs: answers of several tokens are put behind a prompt, each for itself."""
        chosen = self.outcome if metric is None else metric_of(metric)
        return sum(len(forced(side).prompts) if chosen.forces(side) else len(side) for side in sides)

    def both(self, pairs: Contrast, metric: MetricSpec | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the outcome of every clean prompt, and of every corrupt one."""
        return self.outcomes(pairs.clean, metric), self.outcomes(pairs.corrupt, metric)

    def once(self, key: tuple[Any, ...], compute: Callable[[], T]) -> T:
        """Return what `compute` gives, computed once for all questions of a run."""
        remembered = key in self.memory
        if not remembered:
            self.memory[key] = self.counter.counted(compute)
        value, forwards = self.memory[key]
        number = self.memory.setdefault(_NUMBER, next(_numbers))
        self.counter.count((number, key), forwards, remembered=remembered)
        return value

    def mean(self, values: Any, clusters: Sequence[Any] | np.ndarray = ()) -> Estimate:  # noqa: ANN401 - an array
        """Return the mean with its interval at the level of the plan."""
        return Estimate.mean(values, clusters, self.level)

    def rate(self, values: Any, clusters: Sequence[Any] | np.ndarray = ()) -> Estimate:  # noqa: ANN401 - an array
        """Return the mean of zeros and ones with its interval, also where all of them are the same."""
        return Estimate.rate(values, clusters, self.level)

    def bar(self, items: Iterable[T], what: str, unit: str = "row") -> Iterable[T]:
        """Show how far a loop is, where it is long and somebody looks."""
        return tqdm(items, desc=what, unit=unit, disable=True if self.quiet else None, leave=False, delay=2)

    @contextmanager
    def redrawn(self) -> Generator[Callable[[int], Desk]]:
        """Give a function that returns a desk with the model's weights redrawn; afterwards they are what they were.

        The desk of a number is valid until the next is asked for.
        """
        with redrawing(self.model) as draw:

            def network(number: int) -> Desk:
                draw(self.seed + number)
                return replace(self, memory={}, rows=Rows(), quiet=True)

            yield network

    def against_redraws(
        self,
        key: tuple[Any, ...],
        statistic: Callable[[Desk], float],
        observed: float,
        *,
        sign: int = 1,
    ) -> Control:
        """Return the control "no larger than in networks that have learned nothing".

        The p-value is that of another draw from the redrawn networks: own = mean of redrawn + sd * sqrt(1 + 1/n) * t.

        Args:
            key: What the statistic is, so that questions share it.
            statistic: Computes the number at a desk.
            observed: The number of the model itself.
            sign: 1 where a large number is a finding, -1 where a small one is.
        """
        if self.networks < 2:
            return Control.inapplicable("no-learning", NO_NETWORKS)
        return self.beyond(self.in_redraws(key, lambda other: float(statistic(other))), observed, sign=sign)

    def in_redraws(self, key: tuple[Any, ...], statistic: Callable[[Desk], Any]) -> np.ndarray:
        """Return a number, or a list of numbers, in each network with redrawn weights, [network ...]; each is kept as a row.

        Args:
            key: What the statistic is, so that questions share it.
            statistic: Computes the number, or the list, at a desk.
        """

        def draw() -> list[Any]:
            with self.redrawn() as network:
                return [
                    self.rows.row(f"redrawn {digest(key)} {number}", lambda number=number: statistic(network(number)))
                    for number in self.bar(range(self.networks), "networks with redrawn weights", "network")
                ]

        return np.array(self.once(("redrawn", key, self.treatment), draw), dtype=float)

    def beyond(self, values: np.ndarray, observed: float, *, sign: int = 1) -> Control:
        """Return the control "no larger than these numbers of networks that have learned nothing"; see `against_redraws`."""
        n, mean, spread = len(values), float(values.mean()), float(values.std(ddof=1))
        if spread <= 1e-12 * max(1.0, abs(mean)):
            p = 0.0 if sign * (observed - mean) > 1e-9 * max(1.0, abs(mean)) else 1.0
        else:
            p = float(stats.t.sf(sign * (observed - mean) / (spread * np.sqrt(1 + 1 / n)), n - 1))
        reach = float(stats.t.ppf(0.5 + self.level / 2, n - 1)) * spread / np.sqrt(n)
        estimate = Estimate(mean, mean - reach, mean + reach, n, n, self.level, "t", spread / np.sqrt(n), n - 1)
        says = f"in {n} networks with redrawn weights the same number is {mean:.3g} on average (sd {spread:.3g})"
        return Control("no-learning", says, estimate, p, guards=True, holds=p <= 0.05)

    @property
    def treatment(self) -> str:
        """What is done to the model and to the prompts, as a key."""
        others = ["" if each is None else getattr(each, "key", str(id(each))) for each in (self.rewrite, self.runner)]
        return digest([edit.to_json() for edit in self.edits], others)
