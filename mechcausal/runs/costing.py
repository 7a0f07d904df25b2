"""What an experiment would take, before anything of it is run: rows, forwards, seconds and memory."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError
from mechcausal.runs.config import ExperimentError
from mechcausal.runs.engines import Local
from mechcausal.runs.plan import Group, Plan
from mechcausal.runs.planning import specified

if TYPE_CHECKING:
    from mechcausal.runs.experiment import Experiment

_FEW = 8  # prompts that are run to see how fast this machine is


@dataclass(frozen=True)
class ExperimentCost:
    """What an experiment would take.

    Attributes:
        steps: For each step its rows, forwards and seconds; None where they depend on an earlier step, or are not known.
        memory: How many bytes the largest model and a batch of its activations take.
    """

    steps: dict[str, dict[str, float | None]]
    memory: int

    def total(self, what: str) -> float:
        """Return the sum of what is known: of `rows`, `forwards` or `seconds`."""
        return sum(value for step in self.steps.values() if (value := step[what]) is not None)

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON data."""
        return {
            "steps": self.steps,
            "memory": self.memory,
            **{what: self.total(what) for what in ("rows", "forwards", "seconds")},
        }

    def __str__(self) -> str:
        """Print a line for each step, and the sum."""
        rows = [*self.steps.items(), ("all", {what: self.total(what) for what in ("rows", "forwards", "seconds")})]
        width = max(len(name) for name, _ in rows)
        lines = [
            f"{name:<{width}} {_count(step['rows']):>12} rows {_count(step['forwards']):>12} forwards {_count(step['seconds']):>8} s"
            for name, step in rows
        ]
        waiting = [name for name, step in self.steps.items() if step["rows"] is None]
        lines += [f"not counted: {', '.join(waiting)}, which wait for earlier steps"] if waiting else []
        return "\n".join([*lines, f"memory: about {self.memory / 2**30:.1f} GiB for each worker"])


def cost(experiment: Experiment) -> ExperimentCost:
    """Return what an experiment would take, or raise with everything that is wrong with it."""
    config = experiment.config
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = {step.id: step.run for step in config.steps}
        Plan(config.name, config.question, steps, waiting=tuple(steps), folder=str(experiment.folder)).save(folder)
        local = Local(folder, config, experiment.folder)
        try:
            return _cost(local, experiment)
        finally:
            local.stop()


def _cost(local: Local, experiment: Experiment) -> ExperimentCost:
    bench, config = local.worker.bench, experiment.config
    costs: dict[str, dict[str, float | None]] = {}
    problems: list[str] = []
    paces: dict[str, float] = {}
    memory = 0
    for step in config.steps:
        if step.earlier:
            problems += local.problems(step.id)
            costs[step.id] = dict.fromkeys(("rows", "forwards", "seconds"))
            continue
        groups, wrong = local.plan(step.id)
        problems += wrong
        forwards, seconds = 0.0, 0.0
        for group in groups:
            data = bench.data(group.model, group.data, group.seed) if group.data else None
            if group.model not in paces and data is not None:
                paces[group.model], size = _pace(bench.model(group.model), data, config.block)
                memory = max(memory, size)
            count = _forwards(local, group, data)
            forwards += count
            seconds += count * paces.get(group.model, float("nan"))
        is_counted = forwards == forwards
        costs[step.id] = {
            "rows": sum(group.rows for group in groups), "forwards": forwards if is_counted else None,
            "seconds": seconds if seconds == seconds and is_counted else None,
        }  # fmt: skip
    if problems:
        raise ExperimentError(list(dict.fromkeys(problems)), config.name)
    return ExperimentCost(costs, memory)


def _forwards(local: Local, group: Group, data: Any) -> float:  # noqa: ANN401
    """Return the forwards of a group; those of a block of prompts, times the blocks, where prompts do not depend on each other."""
    bench = local.worker.bench
    if group.kind == "audit":
        from mechcausal.audits.reading import read

        plan = read(bench.base / str(group.values["plan"]))
        return sum(plan.cost(bench.model(group.model)).forwards.values())
    asked = specified(bench, bench.config.step(group.step), group.model, group.seed, group.each, group.values)
    if asked is None:
        return 0.0
    alone = group.kind in ("sweep", "texts") and not group.about.get("needs_others")
    few = data.take(slice(0, min(group.block, len(data)))) if alone else data
    try:
        counted = asked.spec.cost(bench.model(group.model), few).forwards
    except (MechcausalError, NotImplementedError):
        return float("nan")
    return float(counted) * (len(group.distinct) / len(few) if alone else 1.0)


def _pace(model: Any, data: Any, block: int) -> tuple[float, int]:  # noqa: ANN401
    """Return how long a forward of one prompt takes on this machine, and how many bytes model and batch take."""
    from mechcausal.models import bridge
    from mechcausal.models.hooked import forward

    side = data.clean if isinstance(data, Contrast) else data
    size = sum(parameter.numel() * parameter.element_size() for parameter in bridge.underlying(model).parameters())
    if not isinstance(side, PromptSet):
        return float("nan"), size
    few = side.take(slice(0, min(_FEW, len(side))))
    logits = forward(model, few).logits  # warms up
    started = time.perf_counter()
    forward(model, few)
    seconds = (time.perf_counter() - started) / len(few)
    width = int(side.tokens.shape[1])
    states = 14 * model.cfg.n_layers * model.cfg.d_model  # what the parts of a layer write
    return seconds, size + 4 * block * width * (logits.shape[-1] + states)


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"
