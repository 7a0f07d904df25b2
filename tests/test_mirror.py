"""Tests mirror the package: `mechcausal/a/b.py` is tested in `tests/a/test_b.py`, without exception."""

import ast
from pathlib import Path

import mechcausal as mc

PACKAGE = Path(mc.__file__).parent
TESTS = Path(__file__).parent


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
    missing = [str(mirror_of(Path(name)).relative_to(TESTS.parent)) for name in untested()]
    assert not missing, f"write {', '.join(missing)}"


def test_a_mirror_has_tests():
    for path in TESTS.rglob("test_*.py"):
        names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert any(name.startswith("test_") for name in names), f"{path} tests nothing"
