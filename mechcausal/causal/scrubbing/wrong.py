"""Wrong hypotheses made from a true one, each wrong in a known way: what a method must tell apart.

For each the nodes are known that a report should blame: the claim about a variable that depends on something else, or
the rest of a node that reads something the hypothesis does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mechcausal.address import Place
from mechcausal.arguments import Model, Seed, checked
from mechcausal.causal.hypothesis import Hypothesis, column_of, same_kind, table_of
from mechcausal.causal.scrubbing.sampling import CLAIM, REST
from mechcausal.causal.scrubbing.tree import Node, check_tree, tree_of
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError
from mechcausal.models.abilities import abilities


@dataclass(frozen=True)
class Wrong:
    """A wrong hypothesis.

    Attributes:
        kind: How it is wrong.
        what: The same in a sentence.
        root: Its tree.
        blame: The nodes and kinds of claim that a report may name.
    """

    kind: str
    what: str
    root: Node
    blame: tuple[tuple[str, str], ...]


def influence(hypothesis: Hypothesis, prompts: PromptSet, seed: int = 0) -> dict[str, float]:
    """Return how often the outcome changes when a variable takes the value it has in another unit."""
    table = table_of(prompts)
    order = np.random.default_rng([seed, 31]).permutation(len(prompts))
    before = table[hypothesis.outcome]
    return {
        v: float(np.mean(hypothesis.answers(table, **{v: table[v][order]}) != before)) for v in hypothesis.variables
    }


@checked
def wrong_hypotheses(model: Model, prompts: PromptSet, hypothesis: Hypothesis, seed: Seed = 0) -> list[Wrong]:
    """Return one wrong hypothesis of each kind that this one allows, about its most influential variables.

    Kinds: missing variable, wrong parent (the claim is about another variable), wrong site, swapped variables, and
    over-coarse (the claim forgets part of the value).
    """
    able = abilities(model)
    root = tree_of(hypothesis)
    strength = influence(hypothesis, prompts, seed)
    ranked = sorted(hypothesis.variables, key=lambda v: -strength[v])
    makers: list[list[Callable[[str], Wrong | None]]] = [
        [lambda v: _missing(hypothesis, root, v)],
        [lambda v: _wrong_parent(hypothesis, root, prompts, v)],
        [lambda v: _wrong_site(able, hypothesis, root, v, seed)],
        # Those that do not read each other first: there the mistake is no mere change of detail.
        [lambda v: _swapped(hypothesis, root, v, apart(v)), lambda v: _swapped(hypothesis, root, v, ranked)],
        [lambda v: _over_coarse(hypothesis, root, prompts, v)],
    ]

    def apart(variable: str) -> list[str]:
        near = {*hypothesis.parents(variable), *(v for v in ranked if variable in hypothesis.parents(v))}
        return [other for other in ranked if other not in near]

    def holds(wrong: Wrong) -> bool:
        try:
            check_tree(able, wrong.root, prompts)
        except MechcausalError:
            return False
        return True

    hypotheses = []
    for kind in makers:
        tried = (make(variable) for make in kind for variable in ranked)
        first = next((wrong for wrong in tried if wrong is not None and holds(wrong)), None)
        hypotheses += [first] if first else []
    return hypotheses


def _nodes(root: Node, variable: str) -> list[Node]:
    return [node for node in root.walk() if node is not root and node.feature == variable]


def _reader(root: Node, name: str) -> Node:
    return next(node for node in root.walk() if any(child.name == name for child in node.children))


def _missing(hypothesis: Hypothesis, root: Node, variable: str) -> Wrong | None:
    if hypothesis.given and len(hypothesis.variables) == len([n for n in root.walk() if n.children]):
        # In a chain no variable can be left out, but what it reads besides can.
        tree = root.each(given=())
        blame = tuple((node.name, REST) for node in root.walk() if node.children and node.given)
        return Wrong("missing variable", f"{', '.join(hypothesis.given)} is resampled", tree, blame)
    tree, blame = root, []
    for node in _nodes(root, variable):
        reader = _reader(root, node.name)
        # Without its last input a node is a leaf, which claims less and is no less true.
        if len(reader.children) < 2:
            return None
        tree = tree.dropped(node.name)
        blame.append((reader.name, REST))
    return Wrong("missing variable", f"{variable} has no place", tree, tuple(blame)) if blame else None


def _wrong_parent(hypothesis: Hypothesis, root: Node, prompts: PromptSet, variable: str) -> Wrong | None:
    values = column_of(prompts, variable).reshape(len(prompts), -1)[:, 0]
    related = {variable, *hypothesis.scm.ancestors(variable), *hypothesis.scm.descendants(variable), hypothesis.outcome}
    others = [v for v in (*hypothesis.variables, *hypothesis.scm.order) if v not in related]
    for other in others:
        column = column_of(prompts, other)
        sizes = np.unique(column, axis=0, return_counts=True)[1]
        if column.ndim == 1 and len(sizes) > 1 and sizes.min() > 1 and len(np.unique(values)) > 1:
            return _claims(root, variable, other, "wrong parent", f"what carries {variable} is said to carry {other}")
    return None


def _wrong_site(able: Any, hypothesis: Hypothesis, root: Node, variable: str, seed: int) -> Wrong | None:  # noqa: ANN401
    named = [part.site for parts in hypothesis.alignment.values() for part in parts]
    parts = hypothesis.alignment[variable]
    readers = [_reader(root, node.name) for node in _nodes(root, variable)]
    before = min((p.depth for reader in readers for p in reader.sites), default=(1_000_000, 0.0))
    below = [p.depth for node in _nodes(root, variable) for child in node.children for p in child.sites]
    rooms = [r for r in same_kind(able, parts[0], named) if max(below, default=(-1, 0.0)) < r.depth < before]
    if len(parts) != 1 or not rooms:
        return None
    room = rooms[np.random.default_rng([seed, 37]).integers(len(rooms))]

    def move(part: Place) -> Place:
        return replace(part, site=room.site) if part == parts[0] else part

    blame = tuple((reader.name, REST) for reader in readers)
    return Wrong("wrong site", f"{variable} is put at {room.site} instead of {parts[0].site}", root.placed(move), blame)


def _swapped(hypothesis: Hypothesis, root: Node, variable: str, others: Sequence[str]) -> Wrong | None:
    for other in others:
        if other == variable or not _nodes(root, other):
            continue
        tree = root
        for node in _nodes(root, variable):
            tree = tree.changed(node.name, feature=other)
        for node in _nodes(root, other):
            tree = tree.changed(node.name, feature=variable)
        blame = tuple((node.name, CLAIM) for v in (variable, other) for node in _nodes(root, v))
        return Wrong("swapped variables", f"{variable} and {other} are said to be in each other's place", tree, blame)
    return None


def _over_coarse(hypothesis: Hypothesis, root: Node, prompts: PromptSet, variable: str) -> Wrong | None:
    column = column_of(prompts, variable)
    values = np.unique(column)
    if column.ndim != 1 or len(values) < 2:
        return None
    if len(values) > 2:
        # The two halves of its values are taken for one each.
        middle = values[len(values) // 2]

        def coarse(prompts: PromptSet) -> np.ndarray:
            return (column_of(prompts, variable) >= middle).astype(int)

        return _claims(root, variable, coarse, "over-coarse", f"of {variable} only whether it is at least {middle}")
    related = {variable, *hypothesis.scm.ancestors(variable), *hypothesis.scm.descendants(variable)}
    for other in hypothesis.scm.order:
        apart = column_of(prompts, other) if other not in related and other != hypothesis.outcome else np.zeros(0)
        if apart.ndim != 1 or len(np.unique(apart)) < 2:
            continue
        half = np.median(np.unique(apart))

        def forgetful(prompts: PromptSet, other: str = other, half: float = half) -> np.ndarray:
            """The value where another variable is low, nothing where it is high."""
            is_low = column_of(prompts, other) < half
            return np.where(is_low, column_of(prompts, variable), values.max() + 1)

        return _claims(root, variable, forgetful, "over-coarse", f"{variable} only where {other} is below {half:g}")
    return None


def _claims(root: Node, variable: str, feature: Any, kind: str, what: str) -> Wrong | None:  # noqa: ANN401
    tree = root
    for node in _nodes(root, variable):
        tree = tree.changed(node.name, feature=feature)
    return Wrong(kind, what, tree, tuple((node.name, CLAIM) for node in _nodes(root, variable)))
