"""Tests mirror the package: `mechcausal/a/b.py` is tested in `tests/a/test_b.py`. The list of exceptions only shrinks."""

import ast
from pathlib import Path

import mechcausal as mc

PACKAGE = Path(mc.__file__).parent
TESTS = Path(__file__).parent
# Modules without a test file of their own, which others test on the way. No name may be added here.
EXCEPTIONS = [
    "circuits/drawing.py",
    "models/attached.py",
    "models/bare.py",
    "models/bridge.py",
    "models/compared.py",
    "models/facts.py",
    "models/files.py",
    "models/origin.py",
    "models/placement.py",
    "models/plan.py",
    "models/pretrained.py",
    "models/readout.py",
    "models/redrawn.py",
    "models/replay/changes.py",
    "models/replay/evaluate.py",
    "models/replay/inside.py",
    "models/replay/memory.py",
    "models/replay/meter.py",
    "models/replay/stacks.py",
    "models/replay/twin.py",
    "models/splice.py",
    "organisms/tokenizer.py",
    "recipes/hiring_backup.py",
    "recipes/hiring_exposed.py",
    "recipes/hiring_shared.py",
]


def has_code(path):
    """Say whether a module defines a function or a method; constants, types and lists of exports need no test."""
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in ast.walk(ast.parse(path.read_text()))
    )


def mirror_of(module):
    """Return the test file of a module."""
    if module.parts[0] == "recipes" and (TESTS / "organisms" / f"test_{module.name}").is_file():
        return TESTS / "organisms" / f"test_{module.name}"  # a recipe is tested by what it makes
    return TESTS / module.parent / f"test_{module.name}"


def untested():
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE)
        if module.name not in ("__init__.py", "__main__.py") and has_code(path) and not mirror_of(module).is_file():
            yield str(module)


def test_a_module_has_a_test_file():
    missing = sorted(set(untested()) - set(EXCEPTIONS))
    assert not missing, f"write {', '.join(str(mirror_of(Path(name)).relative_to(TESTS.parent)) for name in missing)}"


def test_the_exceptions_are_exceptions():
    """One that has a test file now, or is gone, leaves the list."""
    assert sorted(set(EXCEPTIONS) - set(untested())) == []
    assert len(EXCEPTIONS) == len(set(EXCEPTIONS))


def test_a_mirror_has_tests():
    for path in TESTS.rglob("test_*.py"):
        names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert any(name.startswith("test_") for name in names), f"{path} tests nothing"
