"""A LoRA adapter as a mitigation: the same questions, asked of the model with the adapter merged into its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from mechcausal.arguments import Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.spec import Mitigation, Treatment
from mechcausal.audits.sources import FILE
from mechcausal.catalog import ADAPTERS, ORGANISMS
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, ModelError
from mechcausal.models import bridge
from mechcausal.models.adapters import PREFIX, adapted
from mechcausal.models.converting import gguf_in
from mechcausal.models.files import sha256, weight_files
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.load import load
from mechcausal.models.origin import origin_of
from mechcausal.models.wheels import WHEELS, file_of


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

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse an adapter that is not there, or is for other weights than those audited; its files are read, nothing is run."""
        base, adapter = adapted(*self._sources(desk))
        audited = origin_of(desk.model)
        _require_same(audited.files, files_of(base))
        if adapter is None or audited.adapter:
            return  # of the weights beneath the audited model's own adapter only the files are known
        module = bridge.underlying(desk.model)
        named = module.named_parameters(remove_duplicate=False)
        adapter.require_fit({name.replace("_original_component.", ""): tuple(weight.shape) for name, weight in named})
        if next(module.parameters()).dtype == torch.float32:
            adapter.require_base(weights_fingerprint(desk.model))

    def made(self, desk: Desk) -> Treatment:
        """Load the model with the adapter."""
        base, folder = self._sources(desk)
        changed = load(base, adapter=folder)
        _require_same(origin_of(desk.model).files, origin_of(changed).files)
        return Treatment(model=changed)

    def _sources(self, desk: Desk) -> tuple[str, str | None]:
        """Return the model to load, and the folder of the adapter; None where the model's name says both."""
        if self.folder in ADAPTERS and self.base is None:
            return f"{PREFIX}{self.folder}", None
        if self.base is None:
            raise ArgumentError("an adapter of one's own needs base=, the model that it is added to")
        return desk.path(self.base), desk.path(self.folder)


def files_of(source: str) -> dict[str, str]:
    """Return the digests of the files of weights that a name or a path leads to, as an origin states them; none for a hub's.

    Args:
        source: The name or the path, as `mc.load` takes it.
    """
    path = Path(source).expanduser()
    if source in WHEELS and not path.exists():
        path = file_of(source)
    elif source.startswith(PREFIX):
        path = ORGANISMS[source.removeprefix(PREFIX)] / "weights"
    if path.is_file():
        return {path.name: sha256(path)}
    if not path.is_dir():
        return {}
    converted_from = None if (path / "config.json").exists() else gguf_in(path)
    return {file.name: sha256(file) for file in ([converted_from] if converted_from else weight_files(path))}


def _require_same(audited: Mapping[str, str], changed: Mapping[str, str]) -> None:
    """Refuse files of weights that are not those of the audited model, where both are known."""
    if audited and changed and audited != changed:
        raise ModelError(
            "the adapter is added to other weights than those that are audited",
            got=", ".join(changed)[:80], fix="give base= the model of the plan",
        )  # fmt: skip
