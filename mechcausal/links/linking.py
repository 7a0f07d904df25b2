"""Link candidates to concepts: which of them carry one, and which of them does the behavior use?

A link has four steps: `gather` checks what is asked and reads the candidates, `measure` runs the interventions, `judge`
makes the table with verdicts, `outcome` makes the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from mechcausal.address import Selection
from mechcausal.arguments import Count, CountOrZero, Model, OpenShare, Seed, Share
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Generalize
from mechcausal.links.bench import BOTH, Bench
from mechcausal.links.chosen import MOST_SETS
from mechcausal.links.gather import gather
from mechcausal.links.judge import judge
from mechcausal.links.measured import measure
from mechcausal.links.outcome import outcome
from mechcausal.links.result import Links
from mechcausal.links.total import MOST_PAIRS
from mechcausal.method import Cost, Method, function
from mechcausal.models.binding import Bound
from mechcausal.models.engine import Exact, Plan, evaluate
from mechcausal.patching.activation import Direction
from mechcausal.patching.sweep import MetricSpec
from mechcausal.results.redraws import check_networks


@dataclass(frozen=True)
class LinkCost(Cost):
    """What a link would take.

    Attributes:
        stages: For each stage how many prompts are run. Those of `candidates` and of `unedited runs` are exact; the others
            depend on what is found, and are the most that can be run.
    """

    stages: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say it in a line, and what each stage takes at most."""
        return "\n".join([super().__str__(), *(f"  {name}: at most {n:,}" for name, n in self.stages.items())])


@dataclass(frozen=True, kw_only=True)
class Linking(Method[Contrast, Links]):
    """Say of every candidate whether it carries a concept, and whether the behavior moves with it.

    *Available*: the chance that a prompt with the concept reads higher than one without (AUC), at one position and on
    average over positions, on one half of the pairs. *Used*: the mean over the pairs of the other half of
    `metric(run with the candidate's value taken from the counterpart) - metric(run)`, as a share of the mean total
    effect; exact, never by a gradient. 1 is all of the effect, 0 none of it, negative works against it. Halves are
    whole clusters, and nothing that is estimated on one half was chosen or fitted on it.

    The verdict is `causal` (available and used), `correlate-only` (available, and the effect is known to be smaller than
    the smallest one of interest), `causal-but-not-associated`, or `inconclusive`. No feature is judged where the error
    of its dictionary carries more than a fifth of what goes through its place (`sae-incomplete`). Nothing is judged
    where networks with redrawn weights move the behavior as much. A feature or a direction must also move the behavior
    more than all random directions at its place, or more than all that move the activation as far as it does.

    Attributes:
        what: The candidates: a dictionary (or its name), sites and patterns of sites (`"z"`, `"L2.mlp_post.N*"`,
            `"L2.resid_post.sae:NAME.F17"`), directions (`mc.features.directions`), or a list of these.
        probes: The concepts: probes, names of variables of the prompts, or labels by name, one for each prompt of
            both sides (clean first). The pairs have to differ in a concept for its use to be judged;
            a value of a concept with many is judged on those pairs that differ in it.
        at: The positions at which candidates are intervened on.
        read_at: The position at which a concept has to be available; where the metric reads unless said otherwise.
        do: `"patch"` (the value of the counterpart), `"mean"` or `"zero"`.
        direction: `"denoise"` patches clean values into the corrupt run, `"noise"` corrupt ones into the clean run.
        metric: A metric's name, or a function of (logits, batch).
        smallest_effect: The smallest share of the total effect that is of interest, set before looking.
        smallest_association: The smallest distance of an AUC from 0.5 that is of interest.
        fdr: The rate of false discoveries, for associations and for effects.
        random: The number of random directions, of turned copies and of other candidates of its kind that a candidate is
            compared with. With 40, a random direction passes for more than random in at most one of twenty cases.
        redrawn: The largest number of networks with redrawn weights that the total effect is compared with: 0, or at
            least 8. Fewer are run where the comparison is clear before.
        most: How many features are measured exactly. Of more, chosen on the half to choose by: three in five by
            attribution, one in five by association, one in five at random. Pairs of unequal length and answers of several
            tokens allow no attribution: then four in five by association.
        details: For how many candidates, largest effects first, specificity and stability are measured.
        also: Other concepts, like `probes`, on which the effect of a candidate is followed.
        neutral: Text on which nothing should change.
        others: Other dictionaries at the same place, for stability, beside the companions that lie in the folder of a
            dictionary (`mc.features.train(..., companions=2)`), which are found there.
        batch_size: How many pairs at a time.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each candidate.
        generalize: What claims are about: `"clusters"`, others like those of these pairs (new people, new templates),
            so that clusters are the unit; or `"texts"`, these very clusters in new texts, so that a pair is.
        seed: The seed of the halves and of everything random.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=80)
        >>> links = mc.link(model, pairs, "L1.z.H*", "gender", at="@decision", redrawn=8)
        >>> list(links.verdicts["causal"])
        ['L1.z.H2', 'L1.z.H1']
    """

    word: ClassVar[str] = "link"
    what: Any = field(kw_only=False)
    probes: Any = field(kw_only=False)
    at: str | int | Selection = "all"
    read_at: str | int | Selection | None = None
    do: Literal["patch", "mean", "zero"] = "patch"
    direction: Direction = "denoise"
    metric: MetricSpec = "logit_diff"
    smallest_effect: OpenShare = 0.02
    smallest_association: Share = 0.05
    fdr: OpenShare = 0.05
    random: CountOrZero = 40
    redrawn: CountOrZero = 24
    most: Count = 250
    details: CountOrZero = 24
    also: Any = ()
    neutral: PromptSet | None = None
    others: tuple[Bound | str, ...] = ()
    batch_size: Count = 64
    exact: Exact = "replay"
    generalize: Generalize = "clusters"
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_networks(self.redrawn)

    def run(self, model: Model, data: Contrast) -> Links:
        """Gather, measure, judge, and make the result."""
        started = time.perf_counter()
        gathered = gather(self, model, data)
        measured = measure(self, gathered)
        frame, examples = judge(gathered, measured)
        return outcome(self, gathered, measured, frame, examples, started)

    def cost(self, model: Model, data: Contrast) -> LinkCost:
        """Return what it would take; only the unedited runs are made."""
        gathered = gather(self, model, data)
        bench = gathered.bench
        _, estimated = (len(half) for half in bench.split)
        count = min(len(gathered.candidates), max(self.most, 1)) if _features(gathered) else len(gathered.candidates)
        stages = {"candidates": count * len(data), "unedited runs": 2 * len(data)}
        places = {c.site.dictionary for c in gathered.candidates if c.site.dictionary is not None}
        stages |= {
            "redrawn networks": self.redrawn * 2 * min(MOST_PAIRS, estimated),
            "random directions": len(places) * self.random * estimated,
            "turned features": min(count, _features(gathered)) * self.random * estimated,
            "probes under interventions": min(self.details, count) * estimated,
            "chosen set": (1 + min(self.random, MOST_SETS)) * estimated,
            "tokens deleted": estimated,
            "neutral text": 0 if self.neutral is None else min(self.details, count) * len(self.neutral),
        }
        fast = _dry(bench, gathered.candidates[:count])
        shared = stages["candidates"] + stages["chosen set"]  # sets are run as candidates are, so they share as much
        rest = sum(stages.values()) - shared
        return LinkCost(
            cells=count,
            examples=len(data),
            forwards=fast * shared / max(1, stages["candidates"]) + rest,
            naive_forwards=sum(stages.values()),
            stages={name: number for name, number in stages.items() if number},
        )


def _features(gathered: Any) -> int:  # noqa: ANN401 - what gather gives
    return sum(candidate.site.dictionary is not None for candidate in gathered.candidates)


def _dry(bench: Bench, candidates: Any) -> float:  # noqa: ANN401 - candidates
    """Return how many forwards of one prompt the engine would run for these candidates."""
    columns, layers = bench.base.tokens.shape[1], bench.able.shape.n_layers
    forwards = 0.0
    for half in BOTH:
        base, source = bench.sides(half)
        plan = Plan(
            base, bench.cells(candidates), bench.metric, rows=source, memory=bench.memory, reference=base, dry=True
        )
        engine = evaluate(bench.model, replace(plan), batch_size=bench.batch_size, exact=bench.exact).compute
        full = len(candidates) * len(base) * columns * layers
        forwards += (engine.get("token_layers", 0) + full - engine.get("naive_token_layers", 0)) / (columns * layers)
    return forwards


link = function(Linking)
