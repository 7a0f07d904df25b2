"""A LoRA adapter as a mitigation: the same questions, asked of the model with the adapter merged into its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mechcausal.arguments import Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.spec import Mitigation, Treatment
from mechcausal.audits.sources import FILE
from mechcausal.catalog import ADAPTERS
from mechcausal.errors import ArgumentError, ModelError
from mechcausal.models.load import load
from mechcausal.models.origin import origin_of


@dataclass(frozen=True, kw_only=True)
class Adapter(Mitigation):
    """Ask the model with a LoRA adapter in its weights; the model as it is stays beside it in memory.

    Attributes:
        folder: The folder of the adapter, from that of the plan, or the name of one that ships.
        base: The model that it is added to, as `mc.load` takes it, a path from the folder of the plan; the plan's model unless said.
    """

    word: ClassVar[str] = "adapter"
    folder: Text = field(metadata=FILE)
    base: Text | None = field(default=None, metadata=FILE)

    def made(self, desk: Desk) -> Treatment:
        """Load the model with the adapter."""
        if self.folder in ADAPTERS and self.base is None:
            changed = load(f"organism:{self.folder}")
        elif self.base is None:
            raise ArgumentError(f"the edit {self.called!r} needs base=, the model that the adapter is added to")
        else:
            changed = load(desk.path(self.base), adapter=desk.path(self.folder))
        files = [origin_of(model).files for model in (desk.model, changed)]
        if all(files) and files[0] != files[1]:
            raise ModelError(
                f"the edit {self.called!r} adds an adapter to other weights than those that are audited",
                got=", ".join(files[1])[:80], fix="give base= the model of the plan",
            )  # fmt: skip
        return Treatment(model=changed)
