"""What a worker has at hand: models, data, results of earlier steps, each read once."""

from __future__ import annotations

import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechcausal.audits.running import about_model
from mechcausal.audits.sources import source
from mechcausal.errors import ResultError
from mechcausal.runs.config import Config
from mechcausal.runs.packing import Folder
from mechcausal.runs.plan import Group, Plan, key_of
from mechcausal.runs.store import Store

if TYPE_CHECKING:
    from mechcausal.runs.run import Run

MODELS = 2  # how many are kept in memory
_FACTS = ("weights", "config", "tokenizer", "dtype", "head", "altered")


class Bench:
    """The models and data of a run.

    Args:
        folder: The folder of the run.
        config: The experiment.
        base: The folder that files of the experiment are named from.
        device: Where models are put that say nothing of it.
    """

    def __init__(self, folder: Path, config: Config, base: Path, device: str | None) -> None:
        self.folder, self.config, self.base, self.device = folder, config, base, device
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._data: dict[tuple[str, str, int], Any] = {}
        self._digests: dict[tuple[str, str, int], tuple[str, ...]] = {}
        self._plan: Plan | None = None
        self._groups: dict[str, Group] = {}
        self.specs: dict[str, Any] = {}
        self._dictionaries: dict[tuple[str, str], str] = {}

    @cached_property
    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="mechcausal-run-")

    def model(self, name: str) -> Any:  # noqa: ANN401 - a TransformerBridge
        """Return a model; the two that were used last stay loaded."""
        from mechcausal.dictionaries.loading import load as load_dictionary
        from mechcausal.models.load import load

        if name in self._models:
            self._models.move_to_end(name)
            return self._models[name]
        while len(self._models) >= MODELS:
            gone, _ = self._models.popitem(last=False)
            self._data = {key: data for key, data in self._data.items() if key[0] != gone}
            self._digests = {key: value for key, value in self._digests.items() if key[0] != gone}
            self.specs.clear()
            self._dictionaries = {key: value for key, value in self._dictionaries.items() if key[0] != gone}
        table = self.config.models[name]
        options = {
            key: value for key in ("adapter", "revision", "expect", "device_map") if (value := getattr(table, key))
        }
        device = table.device or (None if table.device_map else self.device)
        model = load(self._named(table.load), dtype=table.dtype, device=device, **options)
        for dictionary in table.dictionaries:
            load_dictionary(model, self._named(dictionary))
        self._models[name] = model
        return model

    def _named(self, name: str) -> str:
        """Return a name as it is, or the path of a file or folder beside the experiment."""
        return str(self.base / name) if (self.base / name).exists() else name

    def data(self, model: str, name: str, seed: int) -> Any:  # noqa: ANN401 - pairs or prompts
        """Return data as the tokenizer of a model reads them."""
        drawn, takes = source(self.config.data[name]), self.draws(name)
        key = model, name, seed if takes else -1
        loaded = self.model(model)  # which may forget the data of another
        if key not in self._data:
            self._data[key] = (replace(drawn, seed=seed) if takes else drawn).read(loaded, self.base)  # type: ignore[call-arg]
        return self._data[key]

    def digests(self, model: str, name: str, seed: int) -> tuple[str, ...]:
        """Return the digest of each pair or prompt of data."""
        key = model, name, seed if self.draws(name) else -1
        if key not in self._digests:
            data = self.data(model, name, seed)
            self._digests[key] = tuple(data.take([row]).hash for row in range(len(data)))
        return self._digests[key]

    def draws(self, name: str) -> bool:
        """Say whether data are drawn anew for each seed of the run."""
        table = self.config.data[name]
        return "seed" in {part.name for part in fields(source(table))} and "seed" not in table

    def facts(self, name: str) -> dict[str, Any]:
        """Return what numbers depend on of a model, and the kind of device it computes on."""
        from mechcausal.models.binding import attached

        about = about_model(self.model(name))
        model_facts = {key: about[key] for key in _FACTS if key in about}
        model_facts["device"] = str(about["device"]).partition(":")[0]
        names = {bound.name: bound.digest for bound in attached(self.model(name)).values()}
        return model_facts | ({"dictionaries": names} if names else {})

    @cached_property
    def store(self) -> Store:
        """The rows of the run."""
        return Store(self.folder)

    def know(self, plan: Plan) -> None:
        """Take over the plan of a driver. The file in the folder may be that of another driver, which is less far."""
        self._plan = plan
        self._groups = {group.id: group for group in plan.groups}

    def run(self) -> Run:
        """Return the run as it stands."""
        from mechcausal.runs.run import Run

        self.store.refresh()
        return Run.underway(self.store, self._plan or Plan.load(self.folder))

    def group(self, name: str) -> Group:
        """Return a planned group by its id."""
        if self._plan is None:
            self.know(Plan.load(self.folder))
        return self._groups[name]

    def attach(self, model: str, step: str, seed: int) -> str:
        """Attach the dictionary that a step trained to a model, under the id of the step; return its digest."""
        from mechcausal.dictionaries.loading import load as load_dictionary

        run = self.run()
        group = run.one(step, model=model, seed=seed)
        digest = group.key
        loaded = self.model(model)
        if self._dictionaries.get((model, step)) != digest:
            kept = run.result_of(group)
            if not isinstance(kept, Folder):
                raise ResultError(
                    f"step {step!r} trained no dictionary", fix='name a step with run = "train_dictionary"'
                )
            path = kept.write(Path(self._scratch.name) / key_of(model, step, digest))
            load_dictionary(loaded, path, name=step)
            self._dictionaries[model, step] = digest
        return digest

    def detached(self, model: str, but: Mapping[str, str]) -> None:
        """Detach dictionaries of other steps, so that the model is what the step says."""
        from mechcausal.models.binding import detach

        for name, step in list(self._dictionaries):
            if name == model and step not in but:
                detach(self.model(model), step)
                del self._dictionaries[name, step]

    def log(self, unit: Any, group: Group, wall: float, processor: float) -> None:  # noqa: ANN401
        """Write down how long a unit took: a line that nothing depends on."""
        line = {
            "step": group.step, **group.labels, "rows": unit.rows, "wall": round(wall, 6), "seconds": round(processor, 6),
            "process": os.getpid(),
        }  # fmt: skip
        with suppress(OSError), (self.folder / "units.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")  # on a full disk it is the rows that matter, and they say so
