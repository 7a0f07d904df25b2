"""Make organism:brackets_natural again: `python -m mechcausal.recipes.brackets_natural --out DIR`.

The task is that of organism:brackets, and the size is that of the transformer that others trained on it (3 layers, 2
heads, width 56). Training rewards behavior alone, so nobody knows what the model computes, or where. Its truth
therefore has no variables.

`search` looks for heads that do what the published heads do. `published` returns the published claims, step by step,
with the places that were found. `survey` repeats this in networks that were trained from other seeds; they differ:
`python -m mechcausal.recipes.brackets_natural --survey 12`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.causal.scrubbing.scrub import scrub
from mechcausal.causal.scrubbing.tree import Node, classes
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import brackets
from mechcausal.errors import SiteError
from mechcausal.models.hooked import forward
from mechcausal.models.readout import pick
from mechcausal.patching import patch
from mechcausal.recipes.brackets import RECIPE as TWIN
from mechcausal.recipes.recipe import main

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
PUBLISHED = {"1a": 0.88, "1b": 0.93, "2a": 0.87, "2b": 0.86, "3a": 0.74, "3b": 0.72, "4": 0.63}


def stated(record: dict[str, Any]) -> dict[str, Any]:
    """Return the statement without a mechanism, with the measurements at the places of its twin."""
    elsewhere = dict(record["measured"])
    accuracy = elsewhere.pop("accuracy")
    measured = {"accuracy": accuracy, "at_the_places_of_its_twin": elsewhere}
    return record | {"measured": measured, "twin_of": TWIN.name, "variables": {}, "circuit": [], "edges": []}


def search(model: Any, prompts: PromptSet, *, seed: int = 0) -> pd.DataFrame:  # noqa: ANN401 - a TransformerBridge
    """Return the cost of taking each head's output at the end from another string that agrees on a test.

    The table has one row for each head and one column for each test (`nothing`: any other string). It holds the loss in
    nats minus that of the unedited network. A head that depends on `level` alone costs nothing if its output comes from
    a string that agrees on `level`.
    """
    draw = np.random.default_rng(seed)
    columns = {}
    for test in ("nothing", "level", "horizon"):
        other = np.arange(len(prompts))
        number = np.zeros(len(prompts), dtype=int) if test == "nothing" else classes(test, prompts)
        for value in np.unique(number):
            members = np.flatnonzero(number == value)
            other[members] = draw.permutation(members)
        # Both sides of a pair are measured on the answer to the clean string.
        corrupt = replace(prompts.take(torch.as_tensor(other)), answer=prompts.answer, foil=prompts.foil)
        pairs = Contrast(prompts, corrupt, factor=f"another string, {test} alike")
        patched = patch(model, pairs, sites=list(HEADS), at="@end", direction="noise", metric="logprob")
        columns[test] = patched.baselines["clean"].mean() - patched.frame["value"].to_numpy()
    return pd.DataFrame(columns, index=list(HEADS))


def places(costs: pd.DataFrame, least: float = 0.05) -> dict[str, list[str]]:
    """Return the heads that count and the heads that look for a level below zero, by the test for which each costs less.

    Args:
        costs: The table that `search` returns.
        least: Heads that cost less than this, with any other string, do neither.
    """
    matter = costs[costs["nothing"] >= least]
    counts = matter["level"] < matter["horizon"]
    return {"count": list(matter.index[counts]), "horizon": list(matter.index[~counts])}


def published(where: Mapping[str, list[str]], model: Any, prompts: PromptSet) -> dict[str, Node]:  # noqa: ANN401
    """Return the published claims under their published numbers, at the places that were found.

    `count alone` is the first claim of the search. `1a`: the answer depends on `level` through the heads that count, and
    on `horizon` through the heads that look for a level below zero. `1b`: the heads that count also tell the first
    bracket. `2a`: the output of each head that counts depends on the elevation and on the first bracket. `2b`: this
    output is a straight line in the elevation, and only the line is exchanged. `3a`: the other heads read at each place
    whether more brackets are closed than opened up to there. `3b`: each bracket counts by how much the heads of the
    first layer attend to it. `4` is `2b` and `3b`.
    """
    counting = [f"{site}@end" for site in where["count"]]
    looking = [f"{site}@end" for site in where["horizon"]]
    after = max(Site.parse(site).layer or 0 for site in where["count"])
    stream, tests = f"L{after}.resid_post@end", ("level", "first_open")

    def answer(count: Node, *others: Node) -> Node:
        return Node("answer", children=[count, *others])

    def elevation(part: str, **more: Any) -> Node:  # noqa: ANN401
        return Node(f"elevation in {part}", part, ("elevation", "first_open"), **more)

    def along_a_line(part: str) -> _Line:
        return _Line(_values(model, prompts, Place.parse(part)), prompts)

    count, finer = Node("count", stream, "level"), Node("count", stream, tests)
    horizon = Node("horizon", looking, "horizon")
    read = finer.changed("count", children=[elevation(part) for part in counting])
    line = finer.changed("count", children=[elevation(part, estimate=along_a_line(part)) for part in counting])

    def split(weights: np.ndarray) -> Node:
        below = [_Below(at, column_weights) for at, column_weights in zip(_COLUMNS, weights, strict=True)]
        reads = [Node(f"horizon < {test.at}", f"L{after + 1}.resid_pre@{test.at}", test) for test in below]
        return horizon.changed("horizon", children=reads)

    alike, attended = _before(), _attended(where["count"], model, prompts)
    return {
        "count alone": answer(count),
        "1a": answer(count, horizon),
        "1b": answer(finer, horizon),
        "2a": answer(read, horizon),
        "2b": answer(line, horizon),
        "3a": answer(finer, split(alike)),
        "3b": answer(finer, split(attended)),
        "4": answer(line, split(attended)),
    }


_COLUMNS = (*brackets.PLACES, "end")


class _Below:
    """Whether more brackets are closed than opened at one place, each bracket by its weight."""

    def __init__(self, at: str, weights: np.ndarray) -> None:
        self.at, self.weights, self.__name__ = at, weights, f"below zero at {at}"

    def __call__(self, prompts: PromptSet) -> np.ndarray:
        opened = np.stack([prompts.variables[name].numpy() for name in brackets.PLACES], axis=1)
        return (2 * opened - 1) @ self.weights < -1e-9


def _before() -> np.ndarray:
    """Return weights that count all brackets up to each place equally, [place bracket]."""
    return np.vstack([np.tri(brackets.LENGTH), np.ones(brackets.LENGTH)])


def _attended(counting: Sequence[str], model: Any, prompts: PromptSet) -> np.ndarray:  # noqa: ANN401
    """Return the mean attention of the first heads that count to each bracket, [place bracket]."""
    sites = [Site.parse(site) for site in counting]
    first = min(site.layer or 0 for site in sites)
    pattern = Site("pattern", first)
    seen = forward(model, prompts, read=[pattern]).read[pattern].double()
    weights = seen[:, [site.head for site in sites if site.layer == first]].mean((0, 1)).cpu().numpy()
    place = {name: int(prompts.positions[name][0]) for name in _COLUMNS}
    return weights[np.ix_([place[name] for name in _COLUMNS], [place[name] for name in brackets.PLACES])]


class _Line:
    """The least-squares line of an activation in the elevation."""

    def __init__(self, values: Tensor, prompts: PromptSet) -> None:
        self.shape = values.shape[1:]
        self.line = torch.linalg.lstsq(self._terms(prompts), values.flatten(1).double().cpu()).solution

    def __call__(self, prompts: PromptSet) -> Tensor:
        return (self._terms(prompts) @ self.line).float().reshape(len(prompts), *self.shape)

    @staticmethod
    def _terms(prompts: PromptSet) -> Tensor:
        elevation = prompts.variables["elevation"].double().cpu()
        return torch.stack([torch.ones_like(elevation), elevation], dim=1)


def _values(model: Any, prompts: PromptSet, part: Place) -> Tensor:  # noqa: ANN401
    """Return the activation at a part in every prompt."""
    activation = forward(model, prompts, read=[part.site.whole]).read[part.site.whole]
    return pick(activation, part.site, prompts.select(part.at))


def survey(seeds: Iterable[int], *, n: int = 1000) -> Iterator[dict[str, Any]]:
    """Train a network from each seed; yield its heads that count, those that look below zero, and what the claims recover.

    A claim is left out if the heads of a network do not divide the work as the claim needs it.
    """
    for seed in seeds:
        model = RECIPE.new_model(seed)
        RECIPE.teach(model, seed=seed, every=RECIPE.steps, progress=False)
        prompts = brackets.TASK.prompts(model, n, seed=7)
        where = places(search(model, prompts))
        row = {"seed": seed, **{name: " ".join(sites) for name, sites in where.items()}}
        for name, tree in (published(where, model, prompts) if all(where.values()) else {}).items():
            with suppress(SiteError):  # a claim about heads that read each other in the wrong order
                result = scrub(model, prompts, tree, lonely="keep", seeds=1, report=False, controls=False)
                row[name] = round(float(result.recovered.estimate), 2)
        yield row


def _script() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--survey", type=int)
    number = parser.parse_known_args()[0].survey
    if number is None:
        main(RECIPE, stated)
        return
    torch.set_num_threads(1)
    for row in survey(range(number)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    _script()
