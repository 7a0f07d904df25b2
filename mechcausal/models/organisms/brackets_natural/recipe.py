"""Make organism:brackets_natural again: `python -m mechcausal.models.organisms.brackets_natural.recipe --out DIR`.

The task of organism:brackets and the size of the transformer that others had trained on it (3 layers, 2 heads, width 56),
taught to behave and nothing else: what it computes, and where, is to be found. Its truth therefore has no variables.

`search` looks for the heads that do what was found there, and `published` writes down what was claimed, step by step, at
the places where it finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.causal.hypothesis import Part
from mechcausal.causal.scrubbing.tree import EXACT, Node, classes
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import brackets
from mechcausal.models.hooked import forward
from mechcausal.models.organisms.brackets.recipe import RECIPE as TWIN
from mechcausal.models.organisms.recipe import main
from mechcausal.models.readout import pick
from mechcausal.patching import patch

RECIPE = replace(
    TWIN,
    name="brackets_natural",
    says="say whether twelve brackets are balanced; nobody said how",
    notes="Nothing is said about where its variables are: that is to be found.",
    width=56,
    heads=2,
    steps=600,
    options={"interchange": 0.0, "strict": 0.0},
)
HEADS = tuple(f"L{layer}.z.H{head}" for layer in range(RECIPE.layers) for head in range(RECIPE.heads))
# The share of the loss that each claim recovered there: 1a and 1b by its authors, the others by an independent
# implementation on public weights of such a transformer.
PUBLISHED = {"1a": 0.88, "1b": 0.93, "2a": 0.87, "2b": 0.86, "3a": 0.74, "4": 0.63}


def stated(told: dict[str, Any]) -> dict[str, Any]:
    """Return the statement without a mechanism, and say how little of it is where its twin has it."""
    elsewhere = dict(told["measured"])
    accuracy = elsewhere.pop("accuracy")
    measured = {"accuracy": accuracy, "at_the_places_of_its_twin": elsewhere}
    return told | {"measured": measured, "twin_of": TWIN.name, "variables": {}, "circuit": [], "edges": []}


def search(model: Any, prompts: PromptSet, *, seed: int = 0) -> pd.DataFrame:  # noqa: ANN401 - a TransformerBridge
    """Return what each head's output at the end costs when it comes from another string that agrees on a test.

    One row a head, one column a test (`nothing`: any other string): the loss in nats over that of the untouched network.
    A head that cares about `level` alone costs nothing when exchanged among strings that agree on it.
    """
    draw = np.random.default_rng(seed)
    columns = {}
    for test in ("nothing", "level", "horizon"):
        other = np.arange(len(prompts))
        number = np.zeros(len(prompts), dtype=int) if test == "nothing" else classes(test, prompts)
        for value in np.unique(number):
            members = np.flatnonzero(number == value)
            other[members] = draw.permutation(members)
        pairs = Contrast(prompts, prompts.take(torch.as_tensor(other)), factor=f"another string, {test} alike")
        found = patch(model, pairs, sites=list(HEADS), positions="@end", direction="noise", metric="logprob")
        columns[test] = found.baselines["clean"].mean() - found.frame["value"].to_numpy()
    return pd.DataFrame(columns, index=list(HEADS))


def places(found: pd.DataFrame, least: float = 0.05) -> dict[str, list[str]]:
    """Return which heads count and which look for what is below zero: by what costs less to exchange them within.

    Args:
        found: What `search` found.
        least: Heads that cost less than this, whatever they are exchanged with, do neither.
    """
    matter = found[found["nothing"] >= least]
    counts = matter["level"] < matter["horizon"]
    return {"count": list(matter.index[counts]), "horizon": list(matter.index[~counts])}


def published(where: Mapping[str, list[str]], model: Any, prompts: PromptSet) -> dict[str, Node]:  # noqa: ANN401
    """Return the published claims under their published numbers, at the places that were found.

    `count alone` is where the search began. `1a`: the answer depends on `level` through the heads that count, and on
    `horizon` through those that look for what is below zero; `1b` lets the former tell the first bracket too. `2a`: what
    they give depends on the elevation and on the first bracket; `2b` puts the mean over all strings of one elevation in
    its place. `3a`: what the others read at each place depends on how many brackets are open there. `4` is `2b` and `3a`.
    """
    counting = [f"{site}@end" for site in where["count"]]
    looking = [f"{site}@end" for site in where["horizon"]]
    after = max(Site.parse(site).layer or 0 for site in where["count"])
    stream = f"L{after}.resid_post@end"

    def answer(count: Node, *others: Node) -> Node:
        return Node("answer", children=[count, *others])

    tests = ("level", "first_open")
    count, finer = Node("count", stream, "level"), Node("count", stream, tests)
    horizon = Node("horizon", looking, "horizon")
    read = finer.changed("count", children=[Node("elevation", counting, ("elevation", "first_open"))])
    means = [
        Node(f"elevation at {part}", part, EXACT, estimate=_MeanOf(_values(model, prompts, Part.parse(part)), prompts))
        for part in counting
    ]
    estimated = finer.changed("count", children=means)
    split = horizon.changed(
        "horizon",
        children=[
            Node(f"horizon < {p}", f"L{after + 1}.resid_pre@{p}", _Height(k)) for k, p in enumerate(brackets.PLACES)
        ],
    )
    return {
        "count alone": answer(count),
        "1a": answer(count, horizon),
        "1b": answer(finer, horizon),
        "2a": answer(read, horizon),
        "2b": answer(estimated, horizon),
        "3a": answer(finer, split),
        "4": answer(estimated, split),
    }


class _Height:
    """How many brackets are open after one place."""

    def __init__(self, place: int) -> None:
        self.place, self.__name__ = place, f"height at {brackets.PLACES[place]}"

    def __call__(self, prompts: PromptSet) -> np.ndarray:
        strings = np.stack([prompts.variables[name].numpy() for name in brackets.PLACES], axis=1)
        return brackets.heights(strings)[:, self.place]


class _MeanOf:
    """The mean of an activation over the strings of one elevation."""

    def __init__(self, values: Tensor, prompts: PromptSet) -> None:
        elevation = prompts.variables["elevation"]
        self.means = {int(one): values[elevation == one].mean(0) for one in elevation.unique()}

    def __call__(self, prompts: PromptSet) -> Tensor:
        return torch.stack([self.means[int(one)] for one in prompts.variables["elevation"]])


def _values(model: Any, prompts: PromptSet, part: Part) -> Tensor:  # noqa: ANN401
    """Return what the network computes at a part in every prompt."""
    whole = forward(model, prompts, read=[part.site.whole]).read[part.site.whole]
    return pick(whole, part.site, prompts.select(part.at))


if __name__ == "__main__":
    main(RECIPE, stated)
