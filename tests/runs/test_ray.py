"""The Ray engine without Ray: one sentence."""

import sys

import pytest
from runs.trials import experiment

from mechcausal.errors import UnsupportedError


def test_without_ray_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match="pip install"):
        experiment().run(tmp_path / "r", engine="ray", quiet=True)
