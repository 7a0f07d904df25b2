"""A tracker is told how far a run is, and there is none by default."""

import pytest
from runs.trials import experiment

from mechcausal.errors import ArgumentError


class Told:
    def __init__(self):
        self.calls = []

    def init(self, **options):
        self.calls.append(("init", options))

    def log(self, numbers):
        self.calls.append(("log", numbers))

    def finish(self):
        self.calls.append(("finish", None))


def test_a_tracker_hears_of_begin_progress_and_end(tmp_path):
    told = Told()
    experiment().run(tmp_path / "r", track=told, quiet=True)
    names = [name for name, _ in told.calls]
    assert names[0] == "init"
    assert names[-1] == "finish"
    assert told.calls[0][1]["config"]["name"] == "trial"
    assert told.calls[-2] == ("log", told.calls[-2][1])
    assert told.calls[-2][1]["rows"] == 320


def test_what_is_no_tracker_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="init, log and finish"):
        experiment().run(tmp_path / "r", track=object(), quiet=True)
    with pytest.raises(ArgumentError, match="did you mean 'wandb'"):
        experiment().run(tmp_path / "r", track="wandbb", quiet=True)
