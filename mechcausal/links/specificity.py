"""How specific a candidate is: its effects on probes, on the worst group, on neutral text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mechcausal.address import Selection, Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.interventions.specs import Edit, Mean
from mechcausal.links.bench import CHOOSE, ESTIMATE, Bench
from mechcausal.links.candidates import Candidate
from mechcausal.links.concepts import Concept
from mechcausal.metrics import metric
from mechcausal.models.engine import Plan, evaluate, mean_activations
from mechcausal.probes.kinds import Settings, fit
from mechcausal.results.shares import Shares, shares


@dataclass(frozen=True)
class Judge:
    """A probe whose reading is followed under interventions.

    Attributes:
        concept: The concept it reads.
        site: Where.
        at: At which positions.
        scores: From what the site holds, [prompt number], to log-odds of the concept.
        given: Whether the caller brought it; else it is a difference of means behind the last layer.
        sides: For a value of a concept with many, which side of each pair has it; see `Concept`.
    """

    concept: str
    site: Site
    at: Selection
    scores: Callable[[np.ndarray], np.ndarray]
    given: bool
    sides: np.ndarray | None = None


def judges(bench: Bench, concepts: Sequence[Concept], at: Selection) -> list[Judge]:
    """Return for each concept the probe it came with, and one behind the last layer fitted on the half to choose by."""
    end = Site("resid_post", bench.able.shape.n_layers - 1)
    values, _ = bench.read([end], at, halves=[CHOOSE])[end]
    chosen = bench.both_sides(bench.split[CHOOSE])
    judges_ = []
    for concept in concepts:
        if concept.probe is not None:
            probe = concept.probe
            if probe.pool == "max" and not (probe.at.is_single or probe.at.name):
                raise UnsupportedError(
                    f"the probe of {concept.name!r} reads a maximum over positions",
                    fix="fit it at a position, or with pool='mean'",
                )
            judges_.append(
                Judge(concept.name, probe.site, probe.at, _scores_of(concept), given=True, sides=concept.sides)
            )
        rows = chosen[concept.labelled[chosen] & np.isfinite(values[chosen]).all(axis=1)]
        readout = fit("means", values[rows], concept.labels[rows], Settings(seed=bench.seed))
        judges_.append(Judge(concept.name, end, at, _one_column(readout), given=False, sides=concept.sides))
    return judges_


def _scores_of(concept: Concept) -> Callable[[np.ndarray], np.ndarray]:
    def scores(x: np.ndarray) -> np.ndarray:
        scores_ = concept.probe.scores(torch.as_tensor(x)).detach().cpu().numpy()
        return scores_ if scores_.ndim == 1 else scores_[:, concept.code]

    return scores


def _one_column(readout: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: readout(torch.as_tensor(x)).detach().cpu().numpy()[:, 0]


def on_probes(bench: Bench, candidates: Sequence[Candidate], probes: Sequence[Judge]) -> list[Shares]:
    """Return for each probe the share of its own total effect that every candidate moves."""
    rows = bench.split[ESTIMATE]
    sites, places = [judge.site for judge in probes], [judge.at for judge in probes]
    runs = bench.read_under(bench.cells(candidates), sites, places, "probes under interventions")
    clusters = np.asarray(bench.clusters)[rows]
    effects = []
    for number, judge in enumerate(probes):
        base, source, *edited = (judge.scores(run[number]) for run in runs)
        change = np.stack(edited) - base if edited else np.zeros((0, len(rows)))
        # What rises where one side has the value falls where the other has it; pairs without it say nothing.
        sign = 1.0 if judge.sides is None else np.where(judge.sides[rows] == 0, np.nan, judge.sides[rows])
        effects.append(shares(sign * change, sign * (source - base), clusters, least=bench.smallest))
    return effects


def worst_groups(bench: Bench, change: np.ndarray) -> list[tuple[str, float]]:
    """Return for each candidate the group it moves most, and how far as a share of the mean total effect."""
    rows = bench.split[ESTIMATE]
    groups = np.asarray(bench.pairs.clean.groups)
    if len(groups) == 0:
        return [("", np.nan)] * len(change)
    names = list(dict.fromkeys(groups[rows].tolist()))
    by_group = np.stack([change[:, rows[groups[rows] == name]].mean(axis=1) for name in names])
    worst = np.abs(by_group).argmax(axis=0)
    total = bench.total[rows].mean()
    return [(names[group], float(by_group[group, number] / total)) for number, group in enumerate(worst)]


def on_neutral_text(bench: Bench, candidates: Sequence[Candidate], neutral: PromptSet | None) -> np.ndarray:
    """Return the mean KL divergence, in nats, that removing each candidate makes on neutral text, [candidate].

    It is removed by its mean over that text, at every token.
    """
    if neutral is None or not candidates:
        return np.full(len(candidates), np.nan)
    wholes = list(dict.fromkeys(candidate.site.whole for candidate in candidates))
    means = mean_activations(bench.model, neutral, wholes, batch_size=bench.batch_size, per_position=False)
    cells = [(Edit(candidate.site, Mean()),) for candidate in candidates]
    plan = Plan(replace(neutral, read_at=None), cells, metric("kl"), means=means, reference=neutral)
    values = evaluate(bench.model, plan, batch_size=bench.batch_size, progress="link: neutral text", exact=bench.exact)
    bench.forwards += values.forwards
    bench.stages["neutral text"] = values.values.size
    return values.values.mean(axis=1)
