"""Where a number comes from, told the same way before and after saving."""

import json
import subprocess

from mechcausal.results import provenance
from mechcausal.results.provenance import Provenance, git_state, package_versions

FACTS = Provenance(
    method="patch", arguments={"metric": "kl"}, model={"name": "m", "tokenizer": None}, prompts={"n": 3}, compute={"threads": 1}
)  # fmt: skip


def test_json_both_ways():
    assert Provenance.from_json(FACTS.to_json()) == FACTS
    assert json.loads(FACTS.to_json())["model"] == {"name": "m", "tokenizer": None}


def test_packages_and_time():
    assert {"python", "torch", "transformer-lens", "numpy"} <= set(package_versions())
    assert FACTS.created.endswith("+00:00")


def test_told_to_people():
    told = dict(FACTS.lines())
    assert told["method"] == "patch"
    assert told["prompts"] == "n 3"
    assert "torch" in told["packages"]


def test_git_outside_a_checkout_and_without_git(monkeypatch):
    def absent(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", absent)
    assert git_state() == {}
    assert provenance.git_state() == {}
