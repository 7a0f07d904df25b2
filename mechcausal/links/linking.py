"""Link candidates to concepts: which of them carry one, and which of them does the behavior use?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from mechcausal.address import Selection
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import plain
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.links import nulls, specificity, stability
from mechcausal.links.bench import DO, Bench, Generalise
from mechcausal.links.candidates import Candidate, candidates_of
from mechcausal.links.ceilings import baselines, completeness, ranges
from mechcausal.links.concepts import concepts_of
from mechcausal.links.measure import Available, Held, Used, availability, hold, use
from mechcausal.links.narrowing import narrowed
from mechcausal.links.result import Links
from mechcausal.links.table import Details, chosen_set, frame_of
from mechcausal.links.verdict import YES
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import Bound
from mechcausal.models.engine import Exact, check_prompts
from mechcausal.models.facts import facts
from mechcausal.patching.activation import Direction
from mechcausal.patching.sweep import MetricSpec, two_sides
from mechcausal.results.provenance import Provenance


def link(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    what: Any,  # noqa: ANN401 - a dictionary, sites, or a list of these
    probes: Any,  # noqa: ANN401 - probes, variables of the prompts, or labels by name
    pairs: Contrast,
    *,
    at: str | int | Selection | None = None,
    positions: str | int | Selection = "all",
    do: str = "patch",
    direction: Direction = "noise",
    metric: MetricSpec = "logit_diff",
    smallest_effect: float = 0.02,
    smallest_association: float = 0.05,
    fdr: float = 0.05,
    random: int = 40,
    untrained: int = 4,
    most: int = 250,
    details: int = 24,
    also: Any = (),  # noqa: ANN401 - like probes
    neutral: PromptSet | None = None,
    others: Sequence[Bound | str] = (),
    batch_size: int = 64,
    exact: Exact = "replay",
    generalise: Generalise = "clusters",
    seed: int = 0,
) -> Links:
    """Say of every candidate whether it carries a concept, and whether the behavior moves with it.

    *Available*: the chance that a prompt with the concept reads higher than one without (AUC), at the decision position
    and on average over positions, on one half of the pairs. *Used*: the mean over the pairs of the other half of
    `metric(run with the candidate's value taken from the counterpart) - metric(run)`, as a share of the mean total
    effect; exact, never by a gradient. 1 is all of the effect, 0 none of it, negative works against it. Halves are
    whole clusters, and nothing that is estimated on one half was chosen or fitted on it.

    The verdict: `causal` (available and used), `correlate-only` (available, and the effect is known to be smaller than
    the smallest one of interest), `causal-but-not-associated`, or `inconclusive`. No feature is judged where the error
    of its dictionary carries more than a fifth of what goes through its place (`sae-incomplete`), and nothing is judged
    where a network with random weights moves the behavior as much. A feature or a direction must also move the behavior
    more than all directions drawn at random at its place, or more than all that move the activation as far as it does.

    Args:
        model: The model.
        what: The candidates: a dictionary (or its name), sites and patterns of sites (`"z"`, `"L2.mlp_post.N*"`,
            `"L2.resid_post.sae:NAME.F17"`), directions (`mc.features.directions`), or a list of these.
        probes: The concepts: probes, names of variables of the prompts, or labels by name, one for each prompt of
            both sides (clean first). The pairs have to differ in a concept for its use to be judged;
            a value of a concept with many is judged on those pairs that differ in it.
        pairs: Clean and corrupt prompts.
        at: The decision position, where a concept has to be available; where the metric reads unless said otherwise.
        positions: At which positions candidates are intervened on.
        do: `"patch"` (the value of the counterpart), `"mean"` or `"zero"`.
        direction: `"noise"` patches corrupt values into the clean run, `"denoise"` clean ones into the corrupt run.
        metric: A metric's name, or a function of (logits, batch).
        smallest_effect: The smallest share of the total effect that is of interest, set before looking.
        smallest_association: The smallest distance of an AUC from 0.5 that is of interest.
        fdr: The rate of false discoveries, for associations and for effects.
        random: How many directions drawn at random at its place, how many that move as far as it does, and how many
            others of its kind a candidate is compared with. With 40, a direction drawn at random itself passes for
            more than random in at most one of twenty cases.
        untrained: How many networks with random weights the total effect is compared with.
        most: How many candidates are measured exactly. Of more, chosen on the half to choose by: three in five by
            attribution, one in five by association, one in five at random.
        details: For how many candidates, largest effects first, nulls, specificity and stability are measured.
        also: Other concepts, on whose probes the effect of a candidate is followed.
        neutral: Text on which nothing should change.
        others: Other dictionaries at the same place, for stability, beside the companions that lie in the folder of a
            dictionary (`mc.features.train(..., companions=2)`), which are found there.
        batch_size: How many pairs at a time.
        exact: `"replay"` computes only what can have changed; `"naive"` runs one full forward for each candidate.
        generalise: What claims are about: `"clusters"`, others like those of these pairs (new people, new templates),
            so that clusters are the unit; or `"texts"`, these very clusters in new texts, so that a pair is.
        seed: The seed of the halves and of everything random.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=80)
        >>> links = mc.link(model, "L1.z.H*", "gender", pairs, positions="@decision", untrained=1)
        >>> list(links.verdicts["causal"])
        ['L1.z.H2', 'L1.z.H1']
    """
    started = time.perf_counter()
    bench = _bench(
        model, pairs, metric, do, direction, positions, smallest_effect, fdr, batch_size, exact, seed, generalise
    )
    candidates = candidates_of(model, what, bench.able)
    concepts = concepts_of(probes, bench.prompts)
    followed = concepts_of([*_listed(probes), *_listed(also)], bench.prompts)
    others, companions = stability.check_others(model, others), stability.companions_of(model, candidates)
    decision = bench.decision(at)
    if neutral is not None:
        check_prompts(model, neutral)
    held = hold(bench, candidates, decision)
    available = availability(bench, held, concepts, smallest_association)
    held, available, measured = narrowed(bench, held, available, most, direction)
    total = nulls.total_effect(bench, untrained)
    used, judged = use(bench, held.candidates, concepts)
    ceilings, complete = completeness(bench, held.candidates)
    drawn = nulls.random_directions(bench, held.candidates, random)
    moving = np.flatnonzero(np.any([one.answer == YES for one in (used, *judged)], axis=0)).tolist()
    turned = dict(zip(moving, nulls.turned(bench, [held.candidates[i] for i in moving], random), strict=True))
    ceilings += [*ranges(bench, drawn), *baselines(bench, held.candidates, concepts, decision)]
    survivors = _survivors(available, judged, details)
    judges = specificity.judges(bench, followed, decision)
    chosen = [held.candidates[number] for number in survivors]
    counterparts = stability.stability(bench, held.candidates, chosen, others, companions)
    stable = {
        concept.name: stability.columns(bench, chosen, counterparts, concept, one.estimate.share[survivors])
        for concept, one in zip(concepts, judged, strict=True)
    }
    detailed = _details(bench, held, used, turned, survivors, judges, neutral, stable, random)
    frame, examples = frame_of(bench, held, available, judged, total, complete, drawn, detailed)
    tables = {
        "total": {
            "effect": total.effect.estimate, "low": total.effect.low, "high": total.effect.high,
            "untrained": list(total.untrained), "untrained_bound": total.bound,
        },
        "ceilings": ceilings,
        "complete": [vars(one) for one in complete.values()],
        "stability": stability.told_of(counterparts, held.candidates, companions),
        "chosen": chosen_set(bench, held, used, judged, random),
        "family": {
            **measured,
            "effects": sum(one.estimate.size for one in dict.fromkeys(judged)), "associations": available[0].family, "dead": held.dead,
            "shuffled": {one.concept.name: one.shuffled for one in available},
        },
        "halves": {"chosen": len(bench.split[0]), "estimated": len(bench.split[1])},
        "judged": {one.name: len(one.judged(bench.split[1])) for one in concepts},
    }  # fmt: skip
    arguments = {
        "metric": bench.metric.name, "what": _named(what), "concepts": [one.name for one in concepts],
        "also": [one.name for one in followed[len(concepts) :]],
        "at": str(decision), "positions": str(bench.where), "do": bench.do.to_json(), "direction": direction,
        "smallest_effect": smallest_effect, "smallest_association": smallest_association, "fdr": fdr, "random": random,
        "generalise": generalise, "untrained": untrained, "most": most, "details": details, "neutral": None if neutral is None else neutral.hash,
        "dictionaries": {one.name: one.digest for one in _dictionaries(model, held, others)}
        | {one.dictionary: one.digest for one in counterparts},
        "others": [one.name for one in others],
    }  # fmt: skip
    told = facts(model, pairs, started=started, forwards=bench.forwards, batch_size=bench.batch_size, **bench.told)
    estimated = bench.split[1]
    base, source = (values[estimated] for values in bench.unedited)
    clean, corrupt = (base, source) if direction == "noise" else (source, base)
    groups = np.asarray(pairs.clean.groups)
    return Links(
        frame, Provenance("link", arguments, seed=seed, **told), examples,
        {"base": base, "clean": clean, "corrupt": corrupt},
        tuple(groups[estimated].tolist()) if len(groups) else (),
        tuple(np.asarray(bench.clusters)[estimated].tolist()), tables,
    )  # fmt: skip


def _bench(
    model: Any,  # noqa: ANN401
    pairs: Contrast,
    metric: MetricSpec,
    do: str,
    direction: Direction,
    positions: str | int | Selection,
    smallest: float,
    fdr: float,
    batch_size: int,
    exact: Exact,
    seed: int,
    generalise: Generalise,
) -> Bench:
    """Check what was asked before anything is run."""
    bridge.require_bridge(model)
    base, source = two_sides(pairs, direction)
    if do not in DO:
        raise DataError("a candidate is intervened on in three ways", got=repr(do), expected=", ".join(DO))
    if generalise not in get_args(Generalise):
        raise DataError(
            "claims are about new clusters, or about new texts of these ones",
            got=repr(generalise), expected=" or ".join(get_args(Generalise)),
        )  # fmt: skip
    for name, value in (("smallest_effect", smallest), ("fdr", fdr)):
        if not 0 < value < 1:
            raise DataError(f"{name} is a share", got=value, expected="between 0 and 1")
    chosen = metric_of(metric)
    for side in (base, source):
        chosen.check(side)
        check_prompts(model, side)
    where = Selection.parse(positions)
    base.select(where)
    return Bench(
        model,
        abilities(model),
        pairs,
        base,
        source,
        chosen,
        DO[do],
        where,
        smallest,
        fdr,
        batch_size,
        exact,
        seed,
        generalise,
    )


def _survivors(available: Sequence[Available], judged: Sequence[Used], count: int) -> list[int]:
    """Return the candidates of whom more is said: those used or available, the largest effects first."""
    of_interest = np.any([one.answer == YES for one in judged] + [one.told for one in available], axis=0)
    size = np.max([np.nan_to_num(np.abs(one.estimate.share)) for one in judged], axis=0)
    order = np.argsort(-size, kind="stable")
    return [int(number) for number in order if of_interest[number]][:count]


def _details(
    bench: Bench,
    held: Held,
    used: Used,
    turned: Mapping[int, np.ndarray],
    survivors: Sequence[int],
    judges: Sequence[specificity.Judge],
    neutral: PromptSet | None,
    stable: Mapping[str, list[dict[str, Any]]],
    random: int,
) -> Details:
    chosen = [held.candidates[number] for number in survivors]
    return Details(
        numbers=tuple(survivors),
        turned=turned,
        judges=tuple(judges),
        on_probes=tuple(specificity.on_probes(bench, chosen, judges)),
        groups=tuple(specificity.worst_groups(bench, used.change[list(survivors)])),
        kl=specificity.on_neutral_text(bench, chosen, neutral),
        stable=stable,
        peers=tuple(
            nulls.peers(held.candidates, held.frequency, used.estimate.share, number, random) for number in survivors
        ),
    )


def _dictionaries(model: Any, held: Held, others: Sequence[Bound]) -> list[Bound]:  # noqa: ANN401
    names = dict.fromkeys(one.site.dictionary for one in held.candidates if one.site.dictionary is not None)
    return [*(stability.bound(model, name) for name in names), *others]


def _listed(probes: Any) -> list[Any]:  # noqa: ANN401 - one, or several
    return list(probes) if isinstance(probes, (list, tuple)) else [probes]


def _named(what: Any) -> Any:  # noqa: ANN401 - any way of naming candidates
    if isinstance(what, Bound):
        return str(what.features)
    if isinstance(what, Candidate):
        return what.name
    return [_named(one) for one in what] if isinstance(what, (list, tuple)) else plain(what)
