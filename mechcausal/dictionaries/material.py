"""The prompts a dictionary is trained and measured on from the command line, remembered in its folder.

An organism brings its tasks; any other model needs a text file, one prompt a line, of which the last tenth is held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mechcausal.catalog import ADAPTERS
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import split, units
from mechcausal.data.tasks import task
from mechcausal.errors import DataError, ModelError
from mechcausal.organisms import truth

_HELD_OUT = 10  # every tenth part of a text


@dataclass(frozen=True)
class Material:
    """Which model, and which prompts it reads.

    Attributes:
        model: The model, as it is loaded.
        tasks: Tasks that are drawn from.
        text: A file with one prompt a line, instead.
        table: A file of pairs, instead; both sides are read.
        n: How many prompts of each task and environment.
        seed: The seed of the draw; held-out prompts are drawn with another.
    """

    model: str
    tasks: tuple[str, ...] = ()
    text: str | None = None
    n: int = 2000
    seed: int = 0
    table: str | None = None

    @classmethod
    def of(
        cls,
        model: str,
        *,
        tasks: tuple[str, ...] = (),
        text: str | Path | None = None,
        table: str | Path | None = None,
        n: int = 2000,
        seed: int = 0,
    ) -> Material:
        """Choose the material of a model: what was asked for, or the tasks of an organism."""
        given = [f"--{name}" for name, value in (("task", tasks), ("text", text), ("pairs", table)) if value]
        if len(given) > 1:
            raise DataError("prompts come from one place", got=" and ".join(given), fix="give one of them")
        if not given:
            name = model.removeprefix("organism:")
            if name == model or name in ADAPTERS:
                raise DataError(
                    f"nothing says which prompts {model} is to read",
                    fix="give --text FILE, one prompt a line, --pairs FILE, or --task",
                )
            tasks = tuple(truth(name)["tasks"])
        files = (None if path is None else str(Path(path).resolve()) for path in (text, table))
        return cls(model, tuple(tasks), next(files), n, seed, next(files))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], folder: str | Path) -> Material:
        """Read what the folder of a dictionary remembers."""
        material = facts.get("material")
        if material is None:
            raise ModelError(
                f"the folder {folder} does not say which model and prompts it belongs to",
                fix="say which: --model MODEL --text FILE, or from Python: mc.features.health(model, prompts, mc.features.load(model, folder))",
            )
        return cls(
            str(material["model"]),
            tuple(material["tasks"]),
            material["text"],
            int(material["n"]),
            int(material["seed"]),
            material.get("table"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a folder is to remember."""
        return asdict(self) | {"tasks": list(self.tasks)}

    def training(self, model: Any) -> list[PromptSet]:  # noqa: ANN401 - a TransformerBridge
        """Return the prompts to train on: of each task, as the world is and in every other environment it declares."""
        if self.table is not None:
            kept = self._pairs(model)[0]
            return [kept.clean, kept.corrupt]
        if self.text is None:
            worlds = [
                (task(name), environment) for name in self.tasks for environment in (None, *task(name).environments)
            ]
            return [
                drawn_from.prompts(model, n=self.n, seed=self.seed, environment=environment)
                for drawn_from, environment in worlds
            ]
        lines = self._lines()
        return [PromptSet.from_text(model, lines[: len(lines) - len(lines) // _HELD_OUT])]

    def held_out(self, model: Any) -> PromptSet:  # noqa: ANN401
        """Return prompts that were not trained on: of the first task, or the end of the text."""
        if self.table is not None:
            return self._pairs(model)[1].clean
        if self.text is None:
            return task(self.tasks[0]).prompts(model, n=max(64, self.n // _HELD_OUT), seed=self.seed + 1)
        lines = self._lines()
        return PromptSet.from_text(model, lines[len(lines) - max(1, len(lines) // _HELD_OUT) :])

    def pairs(self, model: Any) -> Contrast | None:  # noqa: ANN401
        """Return pairs of the first task that differ in its first input, or the last of a file; None for a text."""
        if self.table is not None:
            return self._pairs(model)[1]
        if self.text is not None:
            return None
        first = task(self.tasks[0])
        return first.contrast(model, first.inputs[0], n=max(64, self.n // _HELD_OUT), seed=self.seed + 1)

    def _pairs(self, model: Any) -> tuple[Contrast, Contrast]:  # noqa: ANN401
        """Return the pairs to train on and those held out: a tenth, drawn at random, whole clusters at a time."""
        assert self.table is not None  # whoever asks has looked
        pairs = Contrast.read(self.table, model)
        kept, held_out = split(units(pairs), 1 - 1 / _HELD_OUT, self.seed, what="pairs of the file")
        return pairs.take(kept.tolist()), pairs.take(held_out.tolist())

    def _lines(self) -> list[str]:
        assert self.text is not None  # whoever asks has looked
        try:
            lines = [line.strip() for line in Path(self.text).read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the text {self.text} cannot be read", got=str(error)[:120]) from error
        if not (lines := [line for line in lines if line]):
            raise DataError(f"the text {self.text} has no prompts", expected="one prompt a line")
        return lines
