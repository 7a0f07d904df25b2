"""What the questions of fairness share: controls of an effect, and when a share of an effect can be judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from mechcausal.address import Place, Site, expand
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Control
from mechcausal.audits.redrawn import forwards_of_redraws
from mechcausal.causal.mediation.paths import path_effects
from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import FEWEST, Split, split, units
from mechcausal.errors import DataError, MechcausalError
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.attached import bound
from mechcausal.results.redraws import UNCLEAR

_EMBEDDING = {"embedding": [("embed", "logits")]}


def embedding_alone(desk: Desk, pairs: Contrast) -> Control:
    """Return the control "what the embedding of the swapped words gives to the answer without any layer"."""
    kind = "trivial-input"
    columns = pairs.clean.read_columns
    if not bool(pairs.differs[range(len(pairs)), columns].any()):
        says = "the swapped words stand before the token that is read, so that without any layer the effect is 0"
        return Control(kind, says, Estimate.exact(0.0, len(pairs)), holds=True)
    try:
        alone = path_effects(desk.model, pairs, _EMBEDDING, metric=desk.outcome)
    except MechcausalError as error:
        return Control.inapplicable(kind, f"the embedding has no direct path to the logits here: {error}"[:300])
    values = alone.examples[0] - alone.baselines["base"]
    estimate = desk.mean(values, pairs.clean.clusters)
    return Control(kind, f"the embedding alone, without any layer, moves the outcome by {estimate}", estimate)


def forwards_of_controls(desk: Desk, pairs: Contrast) -> float:
    """Return how many forwards `redrawn_effect` and `embedding_alone` take."""
    redrawn = forwards_of_redraws(desk, pairs)
    if not bool(pairs.differs[range(len(pairs)), pairs.clean.read_columns].any()):
        return redrawn
    try:
        return redrawn + path_effects.cost(desk.model, pairs, _EMBEDDING, metric=desk.outcome).forwards
    except MechcausalError:
        return redrawn


def others_like(site: Site, able: Abilities, model: Any) -> list[Site]:  # noqa: ANN401 - a TransformerBridge
    """Return the sites of the same kind: heads of all layers, units of the same activation, or the same part of other layers."""
    if site.dictionary is not None and site.feature is not None:
        sites = [replace(site, feature=number) for number in range(bound(model, site.dictionary).n_features)]
    elif site.neuron is not None:
        sites = [replace(site, neuron=number) for number in range(able.shape_at(replace(site, neuron=None))[-1])]
    else:
        sites = [other for other in expand(site.component, able.shape) if (other.head is None) == (site.head is None)]
    return [other for other in sites if other != site]


def drawn_places(desk: Desk, places: tuple[Place, ...], count: int) -> list[tuple[Place, ...]]:
    """Return sets of places of the same kinds, drawn at random among those that were not declared; empty if there are too few."""
    able, random = abilities(desk.model), np.random.default_rng([desk.seed, 15])
    declared = {place.site for place in places}
    sets = []
    for _ in range(count):
        taken: set[Site] = set()
        drawn = []
        for place in places:
            if place.basis:
                rows = random.normal(size=(len(place.basis), len(place.basis[0])))
                drawn.append(Place(place.site, place.at, tuple(tuple(map(float, row)) for row in rows)))
                continue
            free = [s for s in others_like(place.site, able, desk.model) if s not in declared and s not in taken]
            if not free:
                return []
            taken.add(site := free[int(random.integers(len(free)))])
            drawn.append(Place(site, place.at))
        sets.append(tuple(drawn))
    return sets


def halves(desk: Desk, pairs: Contrast) -> Split | None:
    """Return the half that chooses and the half that estimates; None where there are too few clusters for both."""
    try:
        return split(units(pairs), 0.5, desk.seed, fewest=FEWEST, what="pairs")
    except DataError:
        return None


def unclear(effect: Estimate) -> str:
    """Return why no share of an effect can be judged; empty where it can."""
    return "" if effect.low > 0 or effect.high < 0 else UNCLEAR


def detectable(estimate: Estimate) -> float:
    """Return the smallest effect that would have been found in 4 of 5 cases."""
    if estimate.law != "t" or not estimate.freedom > 0:
        return float("nan")
    return float(
        estimate.error * (stats.t.ppf(0.5 + estimate.level / 2, estimate.freedom) + stats.t.ppf(0.8, estimate.freedom))
    )


def cluster_problem(pairs: Any) -> str:  # noqa: ANN401 - what the plan gives
    """Return what is wrong with the clusters of pairs; empty if nothing is."""
    if isinstance(pairs, Contrast) and pairs.clean.n_clusters < 2:
        return "its pairs form one cluster, so that nothing can be said of others"
    return ""
