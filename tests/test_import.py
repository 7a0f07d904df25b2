"""The house rules that a reader cannot see at a glance: who imports whom, what is loaded when, how long modules are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mechcausal as mc

ROOT = Path(mc.__file__).parent
TIERS = [
    {"errors", "shapes", "address", "registry"},
    {"data", "interventions", "metrics"},
    {"models", "results"},
    {"patching", "causal", "circuits"},
    {"features"},
    {"audits", "runs"},
    {"report"},
    {"cli"},
]
# Within one tier only these may look at each other.
BESIDE = {("registry", "errors"), ("address", "errors"), ("metrics", "data")}


def rank(room):
    return next(number for number, tier in enumerate(TIERS) if room in tier)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "mechcausal")


def room_of(path):
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module(path):
    assert len(path.read_text().splitlines()) <= 400
    found = set(imports(path))
    lens = {name for name in found if name.split(".")[0] == "transformer_lens"}
    assert not lens or path == ROOT / "models" / "bridge.py"
    dictionaries = {name for name in found if name.split(".")[0] == "sae_lens"}
    assert not dictionaries or path == ROOT / "features" / "dictionaries" / "saelens.py"
    if path == ROOT / "__init__.py":
        return
    own = room_of(path)
    if path.name == "recipe.py":  # a script that makes an organism, on top of everything that teaches and measures
        own = "audits"
    for name in found:
        parts = name.split(".")
        if parts[0] != "mechcausal" or len(parts) < 2 or parts[1] == "__version__":
            continue
        other = parts[1]
        allowed = other == own or rank(other) < rank(own) or (own, other) in BESIDE
        assert allowed, f"{own} must not import {other} ({path})"


def test_importing_the_package_loads_no_heavy_library():
    code = "import sys, mechcausal, mechcausal.cli; print([m for m in ('torch', 'transformer_lens', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_need_no_torch():
    code = "import sys, mechcausal as mc; mc.results.load; print([m for m in ('torch', 'transformer_lens') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_face():
    for name in mc._HOME:
        assert getattr(mc, name) is not None
        assert name in dir(mc)
    with pytest.raises(AttributeError, match="no attribute 'ptach'"):
        _ = mc.ptach
