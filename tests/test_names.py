"""Variables and arguments are nouns that say what they hold: seven words that say nothing are refused."""

import ast
import symtable
from pathlib import Path

import mechcausal as mc

ROOT = Path(mc.__file__).parent.parent
FOLDERS = ("mechcausal", "benchmarks", "experiments")
REFUSED = frozenset({"one", "told", "found", "own", "known", "held", "whole"})
# Public keyword arguments, by file: whoever calls them wrote their names down.
PUBLIC = {"mechcausal/data/contrast.py": {"whole"}, "mechcausal/data/making.py": {"whole"}}


def fields(tree):
    """Return the nodes that name a field of a class: fields are public, and keep their names."""
    return {
        target
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for line in owner.body
        if isinstance(line, (ast.Assign, ast.AnnAssign))
        for target in (line.targets if isinstance(line, ast.Assign) else [line.target])
    }


def bound(node):
    """Return the name that a node binds, or None."""
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Store) else None
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return node.name
    if isinstance(node, ast.MatchMapping):
        return node.rest
    return node.asname if isinstance(node, ast.alias) else None


def mentions(code):
    """Say whether a refused name is anywhere in some code; this is much faster than to parse into Python objects."""
    tables = [symtable.symtable(code, "code", "exec")]
    while tables:
        table = tables.pop()
        if not REFUSED.isdisjoint(table.get_identifiers()):
            return True
        tables += table.get_children()
    return False


def refused(code, allowed=frozenset()):
    """Return the refused names in some code, with their lines."""
    if not mentions(code):
        return []
    tree = ast.parse(code)
    kept = fields(tree)
    places = ((getattr(node, "lineno", 0), bound(node)) for node in ast.walk(tree) if node not in kept)
    return sorted({(line, name) for line, name in places if name in REFUSED and name not in allowed})


def test_variables_say_what_they_hold():
    paths = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 500  # the folders are there
    places = [
        f"{path}:{line} {name}"
        for path in paths
        for line, name in refused((ROOT / path).read_text(encoding="utf-8"), PUBLIC.get(path.as_posix(), frozenset()))
    ]
    assert not places, f"rename these to nouns that say what they hold: {', '.join(places)}"


def test_exemptions_are_needed():
    for name, words in PUBLIC.items():
        places = refused((ROOT / name).read_text(encoding="utf-8"))
        assert {word for _, word in places} == words, f"exempt: {name}"


def test_every_way_to_bind_a_name_is_seen():
    bindings = [
        "one = 1", "one: int = 1", "one += 1", "x, (one, *y) = z", "(one := 1)", "for one in x: pass",
        "[one for one in x]", "with x as one: pass", "import x as one", "from x import y as one", "lambda one: 1",
        "def f(one): pass", "def f(*one): pass", "def f(x, /, *, one=1): pass", "def f(**one): pass",
        "try: x\nexcept E as one: pass", "match x:\n case [one]: pass", "match x:\n case [*one]: pass",
        "match x:\n case {**one}: pass", "class A:\n def f(self):\n  one = 1", "f'{[one for one in x]}'",
    ]  # fmt: skip
    for code in bindings:
        assert [name for _, name in refused(code)] == ["one"], code
    for code in ("x.one = 1", "f(one=1)", "x = {'one': one}", "class A:\n one: int = 1", "def one(): pass"):
        assert not refused(code), code
    assert not refused("def f(one): pass", {"one"})
