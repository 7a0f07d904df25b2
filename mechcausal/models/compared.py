"""Two ways to the same numbers, compared on the model at hand: on which prompts, and what counts as the same."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mechcausal.data.prompts import PromptSet, pad
from mechcausal.errors import MechcausalError, UnsupportedError
from mechcausal.models import bridge

_CALLER = 2  # frames of `theirs` and of its caller, which only make the call


@contextmanager
def theirs(what: str) -> Generator[None]:
    """Call code of the model, and turn what fails there into a missing ability with a name.

    A failure in the code of this package is a bug and passes, as does the end of memory.
    """
    try:
        yield
    except MechcausalError:
        raise
    except Exception as error:
        if _is_ours(error) or isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise
        raise UnsupportedError(f"{what}: {type(error).__name__}, {in_short(error)}") from error


def _is_ours(error: Exception) -> bool:
    """Say whether an error comes from this package: the last frame that is none of torch's."""
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    called = [name for name in names[_CALLER:] if name.partition(".")[0] != "torch"]
    return bool(called) and called[-1].partition(".")[0] == "mechcausal"


def probes(model: Any) -> list[tuple[PromptSet, PromptSet]]:  # noqa: ANN401
    """Return two small random batches, padded on either side, each with a source run."""
    cfg, device, draw = model.cfg, bridge.device_of(model), torch.Generator().manual_seed(11)
    longest = min(6, cfg.n_ctx)
    lengths = [longest, max(2, longest - 2), longest]
    outputs = cfg.d_vocab if getattr(cfg, "d_vocab_out", -1) in (None, -1) else cfg.d_vocab_out
    batches = []
    for side in ("right", "left"):
        texts = [[torch.randint(0, cfg.d_vocab, (n,), generator=draw).tolist() for n in lengths] for _ in "ab"]
        answer, foil = torch.randint(0, outputs, (2, len(lengths)), generator=draw)
        base, source = (PromptSet(*pad(tokens, side=side), side=side, answer=answer, foil=foil) for tokens in texts)
        batches.append((base.to(device), source.to(device)))
    return batches


def agree(fast: Tensor, slow: Tensor, model: Any) -> bool:  # noqa: ANN401
    """Say whether numbers of the engine are those of the loop, as far as the model's precision goes."""
    wide = next(bridge.underlying(model).parameters()).dtype in (torch.float32, torch.float64)
    if fast.shape != slow.shape or not slow.numel():
        return fast.shape == slow.shape
    fast, slow = fast.double(), slow.double()
    scale = torch.stack([slow.max() - slow.min(), slow.abs().max()]).max().clamp(min=1e-3)
    return bool(fast.isfinite().all() and (fast - slow).abs().max() <= (1e-4 if wide else 5e-2) * scale)


def in_short(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).partition("\n")[0][:200]
