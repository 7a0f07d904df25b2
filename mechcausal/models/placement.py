"""Names of precisions and devices, checked before anything is read."""

from __future__ import annotations

import torch

from mechcausal.arguments import described
from mechcausal.errors import ArgumentError, UnsupportedError, did_you_mean

DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
DEVICES = ("cpu", "cuda", "mps", "xpu")


def dtype_called(dtype: torch.dtype | str) -> torch.dtype:
    """Return a precision given as itself or by its name."""
    if isinstance(dtype, str) and dtype.removeprefix("torch.") in DTYPES:
        return DTYPES[dtype.removeprefix("torch.")]
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    got = described(str(dtype) if isinstance(dtype, torch.dtype) else dtype)
    raise ArgumentError("load cannot take this 'dtype'", got=got, fix=did_you_mean(dtype, DTYPES))


def device_called(device: torch.device | str | int | None) -> torch.device | None:
    """Return a device of this machine; None stays None."""
    if device is None:
        return None
    try:
        if isinstance(device, bool):
            raise TypeError
        place = torch.device(device)
    except (RuntimeError, TypeError):
        fix = did_you_mean(device, DEVICES) if isinstance(device, str) else 'device="cpu" or device="cuda"'
        raise ArgumentError("load cannot take this 'device'", got=described(device), fix=fix) from None
    if place.type not in DEVICES:
        raise ArgumentError("load cannot take this 'device'", got=described(str(place)), fix=did_you_mean("", DEVICES))
    n_devices = _n_devices(place.type)
    if n_devices == 0:
        raise UnsupportedError(
            f"torch finds no {place.type} device on this machine", fix='device="cpu", or see mechcausal doctor'
        )
    if (place.index or 0) >= n_devices:
        raise UnsupportedError(
            f"there is no device {place}", got=f"{n_devices} {place.type} devices", fix=f'device="{place.type}:0"'
        )
    return place


def _n_devices(kind: str) -> int:
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return getattr(torch, kind).device_count() if getattr(torch, kind).is_available() else 0
