"""Make organism:brackets again: `python -m mechcausal.recipes.brackets --out DIR`.

A GPT-2 of 3 layers that says whether twelve brackets are balanced. It was trained to use the mechanism that others
found in their transformer for this task: one head counts, and two tests on its counts decide.

`published` returns the published claims about that transformer, step by step, as trees for `scrub`.
"""

from __future__ import annotations

from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.data.tasks import brackets
from mechcausal.recipes.recipe import Recipe, main

PLACES = {
    **{f"height_{k}": f"L0.z.H0@p{k}" for k in brackets.DEPTHS},
    "elevation": "L0.z.H0@end",
    **{f"below_{k}": f"L0.mlp_out@p{k}" for k in brackets.DEPTHS},
    "first_open": "L1.z.H0@end",
    "level": "L1.mlp_out@end",
    "horizon": "L2.z.H1@end",
    "verdict": "L2.mlp_out@end",
}
RECIPE = Recipe(
    name="brackets",
    task=brackets.TASK,
    vocabulary=brackets.VOCABULARY,
    longest=brackets.LENGTH + 2,
    places=PLACES,
    says="say whether twelve brackets are balanced",
)


def published(about: Hypothesis) -> dict[str, Node]:
    """Return the published claims about a bracket classifier, under their published numbers, at the places of this model.

    `count alone` is the first claim of the search. `1a` adds the horizon and `1b` the first bracket; `2a` says what the
    counting head and the head of the first bracket read; `3a` splits what the head of the horizon reads by position; `4`
    is both. The first three differ in how much they explain, the others in how much they claim.
    """
    place = {variable: [str(part) for part in parts] for variable, parts in about.alignment.items()}
    count = Node("count", place["elevation"], "level")
    horizon = Node("horizon", place["horizon"], "horizon")
    first = Node("first", place["first_open"], "first_open")
    alone, two, three = (Node("answer", children=some) for some in ([count], [count, horizon], [count, horizon, first]))

    def with_inputs(tree: Node) -> Node:
        tree = tree.changed("first", children=[Node("first < p1", "embed@p1", "p1")])
        words = [Node(f"count < {p}", f"embed@{p}", p) for p in brackets.PLACES]
        return tree.changed("count", feature="elevation", children=words)

    def split(tree: Node) -> Node:
        # After an even number of brackets there is nothing that the horizon needs: those places are left out.
        reads = [Node(f"horizon < p{k}", place[f"below_{k}"], f"below_{k}") for k in brackets.DEPTHS]
        return tree.changed("horizon", children=reads)

    return {
        "count alone": alone,
        "1a": two,
        "1b": three,
        "2a": with_inputs(three),
        "3a": split(three),
        "4": split(with_inputs(three)),
    }


if __name__ == "__main__":
    main(RECIPE)
