"""Engines by name, and the local one, which leaves the process as it was."""

from pathlib import Path

import pytest
import torch
from runs.trials import experiment

from mechcausal.errors import ArgumentError
from mechcausal.runs.engines import Local, engine


def test_engines_are_known_by_their_names(tmp_path):
    config = experiment().config
    with pytest.raises(ArgumentError, match="did you mean 'local'"):
        engine("locl", tmp_path, config, Path())
    with pytest.raises(ArgumentError, match="'workers' is an option of Ray"):
        engine("local", tmp_path, config, Path(), workers=2)
    assert isinstance(engine("local", tmp_path, config, Path(), workers=None), Local)


def test_the_number_of_threads_is_put_back(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        local = Local(tmp_path, experiment().config, Path())
        assert torch.get_num_threads() == 1
        local.stop()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
