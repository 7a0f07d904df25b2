"""Low-rank adapters (LoRA) in the format of the package peft, added to the weights of a model without that package.

An adapted map computes `W x + scale B A x`. Here `scale B A` is added to `W` before the model is wrapped, so that all
methods see one plain model, whose digest is another than that of its base.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.catalog import ADAPTERS
from mechcausal.errors import ArgumentError, ModelError, UnsupportedError, did_you_mean
from mechcausal.models.files import name_of, read_json, read_safetensors, safetensors_header, sha256
from mechcausal.models.fingerprint import module_fingerprint

PREFIX = "organism:"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_DIGEST = "base_weights"
_NAME = re.compile(r"base_model\.model\.(?P<map>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter that was read from a folder and not yet merged.

    Attributes:
        name: What it is called.
        digest: The SHA-256 of its file of weights.
        maps: For each linear map of the model by its name: A, B and the scale of their product.
        transposed: Whether the maps keep their weights as [in, out].
        base: The digest of the weights that it was trained on, where the file states it.
    """

    name: str
    digest: str
    maps: Mapping[str, tuple[Tensor, Tensor, float]]
    transposed: bool = False
    base: str | None = None

    @classmethod
    def read(cls, source: str | Path) -> Adapter:
        """Read an adapter from a folder, or by the name of one that is shipped; refuse what is not plain LoRA."""
        folder = _folder(source)
        config = read_json(folder / CONFIG)
        _refuse_kinds(config, folder)
        path = folder / WEIGHTS
        if not path.exists():
            raise ModelError(f"the adapter {name_of(folder)} holds no weights", expected=WEIGHTS)
        tensors = read_safetensors(path)
        pairs: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            parts = _NAME.fullmatch(name)
            if parts is None:
                raise UnsupportedError(
                    f"the adapter {name_of(folder)} holds a tensor that is no LoRA map", got=name[:80],
                    expected="base_model.model.MAP.lora_A.weight and lora_B.weight",
                )  # fmt: skip
            pairs.setdefault(parts["map"], {})[parts["side"]] = tensor
        if not pairs:
            raise ModelError(f"the adapter {name_of(folder)} holds no tensors", fix="save it again")
        maps = {name: _pair(folder, name, sides, config) for name, sides in pairs.items()}
        stated = safetensors_header(path).get(BASE_DIGEST)
        return cls(str(source), sha256(path), maps, bool(config.get("fan_in_fan_out")), stated)

    @property
    def layers(self) -> list[int]:
        """The numbers of the layers that it changes."""
        numbers = [re.search(r"\.(?:layers|h|layer|blocks)\.(\d+)\.", f".{name}.") for name in self.maps]
        return sorted({int(match[1]) for match in numbers if match})

    def to_json(self) -> dict[str, Any]:
        """Return what provenance says of it."""
        return {"name": self.name, "file": self.digest, "layers": self.layers}

    def require_fit(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a model that lacks maps of the adapter, or has them in other sizes; nothing is run.

        Args:
            shapes: The shapes of the model's weights, by their names in `transformers`.
        """
        absent = [name for name in self.maps if f"{name}.weight" not in shapes]
        if absent:
            raise ModelError(
                f"the adapter {self._called} is for another model: {len(absent)} of its {len(self.maps)} maps are not there",
                got=absent[0][-80:], fix="pass the model that it was trained on",
            )  # fmt: skip
        for name, (first, second, _) in self.maps.items():
            due, shape = (second.shape[0], first.shape[1]), shapes[f"{name}.weight"]
            got = shape[::-1] if self.transposed else shape
            if got != due:
                raise ModelError(
                    f"the adapter {self._called} is for a model of other sizes: {name[-60:]} does not fit",
                    got=f"weights of {got}", expected=f"{due}", fix="pass the model that it was trained on",
                )  # fmt: skip

    def require_base(self, digest: str) -> None:
        """Refuse other weights than those it was trained on, where its file states these.

        Args:
            digest: The digest of the weights, in float32.
        """
        if self.base is not None and digest != self.base:
            raise ModelError(
                f"the adapter {self._called} was trained on other weights", got=digest, expected=self.base,
                fix="pass the model that it was trained on",
            )  # fmt: skip

    def merge(self, module: nn.Module) -> None:
        """Add the adapter to the weights of a model, in place, after checking that all of it fits."""
        places = {
            name: part.weight
            for name, part in module.named_modules()
            if isinstance(getattr(part, "weight", None), Tensor)
        }
        self.require_fit({f"{name}.weight": tuple(weight.shape) for name, weight in places.items()})
        odd = [name for name in self.maps if not places[name].is_floating_point() or places[name].is_meta]
        if odd:
            raise UnsupportedError(
                f"an adapter cannot be added to {odd[0][-60:]}", got="weights that are quantized or not in memory",
                fix="load the model in float32, without device_map",
            )  # fmt: skip
        if self.base is not None and next(module.parameters()).dtype == torch.float32:
            self.require_base(module_fingerprint(module))
        with torch.no_grad():
            for name, (first, second, scale) in self.maps.items():
                weight = places[name]
                change = scale * (second.float() @ first.float())
                weight += (change.T if self.transposed else change).to(weight)

    def label(self, base: str) -> str:
        """Return what a model with this adapter is called."""
        return (
            f"organism:{self.name}" if self.name in ADAPTERS else f"{base} with {name_of(Path(self.name).absolute())}"
        )

    @property
    def _called(self) -> str:
        return name_of(Path(self.name))


def adapted(source: Any, adapter: str | Path | None) -> tuple[Any, Adapter | None]:  # noqa: ANN401
    """Return the model to load and the adapter to add to it: an organism that is an adapter names its base.

    Args:
        source: What shall be loaded.
        adapter: The adapter that was asked for.
    """
    name = source.removeprefix(PREFIX) if isinstance(source, str) and source.startswith(PREFIX) else ""
    if name not in ADAPTERS:
        return source, None if adapter is None else Adapter.read(adapter)
    if adapter is not None:
        raise ArgumentError(f"{source} is a model with an adapter already", fix="load it without adapter=")
    return read_json(ADAPTERS[name] / "truth.json")["base"]["name"], Adapter.read(name)


def _folder(source: str | Path) -> Path:
    if str(source) in ADAPTERS and not Path(source).exists():
        return ADAPTERS[str(source)] / "adapter"
    folder = Path(source).expanduser()
    if (folder / CONFIG).exists():
        return folder
    if folder.is_dir():
        raise ModelError(f"{name_of(folder)} is not the folder of an adapter", expected=f"{CONFIG} and {WEIGHTS}")
    raise ModelError(
        f"there is no adapter called {name_of(folder)!r}", fix=f"{did_you_mean(source, ADAPTERS)}, or pass a folder"
    )


def _refuse_kinds(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse kinds of adapters that change more than a product of two matrices says."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UnsupportedError(f"the adapter {name_of(folder)} is no LoRA", got=str(kind)[:40], expected="LORA")
    odd = [
        name for name in ("use_dora", "modules_to_save", "use_qalora", "alora_invocation_tokens") if config.get(name)
    ]
    if config.get("bias", "none") != "none":
        odd.append("bias")
    if odd:
        raise UnsupportedError(
            f"the adapter {name_of(folder)} is more than plain LoRA", got=", ".join(odd),
            fix="merge it with peft (merge_and_unload), and pass the model",
        )  # fmt: skip


def _pair(
    folder: Path, name: str, sides: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[Tensor, Tensor, float]:
    missing = [side for side in "AB" if side not in sides]
    if missing:
        raise ModelError(
            f"the adapter {name_of(folder)} lacks lora_{missing[0]} of {name[-80:]}", fix="download or save it again"
        )
    first, second = sides["A"], sides["B"]
    if first.ndim != 2 or second.ndim != 2 or first.shape[0] != second.shape[1]:
        raise ModelError(
            f"the two matrices of the adapter {name_of(folder)} do not fit at {name[-80:]}",
            got=f"A of {tuple(first.shape)} and B of {tuple(second.shape)}", expected="(rank, in) and (out, rank)",
        )  # fmt: skip
    if not all(bool(torch.isfinite(matrix).all()) for matrix in (first, second)):
        raise ModelError(f"the adapter {name_of(folder)} holds NaN or infinity", got=name[-80:])
    rank = first.shape[0]
    alpha = float(_by_pattern(config.get("alpha_pattern"), name, config.get("lora_alpha", rank)))
    return first, second, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Any, name: str, default: Any) -> Any:  # noqa: ANN401 - as JSON has them
    """Return the value of the first pattern that the end of a name matches, as peft reads them."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            return value
    return default
