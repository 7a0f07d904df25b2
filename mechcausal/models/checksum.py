"""A cheap checksum of tensors, which finds every change of their content, also one that torch does not count.

`parameter.data` shares its memory with the parameter and counts its versions apart, so an edit through it leaves no
trace. A digest of all weights at every call would be slow; this reads each number once and adds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

_BUCKETS = 1021  # a prime, so that rows, columns or heads that change places fall into other buckets
_SMALL = 1 << 16  # bytes that a CRC reads faster than torch starts an operation


def checksum(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    """Return one number for each tensor; it changes with any bit, and with the order of the entries."""
    sums: list[int | Tensor] = [_checksum(tensor) for tensor in tensors]
    waiting = [value for value in sums if isinstance(value, Tensor)]
    # Joined before they are read, because a graphics card is waited for at every reading.
    computed = iter(torch.stack([value.to(waiting[0].device) for value in waiting]).tolist()) if waiting else iter(())
    return tuple(next(computed) if isinstance(value, Tensor) else value for value in sums)


def _checksum(tensor: Tensor) -> int | Tensor:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if flat.device.type == "cpu" and len(flat) <= _SMALL:
        return zlib.crc32(flat.numpy().data)
    if flat.storage_offset() % 8:
        flat = flat.clone()
    size = len(flat) // (8 * _BUCKETS) * _BUCKETS
    weights = _weights(flat.device)
    body = _column_sums(flat[: 8 * size].view(torch.int64).reshape(-1, _BUCKETS))
    rest = flat[8 * size :].long()
    return (body * weights).sum() + (rest * (2 * torch.arange(len(rest), device=flat.device) + 1)).sum()


def _column_sums(table: Tensor) -> Tensor:
    # On a processor numpy adds the same numbers three times as fast, and both wrap around.
    return torch.from_numpy(table.numpy().sum(0)) if table.device.type == "cpu" else table.sum(0)


@cache
def _weights(device: torch.device) -> Tensor:
    """Return odd numbers, by which a change of one bucket is never lost; sums of int64 wrap around."""
    draw = torch.Generator().manual_seed(0)
    return (2 * torch.randint(-(2**61), 2**61, (_BUCKETS,), generator=draw) + 1).to(device)
