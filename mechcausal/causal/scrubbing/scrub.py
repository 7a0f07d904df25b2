"""Causal scrubbing: if a hypothesis is right, everything it calls irrelevant can be replaced and nothing is lost.

Every node's input is exchanged for a random one that agrees on what the node is said to depend on, recursively, and all
other inputs for random ones (Chan et al. 2022). What is left of the performance, between outputs exchanged at random
(0) and the unedited network (1), is the share that the hypothesis explains. Where it is lost is found by sparing one
claim at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, Model, Seed
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.job import HYPOTHESIS, Job, Prepared, Spared
from mechcausal.causal.scrubbing.sampling import CLAIM, REST, Unimportant
from mechcausal.causal.scrubbing.scrubbed import Scrubbed
from mechcausal.causal.scrubbing.tree import EXACT, Node, read_claims, tree_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import metric as metric_of
from mechcausal.models.engine import Exact
from mechcausal.patching.sweep import MetricSpec

ABOUT = "Prompts with the value of every variable: they are the references, and what is drawn from."


@dataclass(frozen=True, repr=False)
class ScrubbingCost(Cost):
    """What scrubbing would take and draw.

    Attributes:
        self_hits: How often a draw returns the prompt itself, which then is not scrubbed.
        nodes: For each node the classes of what it depends on, the smallest of them, and its distinct inputs.
    """

    self_hits: float = np.nan
    nodes: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __str__(self) -> str:
        """Print the totals and a line for each node."""
        hits = f"{self.self_hits:.1%} of the draws return the prompt itself"
        return f"{super().__str__()}; {hits}\n{self.nodes.to_string(index=False)}"

    __repr__ = __str__


@dataclass(frozen=True, kw_only=True)
class _Claims(Method[PromptSet | Contrast, Scrubbed]):
    """What `scrub` and `ladder` share."""

    hypothesis: Hypothesis | Node = field(kw_only=False, metadata={"read": read_claims})
    metric: MetricSpec = "logprob"
    n: Count | None = None
    seeds: Count = 3
    seed: Seed = 0
    unimportant: Unimportant = "joint"
    places: Literal["together", "apart"] = "together"
    pool: Count | None = None
    lonely: Literal["refuse", "keep"] = "refuse"
    batch_size: Count = 64
    exact: Exact = "replay"

    def cost(self, model: Model, data: PromptSet | Contrast) -> ScrubbingCost:
        """Return what scrubbing would take and draw; nothing is run."""
        job, prepared = self._prepared(model, data)
        first = prepared[0]
        classes, ids = first.sampler.classes, first.schedule.ids
        nodes = [
            {
                "node": node.name,
                "parts": " + ".join(map(str, node.parts)) or "output",
                "edge": node.edge,
                "classes": len(classes[node.name].sizes),
                "smallest_class": int(classes[node.name].sizes.min()),
                "distinct_inputs": len(np.unique(ids[node.name])),
            }
            for node in job.root.walk()
        ]
        return ScrubbingCost(
            cells=sum(len(tree.variants) for tree in prepared),
            examples=len(job.rows) * self.seeds,
            forwards=sum(tree.schedule.forwards for tree in prepared),
            naive_forwards=sum(tree.schedule.plain for tree in prepared),
            self_hits=first.self_hits,
            nodes=pd.DataFrame(nodes),
        )

    def _prepared(self, model: Model, data: PromptSet | Contrast) -> tuple[Job, list[Prepared]]:
        """Return the job, and everything that is drawn and scheduled for it."""
        root = tree_of(self.hypothesis) if isinstance(self.hypothesis, Hypothesis) else self.hypothesis
        job = Job(
            model=model,
            root=root.apart() if self.places == "apart" else root,
            pool=data.clean if isinstance(data, Contrast) else data,
            metric=metric_of(self.metric),
            n=self.n,
            seeds=self.seeds,
            seed=self.seed,
            unimportant=self.unimportant,
            size=self.pool,
            lonely=self.lonely,
            batch_size=self.batch_size,
            exact=self.exact,
        )
        return job, self._variants(job)

    def _variants(self, job: Job) -> list[Prepared]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scrubbing(_Claims):
    """Measure how much of the network's performance a hypothesis explains, and which of its claims loses the rest.

    Estimand: the mean over reference prompts and draws of `metric(scrubbed output, the reference's own answer)`, as a
    share of the way from outputs of other prompts (0) to the unedited network (1); negative is worse than outputs of
    other prompts. An answer of several tokens is teacher-forced: its tokens follow every prompt that is drawn for its
    reference, and `agreement` and `kl` are those of its first token.

    Attributes:
        hypothesis: A causal model with its alignment, or a tree of nodes written by hand.
        metric: A metric that reads the answer's position, or the answer itself; the log-probability of the answer unless said.
        n: How many of the prompts are references; all of them unless said.
        seeds: How often everything is drawn anew for each reference.
        seed: The first seed.
        unimportant: Whether a node's unimportant inputs come from one prompt (`"joint"`, one for each node), from one
            for the whole tree (`"together"`), or from one for each component (`"independent"`, the most destructive).
        places: Where a variable is said to be at several places: `"together"` puts all of them as they are in one prompt,
            which tests that they carry it jointly; `"apart"` draws a prompt for each place, as published causal
            scrubbing does for separate nodes, which also tests that places of different prompts go together.
        pool: How many prompts of each class may be drawn; all of them unless said.
        lonely: What to do with values that one prompt alone has: `"refuse"`, or `"keep"` these unscrubbed.
        report: Whether to spare each claim in turn, which finds the one that loses most.
        controls: Whether to run three wrong hypotheses: features permuted, sites shuffled, one node dropped.
        batch_size: How many prompts at a time.
        exact: `"replay"` computes only what can have changed, where the engine was found to agree with the loop;
            `"naive"` runs every distinct input from the start.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, 200, environment="broad")
        >>> hypothesis = mc.causal.Hypothesis.of("hiring")
        >>> scrubbed = mc.scrub(model, prompts, hypothesis, controls=False, lonely="keep")
        >>> bool(scrubbed.recovered.estimate > 0.97)
        True
        >>> mc.scrub.cost(model, prompts, hypothesis, controls=False, lonely="keep").cells
        7
    """

    word: ClassVar[str] = "scrub"
    report: bool = True
    controls: bool = True

    def run(self, model: Model, data: PromptSet | Contrast) -> Scrubbed:
        """Scrub the hypothesis, spare each claim in turn, and run the controls."""
        job, prepared = self._prepared(model, data)
        rows = [row for tree in prepared for row in job.run(tree)]
        return job.result(self.word, rows, report=self.report, controls=self.controls)

    def _variants(self, job: Job) -> list[Prepared]:
        variants = dict(HYPOTHESIS)
        for node in job.root.walk() if self.report else ():
            if node is not job.root and node.feature != EXACT:
                variants[node.name, CLAIM] = frozenset({(node.name, CLAIM)})
            if node.children:
                variants[node.name, REST] = frozenset({(node.name, REST)})
        return [job.prepare(job.root, variants), *(job.controls() if self.controls else ())]


@dataclass(frozen=True, kw_only=True)
class Laddering(_Claims):
    """Scrub more and more: first nothing, then one claim after the other from the output down, until all is scrubbed.

    Each row adds a claim to those above it, so its loss is the cost of that claim given the earlier ones. `effect` is
    the share of performance that is left: 1 as the unedited network, 0 as outputs of other prompts. The arguments are
    those of `scrub`.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> prompts = mc.task("hiring").prompts(model, 200, environment="broad")
        >>> stair = mc.causal.ladder(model, prompts, mc.causal.Hypothesis.of("hiring"), lonely="keep")
        >>> stair.frame["node"].tolist()[:3]
        ['nothing', 'score', 'decision']
    """

    word: ClassVar[str] = "ladder"

    def run(self, model: Model, data: PromptSet | Contrast) -> Scrubbed:
        """Scrub one claim more in each row."""
        job, (prepared,) = self._prepared(model, data)
        return job.result(self.word, job.run(prepared))

    def _variants(self, job: Job) -> list[Prepared]:
        steps = _from_the_output_down(job.root)
        variants: dict[tuple[str, str], Spared] = {("nothing", ""): frozenset(steps)}
        for number, step in enumerate(steps, start=1):
            variants[step] = frozenset(steps) - set(steps[:number])
        return [job.prepare(job.root, variants)]


def _from_the_output_down(root: Node) -> Sequence[tuple[str, str]]:
    """Return all claims of a tree, level by level."""
    steps: list[tuple[str, str]] = []
    level = [root]
    while level:
        for node in level:
            steps += [(child.name, CLAIM) for child in node.children if child.feature != EXACT]
            steps += [(node.name, REST)] if node.children else []
        level = [child for node in level for child in node.children]
    return steps


scrub = function(Scrubbing, data="prompts", about=ABOUT)
ladder = function(Laddering, data="prompts", about=ABOUT)
