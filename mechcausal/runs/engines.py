"""Who computes: an engine hands units to workers and says what became of them. Rows never pass through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mechcausal.errors import ArgumentError, did_you_mean
from mechcausal.runs.config import Config
from mechcausal.runs.plan import Group, Plan, Unit
from mechcausal.runs.worker import Done, Worker

ENGINES = ("local", "ray")


class Engine(Protocol):
    """What the driver asks of an engine.

    Attributes:
        workers: How many shards are computed at the same time.
    """

    workers: int

    def know(self, plan: Plan) -> None:
        """Tell the workers how the plan stands."""
        ...

    def plan(self, step: str) -> tuple[list[Group], list[str]]:
        """Return the groups of a step, and what is wrong with it."""
        ...

    def problems(self, step: str) -> list[str]:
        """Return what is wrong with the models and data of a step that waits for others."""
        ...

    def work(self, queues: Mapping[str, Iterator[Sequence[Unit]]]) -> Iterator[Done]:
        """Compute units, those of a shard together, and yield what became of each shard as it is done.

        Args:
            queues: For each model its shards. The next one is made when it is asked for.
        """
        ...

    def stop(self) -> None:
        """End the workers."""
        ...


class Local:
    """One worker in this process: what it does can be followed with a debugger.

    Args:
        folder: The folder of the run.
        config: The experiment.
        base: The folder that files of the experiment are named from.
    """

    workers = 1

    def __init__(self, folder: Path, config: Config, base: Path) -> None:
        import torch

        self._threads = torch.get_num_threads()
        self.worker = Worker(folder, config, base)

    def know(self, plan: Plan) -> None:
        """Tell the worker how the plan stands."""
        self.worker.bench.know(plan)

    def plan(self, step: str) -> tuple[list[Group], list[str]]:
        """Return the groups of a step, and what is wrong with it."""
        return self.worker.plan(step)

    def problems(self, step: str) -> list[str]:
        """Return what is wrong with the models and data of a step that waits for others."""
        return self.worker.problems(step)

    def work(self, queues: Mapping[str, Iterator[Sequence[Unit]]]) -> Iterator[Done]:
        """Compute units, one shard after the other."""
        for shards in queues.values():
            for units in shards:
                yield self.worker.do(units)

    def stop(self) -> None:
        """Leave the process as it was."""
        import torch

        torch.set_num_threads(self._threads)


def engine(name: str, folder: Path, config: Config, base: Path, **options: Any) -> Engine:  # noqa: ANN401 - of the engine
    """Return the engine of a name, started.

    Args:
        name: `local` or `ray`.
        folder: The folder of the run.
        config: The experiment.
        base: The folder that files of the experiment are named from.
        **options: Options of the engine: `workers`, `gpus` and `address` of Ray.
    """
    if name == "local":
        if given := [key for key, value in options.items() if value is not None]:
            raise ArgumentError(f"{given[0]!r} is an option of Ray", fix='give engine="ray" too')
        return Local(folder, config, base)
    if name == "ray":
        from mechcausal.runs.ray import Ray

        return Ray(folder, config, base, **{key: value for key, value in options.items() if value is not None})
    raise ArgumentError(f"there is no engine {name!r}", fix=did_you_mean(name, ENGINES))
