"""Which runs there are, and who is at work."""

import json
import os
import platform

from runs.trials import experiment

from mechcausal.runs.listing import driver, listed, note


def test_runs_are_listed_while_they_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path / "cache"))
    experiment().run(tmp_path / "r", quiet=True)
    note(tmp_path / "gone")
    (found,) = listed()
    assert found["folder"] == str(tmp_path / "r")
    assert (found["planned"], found["done"], found["running"]) == (320, 320, False)


def test_a_driver_counts_while_its_process_lives(tmp_path):
    state = {"process": os.getpid(), "host": platform.node(), "rows_per_second": 1.0}
    (tmp_path / "driver.json").write_text(json.dumps(state))
    assert driver(tmp_path) == state
    (tmp_path / "driver.json").write_text(json.dumps({**state, "process": 2**22 + 1}))
    assert driver(tmp_path) is None
    (tmp_path / "driver.json").write_text("{")
    assert driver(tmp_path) is None
