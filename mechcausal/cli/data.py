"""What a verb runs on: pairs or prompts that ship, or a file of your own. Heavy imports are inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.errors import ArgumentError

if TYPE_CHECKING:
    from mechcausal.data.contrast import Contrast
    from mechcausal.data.prompts import PromptSet

_SHIPPED = 200  # pairs or prompts that are drawn unless said otherwise


@dataclass(frozen=True)
class Chosen:
    """What the options of a verb name.

    Attributes:
        contrast: Pairs that ship.
        pairs: A file of pairs.
        prompts: A file of prompts.
        task: A task that prompts are drawn of.
        environment: Whose mechanisms draw them.
        n: How many.
        seed: The seed of the draw.
        spans: What a span of several tokens counts as.
        drop: Whether rows that the tokenizer cannot take are dropped.
    """

    contrast: str | None = None
    pairs: Path | None = None
    prompts: Path | None = None
    task: str | None = None
    environment: str | None = None
    n: int | None = None
    seed: int = 0
    spans: str = "last"
    drop: bool = False

    def check(self, *names: str) -> None:
        """Refuse, before anything is loaded, no source of data, several, or a file that is not there."""
        given = [name for name in names if getattr(self, name) is not None]
        ways = " or ".join(f"--{name} {'FILE' if name in ('pairs', 'prompts') else 'NAME'}" for name in names)
        if len(given) != 1:
            got = " and ".join(f"--{name}" for name in given) or None
            raise ArgumentError("name the data" if not given else "name the data once", got=got, fix=f"give {ways}")
        for path in (self.pairs, self.prompts):
            if path is not None and not path.is_file():
                raise ArgumentError(f"there is no file {path}", fix="check the name and the folder")

    def read(self, model: Any) -> Contrast | PromptSet:  # noqa: ANN401 - a loaded model
        """Return the data."""
        from mechcausal.data import Contrast, PromptSet, contrast, task

        options: dict[str, Any] = {"unfit": "drop" if self.drop else "refuse"}
        spans: Any = self.spans
        if self.pairs is not None:
            return _first(Contrast.read(self.pairs, model, spans=spans, **options), self.n)
        if self.prompts is not None:
            return _first(PromptSet.read(self.prompts, model, **options), self.n)
        if self.contrast is not None:
            return contrast(self.contrast, model, n=self.n or _SHIPPED, seed=self.seed)
        assert self.task is not None  # `check` has refused anything else
        return task(self.task).prompts(model, self.n or _SHIPPED, seed=self.seed, environment=self.environment)


def _first(data: Any, n: int | None) -> Any:  # noqa: ANN401 - pairs or prompts
    return data if n is None or n >= len(data) else data.take(slice(0, n))


def concept_labels(data: Any, concept: str | None) -> tuple[str, Any]:  # noqa: ANN401
    """Return the name of a concept and its value for each prompt; of pairs without one the side of each prompt.

    Args:
        data: Pairs, of which both sides are taken (clean first), or prompts.
        concept: The column or variable; the factor of the pairs if None.
    """
    from mechcausal.data import Contrast
    from mechcausal.probes.labels import column_of, one_set

    if concept is not None:
        return concept, column_of(one_set(data), concept)
    if not isinstance(data, Contrast):
        raise ArgumentError("name what is to be read from the prompts", fix="give --concept COLUMN")
    return data.factor, ["clean"] * len(data) + ["corrupt"] * len(data)
