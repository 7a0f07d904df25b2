"""Experiments from a file, rows that survive, one machine or many.

Names are imported on first use, so that a process that only reads or writes rows loads neither torch nor transformer-lens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mechcausal.face import lazy

if TYPE_CHECKING:
    from mechcausal.runs.config import ExperimentError as ExperimentError
    from mechcausal.runs.experiment import Experiment as Experiment
    from mechcausal.runs.run import Run as Run

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ExperimentError": "mechcausal.runs.config",
        "Experiment": "mechcausal.runs.experiment",
        "Run": "mechcausal.runs.run",
    },
)
