"""Experiments from a file, rows that survive, one machine or many."""

from __future__ import annotations

from mechcausal.face import shown
from mechcausal.runs.config import ExperimentError as ExperimentError
from mechcausal.runs.experiment import Experiment as Experiment
from mechcausal.runs.run import Run as Run

__dir__ = shown(globals())
