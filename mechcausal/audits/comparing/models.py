"""Compare two models of one shape inside: which places changed themselves, and whose effect changed because of others."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch

from mechcausal.address import Selection, Site, expand
from mechcausal.arguments import Count, Model, Seed, Text, checked
from mechcausal.audits.comparing.sites import CHANGED_ITSELF, EFFECT_CHANGED, NOTHING_FOUND, ModelComparison
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.running import about_model
from mechcausal.data.contrast import Contrast, require_even
from mechcausal.data.places import SiteSpec
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, SiteError
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import attached, bound, detach
from mechcausal.models.binding import attach
from mechcausal.models.engine import in_batches, measure
from mechcausal.models.hooked import forward
from mechcausal.models.sources import check_source
from mechcausal.patching import Patching, PathPatching
from mechcausal.patching.sweep import MetricSpec
from mechcausal.results.multiplicity import max_t, t_test

ALPHA = 0.05
_SAME = 1e-5  # of the size of an activation: what differs by less computes the same

Edge = tuple[Text, Text]


@checked
def compare_models(
    base: Model,
    tuned: Model,
    pairs: Contrast,
    sites: SiteSpec = ("z", "mlp_out"),
    *,
    edges: Sequence[Edge] = (),
    at: str | None = None,
    metric: MetricSpec = "logit_diff",
    batch_size: Count = 64,
    seed: Seed = 0,
) -> ModelComparison:
    """Compare a model with a tuned copy of it, place by place, on the same pairs.

    Estimands, each with intervals over clusters and p-values adjusted by max-T: the difference of a place's effect
    (noising, as `patch` measures it) between the two models; and the change of the base model's total effect when one
    place computes with the tuned weights from what it reads in the base model. The first says where effects are other
    than they were, the second which places made them so: 0 where their weights say the same.

    Args:
        base: The model before.
        tuned: The model after, of the same sizes and with the same tokenizer.
        pairs: Clean and corrupt prompts of equal length.
        sites: Heads, sublayers, streams; features of a dictionary of the base model, which reads both models.
        edges: Edges of a circuit, such as `("L1.z.H2", "L2.mlp_out")`: the direct path from one to the other.
        at: At which positions; all of them unless said.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time.
        seed: The seed of the sign flips.

    Example:
        >>> import mechcausal as mc
        >>> base, tuned = mc.load("organism:by_hand"), mc.load("organism:by_hand")
        >>> pairs = mc.contrast("by_hand/gender", base, n=8)
        >>> mc.audit.compare_models(base, tuned, pairs).changed
        []
    """
    chosen = metric_of(metric)
    if chosen.compares:
        raise ArgumentError(f"the metric {chosen.name!r} compares with an unedited run, of which there are two here")
    require_even(pairs, "compare_models")
    listed = expand(sites, abilities(base).shape)
    if any(site.component in ("pattern", "logits") for site in listed):
        raise SiteError("patterns and logits are not compared", fix="compare z, mlp_out, streams or features")
    check_source(base, tuned, [_plain(site) for site in listed])
    clusters = pairs.clean.clusters
    both = (base, tuned)
    totals = [_total(model, pairs, chosen, batch_size) for model in both]
    with _read_by_both(base, tuned, listed):
        swept = Patching(
            sites=tuple(map(str, listed)), at=at or "all", direction="noise", metric=chosen, batch_size=batch_size
        )
        effects = [_effects(swept.run(model, pairs)) for model in both]
        by_weights = _by_weights(base, tuned, pairs, listed, Selection.parse(at), chosen, batch_size)
    rows = _rows("site", [str(site) for site in listed], effects, by_weights, clusters, seed)
    if edges:
        effects = [_edge_effects(model, pairs, edges, chosen, batch_size) for model in both]
        names = [f"{sender} -> {receiver}" for sender, receiver in edges]
        rows += _rows("edge", names, effects, np.full_like(effects[0], np.nan), clusters, seed)
    total = dict(zip(("base", "tuned", "change"), (*totals, totals[1] - totals[0]), strict=True))
    run = {
        "base": about_model(base), "tuned": about_model(tuned), "metric": chosen.name, "pairs": pairs.hash,
        "n": len(pairs), "n_clusters": pairs.clean.n_clusters, "at": at or "all", "seed": seed,
    }  # fmt: skip
    return ModelComparison(
        pd.DataFrame(rows), {name: Estimate.mean(values, clusters) for name, values in total.items()}, run
    )


def _plain(site: Site) -> Site:
    """Return the activation that a site is read from, without its dictionary."""
    return site if site.dictionary is None else Site(site.component, site.layer)


@contextmanager
def _read_by_both(base: Model, tuned: Model, sites: Sequence[Site]) -> Generator[None]:
    """Attach the dictionaries that sites name to the tuned model for a while, so that features mean the same in both."""
    names = list(dict.fromkeys(site.dictionary for site in sites if site.dictionary is not None))
    lent = [name for name in names if name not in attached(tuned)]
    for name in lent:
        lender = bound(base, name)
        attach(tuned, lender.dictionary, lender.site, name=name, site_out=lender.site_out)
    try:
        yield
    finally:
        for name in lent:
            detach(tuned, name)


def _total(model: Model, pairs: Contrast, metric: Metric, batch_size: int) -> np.ndarray:
    """Return the total effect of each pair."""
    clean, corrupt = (
        measure(model, side, metric, batch_size=batch_size).values[0] for side in (pairs.clean, pairs.corrupt)
    )
    return clean - corrupt


def _effects(result: Any) -> np.ndarray:  # noqa: ANN401 - a Result
    """Return by how much the metric falls, [place pair]."""
    return result.baselines["base"] - result.examples


def _edge_effects(model: Model, pairs: Contrast, edges: Sequence[Edge], metric: Metric, batch_size: int) -> np.ndarray:
    """Return the effect of each direct path, [edge pair]; edges into one receiver are traced together."""
    rows = np.empty((len(edges), len(pairs)))
    for receiver in dict.fromkeys(receiver for _, receiver in edges):
        numbers = [number for number, edge in enumerate(edges) if edge[1] == receiver]
        senders = tuple(edges[number][0] for number in numbers)
        traced = PathPatching(
            senders=senders, receivers=receiver, direction="noise", metric=metric, batch_size=batch_size
        ).run(model, pairs)
        rows[numbers] = _effects(traced)
    return rows


def _rows(
    kind: str,
    names: Sequence[str],
    effects: Sequence[np.ndarray],
    by_weights: np.ndarray,
    clusters: tuple[str, ...],
    seed: int,
) -> list[dict[str, Any]]:
    """Return the rows of the table; p-values are adjusted for all places of the kind."""
    change = effects[1] - effects[0]
    change = np.where(np.abs(change) <= _SAME * max(1.0, float(np.nanmax(np.abs(effects)))), 0.0, change)
    measured = bool(np.isfinite(by_weights).any())
    tests = {"change": change, **({"weights": by_weights} if measured else {})}
    raw = {name: t_test(values, clusters)[1] for name, values in tests.items()}
    adjusted = {name: max_t(values, clusters, seed=seed) for name, values in tests.items()}
    rows = []
    for number, name in enumerate(names):
        row: dict[str, Any] = {"kind": kind, "site": name}
        row |= {word: float(np.nanmean(side[number])) for word, side in zip(("base", "tuned"), effects, strict=True)}
        for column in ("change", "weights"):
            if column not in tests:
                row |= dict.fromkeys(
                    (column, *(f"{column}_{end}" for end in ("low", "high", "p", "p_adjusted"))), np.nan
                )
                continue
            estimate = Estimate.mean(tests[column][number], clusters)
            row |= {
                column: estimate.value, f"{column}_low": estimate.low, f"{column}_high": estimate.high,
                f"{column}_p": float(raw[column][number]), f"{column}_p_adjusted": float(adjusted[column][number]),
            }  # fmt: skip
        itself, moved = row["weights_p_adjusted"] <= ALPHA, row["change_p_adjusted"] <= ALPHA
        rows.append(row | {"verdict": CHANGED_ITSELF if itself else EFFECT_CHANGED if moved else NOTHING_FOUND})
    return rows


def _by_weights(
    base: Model, tuned: Model, pairs: Contrast, sites: Sequence[Site], at: Selection, metric: Metric, batch_size: int
) -> np.ndarray:
    """Return the change of the base model's total effect as one place computes with tuned weights, [place pair]."""

    def of_side(side: PromptSet) -> np.ndarray:
        def one_batch(index: torch.Tensor) -> np.ndarray:
            return _one_batch(base, tuned, side.take(index), sites, at, metric)

        return in_batches(len(side), batch_size, one_batch)[0]

    return of_side(pairs.clean) - of_side(pairs.corrupt)


@torch.no_grad()
def _one_batch(
    base: Model, tuned: Model, part: PromptSet, sites: Sequence[Site], at: Selection, metric: Metric
) -> np.ndarray:
    """Return what the tuned activation of one place at a time changes in the base model, [place prompt].

    The tuned model is run once for each activation that places read, which is set to what it is in the base model; so
    what a place gives there differs by its own weights alone. A place that gives the same is not run.
    """
    here, there = (part.to(bridge.device_of(model)) for model in (base, tuned))
    inputs = {site: _input_of(site, base) for site in sites}
    wholes = list(dict.fromkeys([*(site.whole for site in sites), *filter(None, inputs.values())]))
    unedited = forward(base, here, read=wholes)
    plain = unedited.score(metric, here).float().cpu().numpy()
    out = np.zeros((len(sites), len(part)))
    for given in dict.fromkeys(inputs.values()):
        numbers = [number for number, site in enumerate(sites) if inputs[site] == given]
        edits = [] if given is None else [Edit(given, Patch())]
        sources = [] if given is None else [unedited.read[given].to(bridge.device_of(tuned))]
        run = forward(tuned, there, edits, sources=sources, read=list(dict.fromkeys(sites[n].whole for n in numbers)))
        for number in numbers:
            site = sites[number]
            source = run.read[site.whole].to(bridge.device_of(base))
            old, new = (view(value, site) for value in (unedited.read[site.whole], source))
            if float((old - new).abs().max()) <= _SAME * max(1.0, float(old.abs().max())):
                continue
            edited = forward(base, here, [Edit(site, Patch(), at)], sources=[source])
            out[number] = edited.score(metric, here).float().cpu().numpy() - plain
    return out


def _input_of(site: Site, model: Model) -> Site | None:
    """Return the stream that a place computes from: what stands before its sublayer, or before its layer."""
    if site.layer is None:
        return None
    if site.component in ("mlp_post", "mlp_out") and abilities(model).components["resid_mid"].writes:
        return Site("resid_mid", site.layer)
    if site.component == "resid_pre":
        return Site("resid_pre", site.layer - 1) if site.layer else None
    return Site("resid_pre", site.layer)
