"""The house rules that a reader cannot see at a glance: who imports whom, what is loaded when, how long modules are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mechcausal as mc

ROOT = Path(mc.__file__).parent
DESIGN = (ROOT.parent / "docs" / "design.md").read_text()
# The line of docs/design.md that says who stands below whom is the rule itself.
TIERS = [tier.split() for tier in re.search(r"^`(errors [^`]*)`", DESIGN, re.MULTILINE)[1].split("->")]
# Folders within a tier, or within a folder, that may not look at each other; "a b" means a is below b.
WITHIN = {
    "causal": ["hypothesis", "answers fields", "scrubbing alignment training", "mediation", "selftest"],
    "dictionaries": ["*", "screening", "cards"],
    "probes": ["*", "erasure"],
    "circuits": ["*", "features"],
}
ALONE = {"transformer_lens": Path("models/bridge.py"), "sae_lens": Path("dictionaries/saelens.py")}


def rank(room):
    ranks = [number for number, tier in enumerate(TIERS) if room in tier]
    assert len(ranks) == 1, f"docs/design.md does not say where {room!r} stands"
    return ranks[0]


def rank_within(room, part):
    tiers = [tier.split() for tier in WITHIN[room]]
    return next(
        (n for n, tier in enumerate(tiers) if part in tier),
        next(n for n, t in enumerate(tiers) if "*" in t) if ["*"] in tiers else 0,
    )


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if is_module(f"{node.module}.{alias.name}")
            )


def is_module(name):
    path = ROOT.parent / Path(*name.split("."))
    return name.startswith("mechcausal") and (path.with_suffix(".py").is_file() or path.is_dir())


def rooms_of(name):
    return name.split(".")[1:]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module(path):
    assert len(path.read_text().splitlines()) <= 400
    inside = path.relative_to(ROOT)
    found = set(imports(path))
    for library, place in ALONE.items():
        assert not any(name.split(".")[0] == library for name in found) or inside == place
    own = [*inside.parts[:-1], inside.stem]
    if own == ["__init__"]:
        return
    for name in found:
        other = rooms_of(name)
        if name.split(".")[0] != "mechcausal" or not other or other[0] == "__version__":
            continue
        if other[0] != own[0]:
            assert rank(other[0]) < rank(own[0]), f"{own[0]} must not import {name} ({inside})"
        elif own[0] in WITHIN and len(other) > 1 and own[1] != "__init__" and other[1] != own[1]:
            mine, theirs = (rank_within(own[0], part) for part in (own[1], other[1]))
            same = mine == theirs and "*" in WITHIN[own[0]][mine].split()
            assert same or theirs < mine, f"{'.'.join(own)} must not import {name}"


def test_every_room_has_its_place_in_the_design():
    rooms = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - {"__init__"} == {room for tier in TIERS for room in tier}


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
