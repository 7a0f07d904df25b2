"""A LoRA adapter as a mitigation: the same questions, asked of the model with the adapter merged into its weights."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar

from mechcausal.arguments import Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.spec import Mitigation, Treatment
from mechcausal.errors import UnsupportedError

_READER = "mechcausal.models.adapters"


@dataclass(frozen=True, kw_only=True)
class Adapter(Mitigation):
    """Merge a LoRA adapter into a copy of the model.

    Attributes:
        folder: The folder of the adapter.
    """

    word: ClassVar[str] = "adapter"
    folder: Text

    def made(self, desk: Desk) -> Treatment:
        """Return the model with the adapter."""
        return Treatment(model=_merged(desk.model, self.folder))


def _merged(model: Any, folder: str) -> Any:  # noqa: ANN401 - models
    if importlib.util.find_spec(_READER) is None:
        raise UnsupportedError(
            "this version cannot merge adapters", fix="merge it with peft, and audit the merged folder as a model"
        )
    return importlib.import_module(_READER).merged(model, folder)
