"""A tracker is told how far a run is: anything with `init`, `log` and `finish`, as wandb has them. There is none by default."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mechcausal.errors import ArgumentError, did_you_mean
from mechcausal.runs.config import Config

if TYPE_CHECKING:
    from mechcausal.runs.driver import Tally

TRACKERS = ("wandb", "trackio", "swanlab")
_EVERY = 5.0  # seconds


class Tracker:
    """Tell a tracker what happens, at most every few seconds.

    Args:
        track: The tracker, its name, or None.
        config: The experiment.
    """

    def __init__(self, track: Any, config: Config) -> None:  # noqa: ANN401
        self._track = _named(track) if isinstance(track, str) else track
        self._last = float("-inf")
        if self._track is not None:
            missing = [name for name in ("init", "log", "finish") if not callable(getattr(self._track, name, None))]
            if missing:
                raise ArgumentError("a tracker has init, log and finish", got=f"no {missing[0]}", fix='track="wandb"')
            self._track.init(project="mechcausal", name=config.name, config=config.model_dump(mode="json"))

    def log(self, tally: Tally, *, now: bool = False) -> None:
        """Say how far the run is."""
        if self._track is None or (not now and time.perf_counter() - self._last < _EVERY):
            return
        self._last = time.perf_counter()
        self._track.log(
            {"rows": tally.done, "planned": tally.planned, "failed": tally.failed, "rows_per_second": tally.pace}
        )

    def finish(self) -> None:
        """Say that the run has ended."""
        if self._track is not None:
            self._track.finish()


def _named(name: str) -> Any:  # noqa: ANN401 - a module
    if name not in TRACKERS:
        raise ArgumentError(f"there is no tracker {name!r}", fix=did_you_mean(name, TRACKERS))
    try:
        return import_module(name)
    except ImportError:
        raise ArgumentError(f"{name} is not installed", fix=f"pip install {name}") from None
