"""A training that can be interrupted: weights, optimizer and history in one safetensors file, replaced in one step.

What is drawn in a step follows from the seed and the number of the step, so there is no state of a generator to keep,
and a training that goes on gives the same weights, bit for bit, as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from mechcausal.causal.training.lessons import Lesson
from mechcausal.errors import DataError
from mechcausal.results.storage import read_tensors, write_tensors

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Checkpoint:
    """The file of one training."""

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, Any],
        lessons: Sequence[Lesson],
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Adam,
    ) -> None:
        self.path = Path(path)
        self.parameters, self.optimizer = parameters, optimizer
        self.settings = _plain({**settings, "lessons": [_described(lesson) for lesson in lessons]})
        self.settings["parameters"] = _digest({name: list(value.shape) for name, value in parameters.items()})

    def restore(self) -> tuple[int, list[pd.DataFrame]]:
        """Put weights and optimizer back to where the file left them; return the steps made and the history."""
        if not self.path.exists():
            return 0, []
        tensors, texts = read_tensors(self.path, "a checkpoint of a training", DataError)
        state = json.loads(texts.get("training", "{}"))
        self._refuse_another(state.get("settings", {}))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weights/{name}"])
                moments = {what: tensors[f"{what}/{name}"] for what in _MOMENTS if f"{what}/{name}" in tensors}
                if moments:
                    self.optimizer.state[parameter] = {
                        what: value if what == "step" else value.to(parameter) for what, value in moments.items()
                    }
        table = pd.DataFrame(state["history"])
        return state["done"], [part for _, part in table.groupby("step")] if len(table) else []

    def write(self, done: int, history: Sequence[pd.DataFrame]) -> None:
        """Write the file anew."""
        # Copies, because parameters may be views of one matrix, which the format refuses.
        tensors = {f"weights/{name}": value.detach().clone() for name, value in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for what, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{what}/{name}"] = value.clone()
        state = {
            "settings": self.settings,
            "done": done,
            "history": pd.concat(history).to_dict(orient="records") if history else [],
        }
        write_tensors(self.path, tensors, {"training": json.dumps(state)})

    def _refuse_another(self, other: Mapping[str, Any]) -> None:
        different = [name for name, value in self.settings.items() if other.get(name) != value]
        if different:
            raise DataError(
                f"{self.path} is the checkpoint of another training: {', '.join(different)} differ",
                fix="name another file, or delete this one to start again",
            )


def _described(lesson: Lesson) -> dict[str, Any]:
    hypothesis = lesson.hypothesis
    places = {variable: [part.to_json() for part in parts] for variable, parts in hypothesis.alignment.items()}
    return {
        "task": hypothesis.scm.name,
        "places": _digest(places),
        "prompts": lesson.prompts.hash,
        "share": lesson.share,
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON makes of it
    return json.loads(json.dumps(value, default=str))


def _digest(value: Any) -> str:  # noqa: ANN401
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
