"""An experiment: what a file says, and what can be done with it.

experiment = mc.Experiment.read("experiment.toml", sets={"data.gender.n": 16})
run = experiment.run("out/r")          # a mc.Run; running again goes on where it ended
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mechcausal.arguments import check_fields, checked
from mechcausal.runs.config import Config, config_of, read
from mechcausal.runs.run import Run


@dataclass(frozen=True)
class Experiment:
    """Models, data and steps; see `docs/runs.md`.

    Attributes:
        config: What is run.
        folder: The folder that files are named from.

    Example:
        >>> import mechcausal as mc
        >>> experiment = mc.Experiment.of({
        ...     "name": "heads", "model": "organism:hiring", "data": {"gender": {"contrast": "hiring/gender", "n": 8}},
        ...     "step": [{"id": "heads", "run": "patch", "data": "gender", "sites": "z"}],
        ... })
        >>> [step.id for step in experiment.config.steps]
        ['heads']
    """

    config: Config
    folder: Path = Path()

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    @checked
    def read(cls, path: str | Path, sets: Mapping[str, Any] | None = None) -> Self:
        """Read an experiment from a TOML file; everything that is wrong with it is found at once.

        Args:
            path: The file.
            sets: Values that replace those of the file, by their path: `{"data.gender.n": 16}`, `{"model": "gpt2"}`,
                `{"step.heads.metric": "prob"}`.
        """
        return cls(read(path, sets), Path(path).absolute().parent)

    @classmethod
    @checked
    def of(cls, content: Mapping[str, Any], folder: str | Path = ".", sets: Mapping[str, Any] | None = None) -> Self:
        """Make an experiment of what a file would hold.

        Args:
            content: What the file would hold.
            folder: The folder that files are named from.
            sets: Values that replace those of the content, by their path.
        """
        where = Path(folder).absolute()
        return cls(config_of(content, where, sets), where)

    @checked
    def only(self, steps: Sequence[str]) -> Self:
        """Return the experiment with some of its steps, and those that they take results of.

        Args:
            steps: The ids of the steps.
        """
        wanted: set[str] = set()
        queue = list(steps)
        while queue:
            step = self.config.step(queue.pop())
            wanted.add(step.id)
            queue += [name for name in step.earlier if name not in wanted]
        kept = tuple(step for step in self.config.steps if step.id in wanted)
        models = {name for step in kept for name in step.models or self.config.models}
        tables = {name: table for name, table in self.config.models.items() if name in models}
        return replace(self, config=self.config.model_copy(update={"steps": kept, "models": tables}))

    @checked
    def run(
        self,
        out: str | Path,
        *,
        engine: str = "local",
        workers: int | None = None,
        gpus: float | None = None,
        address: str | None = None,
        only: Sequence[str] = (),
        track: Any = None,  # noqa: ANN401 - anything with init, log and finish
        quiet: bool = False,
    ) -> Run:
        """Run what is not there yet, and return the run. What was computed is kept as it comes.

        Args:
            out: The folder of the run.
            engine: `local` (this process) or `ray`.
            workers: How many actors Ray starts.
            gpus: How many GPUs each of them has.
            address: The cluster that is joined; Ray starts one of its own unless said.
            only: The ids of the steps to run, with those that they take results of; all unless said.
            track: What is told how far the run is: a module or object with `init`, `log` and `finish`, such as `wandb`.
            quiet: Whether progress is not shown.
        """
        from mechcausal.runs.driver import drive

        chosen = self.only(only) if only else self
        options = {"workers": workers, "gpus": gpus, "address": address}
        return drive(chosen, Path(out), engine, options, track=track, quiet=quiet)

    def cost(self) -> Any:  # noqa: ANN401 - an ExperimentCost
        """Return what the experiment would take: rows, forwards, seconds and memory. Only a few unedited prompts are run."""
        from mechcausal.runs.costing import cost

        return cost(self)
