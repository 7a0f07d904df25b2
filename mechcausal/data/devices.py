"""Names of devices, checked before anything goes there."""

from __future__ import annotations

import torch

from mechcausal.arguments import described
from mechcausal.errors import ArgumentError, UnsupportedError, did_you_mean

DEVICES = ("cpu", "cuda", "mps", "xpu")


def device_called(device: torch.device | str | int | None, whose: str = "load") -> torch.device | None:
    """Return a device of this machine; None stays None.

    Args:
        device: The device, or its name.
        whose: The function whose argument it is, for errors.
    """
    if device is None:
        return None
    try:
        if isinstance(device, bool):
            raise TypeError
        place = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        fix = did_you_mean(device, DEVICES) if isinstance(device, str) else 'device="cpu" or device="cuda"'
        raise ArgumentError(f"{whose} cannot take this 'device'", got=described(device), fix=fix) from None
    if place.type not in DEVICES:
        raise ArgumentError(
            f"{whose} cannot take this 'device'", got=described(str(place)), fix=did_you_mean("", DEVICES)
        )
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
