"""Names of precisions, and where the weights of a model go: checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from mechcausal.arguments import described
from mechcausal.data.devices import device_called
from mechcausal.errors import ArgumentError, UnsupportedError, did_you_mean

DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class Placement:
    """Where the weights of a model go.

    Attributes:
        device: The one device; None leaves them on the CPU, or where a model object has them.
        map: The devices of parts of the model, by the names of modules, or a way to choose them.
    """

    device: torch.device | None = None
    map: str | dict[str, str] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the loading function of transformers is told."""
        return {} if self.map is None else {"device_map": self.map}


NOWHERE = Placement()


def placed(device: torch.device | str | int | None, device_map: object) -> Placement:
    """Return where a model goes; refuse a device and a map at once, and weights that would not be in memory."""
    if device_map is None:
        return Placement(device_called(device))
    if device is not None:
        raise ArgumentError("load takes 'device' or 'device_map'", got="both", fix="leave one of them out")
    if not (isinstance(device_map, Mapping) or (isinstance(device_map, str) and device_map in MAPS)):
        expected = f"{', '.join(MAPS)}, or devices by the names of modules"
        raise ArgumentError("load cannot take this 'device_map'", got=described(device_map), expected=expected)
    if find_spec("accelerate") is None:
        raise UnsupportedError("device_map needs the package accelerate", fix="pip install accelerate")
    if isinstance(device_map, str):
        return Placement(map=device_map)
    for name, part in device_map.items():
        if not isinstance(name, str) or part == "disk":
            raise ArgumentError(
                "load cannot take this 'device_map'", got=f"{described(name)}: {described(part)}",
                expected="names of modules, and devices in memory", fix='device_map={"": "cpu"}',
            )  # fmt: skip
    return Placement(map={name: str(device_called(part) or "cpu") for name, part in device_map.items()})


def require_one_device(module: Any, label: str) -> None:  # noqa: ANN401 - a module of torch
    """Refuse a model whose weights did not all come to one device in memory, where prompts and edits are."""
    devices = list(dict.fromkeys(str(parameter.device) for parameter in module.parameters()))
    if "meta" in devices:
        raise UnsupportedError(
            f"{label} does not fit into memory: accelerate left a part of its weights on the disk",
            fix='use a smaller dtype such as "bfloat16", or a larger device',
        )
    if len(devices) > 1:
        raise UnsupportedError(
            f"{label} was spread over several devices, and edits are made on one", got=", ".join(devices),
            fix=f'device="{devices[-1]}", or a smaller dtype such as "bfloat16"',
        )  # fmt: skip


def dtype_called(dtype: torch.dtype | str) -> torch.dtype:
    """Return a precision given as itself or by its name."""
    if isinstance(dtype, str) and dtype.removeprefix("torch.") in DTYPES:
        return DTYPES[dtype.removeprefix("torch.")]
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    got = described(str(dtype) if isinstance(dtype, torch.dtype) else dtype)
    raise ArgumentError("load cannot take this 'dtype'", got=got, fix=did_you_mean(dtype, DTYPES))
