"""Where a number comes from: code, packages, model, prompts, precision, seed, time."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("mechcausal", "torch", "transformer-lens", "transformers", "sae-lens", "scikit-learn", "numpy", "pandas")


@dataclass(frozen=True)
class Provenance:
    """All that is needed to trace a result, and to tell two results apart.

    Attributes:
        method: The function that made it.
        arguments: What it was asked, as JSON.
        model: Name, architecture, digests of weights and tokenizer.
        prompts: Name, digest, number and factor of the prompts.
        compute: Device, dtype, threads, batch size, forwards, seconds.
        seed: The seed of everything random.
        git: Commit of the code and whether it had uncommitted changes; empty outside a checkout.
        packages: Versions of what computed it.
        created: When, in UTC.
    """

    method: str
    arguments: dict[str, Any]
    model: dict[str, Any]
    prompts: dict[str, Any]
    compute: dict[str, Any]
    seed: int | None = None
    git: dict[str, Any] = field(default_factory=lambda: dict(_state_at_first()))
    packages: dict[str, str] = field(default_factory=lambda: package_versions())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_json(self) -> str:
        """Return the JSON text from which `from_json` makes an equal provenance."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def lines(self) -> list[tuple[str, str]]:
        """Return the facts as (name, value) for people."""
        groups = {
            "model": self.model,
            "prompts": self.prompts,
            "compute": self.compute,
            "git": self.git,
            "packages": self.packages,
        }
        facts = [("method", self.method), ("arguments", json.dumps(self.arguments))]
        facts += [(name, ", ".join(f"{key} {value}" for key, value in group.items())) for name, group in groups.items()]
        return [*facts, ("seed", str(self.seed)), ("created", self.created)]


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute results; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@cache
def _state_at_first() -> dict[str, Any]:
    """Return the state of the checkout when this process first asked: what is loaded does not change with the files."""
    return git_state()


def git_state() -> dict[str, Any]:
    """Return commit and dirty flag of the checkout this package runs from; empty if it is installed without one."""
    here = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    root, commit = git("rev-parse", "--show-toplevel"), git("rev-parse", "HEAD")
    if commit is None or root is None or Path(root).resolve() != here:
        return {}
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))}
