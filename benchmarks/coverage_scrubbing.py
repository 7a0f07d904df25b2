"""How often the 95 % intervals of scrubbing cover, when prompts are drawn once, three times or ten times.

`coverage.py` runs this and prints one JSON line a cell. The draws are those of scrubbing itself: the package's own
sampler draws for a tree of nodes, from prompts with random variables. The scores are made up, so that the true value is
known: each prompt adds a part of its own wherever it is a reference or is drawn, and the parts interact.

- `n`, `draws`: how many references, and how often everything is drawn for each.
- `tree`: `one node` below the output, `two nodes`, or `a chain` of three, one below the other.
- `classes`: how many values each variable has; many values are shared by few prompts.
- `roles`: whether a prompt's parts in its roles are `independent`, or `alike` (a prompt that is easy is easy everywhere).
- `what`: the `share` recovered, or the `gain` of sparing a claim.

A cell is simulated 1,000 times, which leaves an error of 0.8 points. One that is outside the bars is simulated 4,000 times more,
and all runs count.

The cell of a network scrubs the hiring organism with one variable left out, again and again on new prompts; its true
value is that of many prompts.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from mechcausal.causal.scrubbing.judged import Row, Scale, roles_of
from mechcausal.causal.scrubbing.sampling import CLAIM, Draw, Sampler
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.data.prompts import PromptSet

LOW, HIGH = 92.0, 98.0  # the bars, in percent
CLEAN, OTHERS, SHARE, GAIN = 0.0, -4.0, 0.6, 0.1
TREES = {
    "one node": Node("output", children=[Node("a", "L0.z.H0", "a")]),
    "two nodes": Node("output", children=[Node("a", "L0.z.H0", "a"), Node("b", "L0.z.H1", "b")]),
    "a chain": Node(
        "output",
        children=[
            Node("a", "L2.z.H0", "a", children=[Node("b", "L1.z.H0", "b", children=[Node("c", "L0.z.H0", "c")])])
        ],
    ),
}
BASELINES = 8


def prompts_of(n: int, classes: int, draw: np.random.Generator) -> PromptSet:
    """Return prompts with three random variables; their tokens are read by nobody."""
    tokens = torch.arange(n)[:, None]
    variables = {name: torch.tensor(draw.integers(classes, size=n)) for name in "abc"}
    return PromptSet(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool), variables=variables)


def drawn(sampler: Sampler, n: int, draws: int, seed: int, spared: tuple[str, str] | None) -> dict[str, Draw]:
    """Return what every node draws, for all draws of all references."""
    exact = [spared] if spared else []
    each = [sampler.draw(np.arange(n), seed * 1000 + number, exact=exact) for number in range(draws)]
    return {
        name: Draw(
            np.concatenate([draw[name].x for draw in each]),
            None if first.o is None else np.concatenate([np.asarray(draw[name].o) for draw in each]),
        )
        for name, first in each[0].items()
    }


class Scores:
    """Scores whose mean is known: each prompt has a part for every role, and the first two parts interact.

    Args:
        n: How many prompts.
        alike: Whether a prompt's parts are alike in all roles.
        draw: The randomness.
    """

    def __init__(self, n: int, alike: bool, draw: np.random.Generator) -> None:
        specific, common = draw.normal(size=(12, n)), draw.normal(size=n)
        self.parts = np.sqrt(0.5) * specific + np.sqrt(0.5) * common if alike else specific
        self.draw = draw

    def of(self, mean: float, references: np.ndarray, rows: list[np.ndarray], table: np.ndarray) -> np.ndarray:
        """Return one score for each example; values of the variables matter as well."""
        reference = self.parts[0][references]
        total = 0.7 * reference + 0.5 * (table[references] - table.mean())
        for number, prompts in enumerate(rows, start=1):
            total = total + self.parts[number][prompts] / np.sqrt(len(rows))
        interaction = 0.5 * (reference * self.parts[1][rows[0]] if rows else 0.0)
        return mean + total + interaction + 0.5 * self.draw.normal(size=len(references))


def covered(tree: str, n: int, draws: int, classes: int, alike: bool, what: str, seed: int) -> bool:
    """Say whether the interval of one simulated scrubbing holds the true value."""
    draw = np.random.default_rng([seed, n, draws, classes])
    root = TREES[tree]
    prompts = prompts_of(n, classes, draw)
    sampler, scores = Sampler(root, prompts), Scores(n, alike, draw)
    table = prompts.variables["a"].numpy() / classes
    table = table - (classes - 1) / (2 * classes)  # the mean over all prompts there could be
    references = np.tile(np.arange(n), draws)
    baseline = np.stack([(np.arange(n) + draw.integers(1, n, n)) % n for _ in range(BASELINES)])
    others = np.stack([OTHERS + scores.parts[11][rows] + 0.3 * scores.parts[0] for rows in baseline])
    clean = np.tile(CLEAN + scores.parts[0] + 0.3 * draw.normal(size=n), draws)
    scale = Scale(references, np.arange(n), clean, others, baseline)

    def row(mean: float, spared: tuple[str, str] | None) -> Row:
        samples = drawn(sampler, n, draws, seed, spared)
        rows, of = [], []
        for name, sample in samples.items():
            rows += [sample.x, *([] if sample.o is None else [sample.o])]
            of += [sampler.classes[name].of, *([] if sample.o is None else [sampler.given[name].of])]
        values = scores.of(mean, references, rows[1:], table + 0.0)
        return Row.of("output", "hypothesis", (), values, roles_of(rows, of, references))

    # The variable's own part has mean zero over all prompts there could be; the sample's is a part of its spread.
    hypothesis = row(OTHERS + SHARE * (CLEAN - OTHERS), None)
    if what == "share":
        estimate, spread = scale.share(hypothesis)
        truth = SHARE
    else:
        spared = row(OTHERS + (SHARE + GAIN) * (CLEAN - OTHERS), ("a", CLAIM))
        estimate, spread = scale.share(spared, less=hypothesis)
        truth = GAIN
    low, high = spread.interval(estimate)
    return bool(low <= truth <= high)


def network(n: int, draws: int, times: int) -> float:
    """Return how often the interval of a network's recovered share holds that of many prompts, in percent."""
    import mechcausal as mc
    from mechcausal.causal.scrubbing.tree import tree_of

    torch.set_num_threads(1)
    model = mc.load("organism:hiring")
    root = tree_of(mc.causal.Hypothesis.of("hiring")).dropped("bias")
    options: dict[str, Any] = {"report": False, "controls": False, "lonely": "keep"}

    def share(count: int, seed: int) -> Any:  # noqa: ANN401 - an Interval
        prompts = mc.task("hiring").prompts(model, count, seed=seed, environment="broad")
        return mc.scrub(model, prompts, root, seeds=draws, seed=seed, **options).recovered

    truth = share(4000, 10_000).estimate
    intervals = [share(n, seed) for seed in range(times)]
    return 100 * float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def cells(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Measure one cell after the other."""
    times = 200 if quick else 1000
    axes = itertools.product(TREES, (100, 300), (1, 3, 10), (4,), (False, True), ("share", "gain"))
    many = itertools.product(["one node"], (100, 300), (1, 3, 10), (20,), (False,), ("share",))
    for tree, n, draws, classes, alike, what in itertools.chain(axes, many):
        hits = [covered(tree, n, draws, classes, alike, what, seed) for seed in range(times)]
        if not LOW <= 100 * np.mean(hits) <= (100 if what == "gain" else HIGH):
            hits += [covered(tree, n, draws, classes, alike, what, seed) for seed in range(times, 5 * times)]
        yield {
            "table": "scrubbing", "what": what, "tree": tree, "n": n, "draws": draws, "classes": classes,
            "roles": "alike" if alike else "independent", "times": len(hits), "coverage": round(100 * float(np.mean(hits)), 2),
        }  # fmt: skip
    times = 40 if quick else 300
    yield {
        "table": "scrubbing", "what": "share", "tree": "organism:hiring without bias", "n": 100, "draws": 3, "times": times,
        "coverage": round(network(100, 3, times), 2),
    }  # fmt: skip
