"""What is installed, what this machine can do, what is missing and the command that mends it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CORE = (
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "pandas",
    "plotly",
    "pyarrow",
    "pydantic",
    "scipy",
    "typer",
)
EXTRAS = {
    "sae": ("sae-lens",),
    "gguf": ("gguf",),
    "ray": ("ray",),
    "notebook": ("jupyterlab", "nbconvert"),
    "dev": ("pytest", "ruff", "ty"),
}


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis; `fix` is the command to type, empty where nothing is wrong."""

    topic: str
    finding: str
    fix: str = ""

    def __str__(self) -> str:
        """Print as one line, with the fix on the next."""
        mark = "!" if self.fix else " "
        line = f"{mark} {self.topic:<18} {self.finding}"
        return f"{line}\n{'':<21}fix: {self.fix}" if self.fix else line


def diagnose() -> list[Check]:
    """Look at the installation; loads torch, never transformer-lens, and never the network."""
    checks = [Check("python", f"{platform.python_version()} on {platform.platform()}")]
    checks += [_package(name) for name in ("mechcausal", *CORE)]
    checks += [_extra(name, packages) for name, packages in EXTRAS.items()]
    return [*checks, _pairing(), *_device(), _cache(), _organisms(), _adapters(), *_real_models()]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _package(name: str) -> Check:
    installed = _installed(name)
    return Check(name, installed) if installed else Check(name, "missing", f"pip install {name}")


def _extra(name: str, packages: tuple[str, ...]) -> Check:
    versions = ", ".join(f"{package} {_installed(package) or 'not installed'}" for package in packages)
    missing = any(_installed(package) is None for package in packages)
    note = f" (optional: pip install 'mechcausal[{name}]')" if missing else ""
    return Check(f"extra [{name}]", versions + note)


def _pairing() -> Check:
    lens, sae = _installed("transformer-lens") or "", _installed("sae-lens")
    if sae and lens.startswith("4."):
        fix = "pip install 'transformer-lens<4', or pip uninstall sae-lens"
        return Check("pairing", f"sae-lens {sae} cannot be imported beside transformer-lens {lens}", fix)
    return Check("pairing", "transformer-lens and sae-lens fit together" if sae else "no sae-lens, nothing to fit")


def _device() -> list[Check]:
    if _installed("torch") is None:
        return []
    import torch

    kind = "cpu"
    if torch.cuda.is_available():
        kind = f"cuda ({torch.cuda.get_device_name(0)})"
    elif torch.backends.mps.is_available():
        kind = "mps"
    return [Check("device", f"{kind}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads")]


def _cache() -> Check:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    models = sorted(path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*"))
    mode = "offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") not in (None, "", "0") else "online"
    listed = ", ".join(models[:8]) + (" ..." if len(models) > 8 else "") if models else "no models"
    return Check("hub cache", f"{mode}, {hub}: {listed}")


def _organisms() -> Check:
    from mechcausal.catalog import ORGANISMS
    from mechcausal.organisms import folder

    absent = [name for name in ORGANISMS if not (folder(name) / "weights" / "model.safetensors").exists()]
    if absent:
        return Check("organisms", f"weights missing: {', '.join(absent)}", "pip install --force-reinstall mechcausal")
    return Check("organisms", ", ".join(f"organism:{name}" for name in ORGANISMS))


def _adapters() -> Check:
    from mechcausal.catalog import ADAPTERS
    from mechcausal.organisms import folder

    absent = [name for name in ADAPTERS if not (folder(name) / "adapter" / "adapter_model.safetensors").exists()]
    if absent:
        return Check("adapters", f"weights missing: {', '.join(absent)}", "pip install --force-reinstall mechcausal")
    return Check("adapters", ", ".join(f"organism:{name}" for name in ADAPTERS))


def _real_models() -> list[Check]:
    from mechcausal.models.wheels import WHEELS

    checks = []
    for name, wheel in WHEELS.items():
        there = wheel.file() is not None
        # It is optional, so its absence is no fault.
        state = f'installed: mc.load("{name}")' if there else f"not installed (optional: {wheel.command})"
        checks.append(Check(name, f"{wheel.about}, {state}"))
    return checks
