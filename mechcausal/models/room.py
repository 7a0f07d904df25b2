"""Whether a model fits into memory, estimated before anything of it is read."""

from __future__ import annotations

from pathlib import Path

import torch

from mechcausal.errors import ModelError

_INFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_SPARE = 1.05  # what a model takes besides its weights while it is loaded


def require_memory(size: int, label: str, device: torch.device | None = None, *, fix: str | None = None) -> None:
    """Refuse what does not fit into the memory that is free.

    Args:
        size: How many bytes the weights take.
        label: What is loaded, for the error.
        device: Where it is loaded to; the memory of the machine if None.
        fix: What to do about it.
    """
    free = available(device)
    if free is not None and size * _SPARE > free:
        raise ModelError(
            f"{label} is too large for the memory of this machine" if _is_cpu(device) else f"{label} does not fit on {device}",
            got=f"{_gigabytes(size * _SPARE)} of weights", expected=f"at most {_gigabytes(free)}, which is free",
            fix=fix or 'pass dtype="bfloat16", free memory, or load a smaller model',
        )  # fmt: skip


def available(device: torch.device | None = None) -> int | None:
    """Return how many bytes a device has free; None where that cannot be known."""
    if not _is_cpu(device):
        assert device is not None  # a device that is not the CPU has been named
        return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None
    limits = [limit for limit in (_of_the_machine(), _of_the_group()) if limit is not None]
    return min(limits, default=None)


def _is_cpu(device: torch.device | None) -> bool:
    return device is None or device.type == "cpu"


def _of_the_machine() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in _INFO.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _of_the_group() -> int | None:
    """Return what a container may still take: its limit without what it holds, of which caches of files are given back."""
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        numbers = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such limit ("max"), or no such system
        return None
    return max(0, limit - used + int(numbers.get("inactive_file", 0)))


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.3g} GB" if size < 1e12 else f"{size / 1e9:,.0f} GB"
