"""The first step of a link: check what is asked, and read what candidates hold in the unedited runs of both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mechcausal.address import Selection, Site
from mechcausal.data.contrast import Contrast
from mechcausal.dictionaries.companions import Companion
from mechcausal.links import stability
from mechcausal.links.bench import DO, Bench
from mechcausal.links.candidates import Candidate, candidates_of
from mechcausal.links.ceilings import dense_sites
from mechcausal.links.concepts import Concept, concepts_of
from mechcausal.links.measure import Readings, hold
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import Bound
from mechcausal.models.engine import check_prompts
from mechcausal.models.replay.changes import needed
from mechcausal.patching.sweep import two_sides

if TYPE_CHECKING:
    from mechcausal.links.linking import Linking


@dataclass(frozen=True, eq=False)
class Gathered:
    """What a link is asked about.

    Attributes:
        bench: The model, the pairs and the metric.
        read_at: The position at which a concept has to be available.
        candidates: All candidates.
        concepts: The concepts that are judged.
        followed: The concepts that are judged, and others on which effects are followed.
        others: Other dictionaries that the caller names, for stability.
        companions: The companions in the folders of the candidates' dictionaries.
    """

    bench: Bench
    read_at: Selection
    candidates: tuple[Candidate, ...]
    concepts: tuple[Concept, ...]
    followed: tuple[Concept, ...]
    others: tuple[Bound, ...]
    companions: Mapping[str, Sequence[Companion]]

    def readings(self) -> Readings:
        """Read what the candidates hold; this records both sides of the pairs."""
        return hold(self.bench, self.candidates, self.read_at)


def gather(asked: Linking, model: Any, pairs: Contrast) -> Gathered:  # noqa: ANN401 - a TransformerBridge
    """Check what is asked before anything is run."""
    base, source = two_sides(pairs, asked.direction)
    metric = metric_of(asked.metric)
    for side in (base, source):
        metric.check(side)
        check_prompts(model, side)
    if asked.neutral is not None:
        check_prompts(model, asked.neutral)
    where = Selection.parse(asked.at)
    base.select(where)
    bench = Bench(
        model, abilities(model), pairs, base, source, metric, DO[asked.do], where, asked.smallest_effect, asked.fdr,
        asked.batch_size, asked.exact, asked.seed, asked.direction, asked.generalize,
    )  # fmt: skip
    candidates = candidates_of(model, asked.what, bench.able)
    concepts = concepts_of(asked.probes, bench.prompts)
    followed = concepts_of([*listed(asked.probes), *listed(asked.also)], bench.prompts)
    others, companions = stability.check_others(model, asked.others), stability.companions_of(model, candidates)
    read_at = bench.reading(asked.read_at)
    bench.prompts.select(read_at)
    bench.memory.sites += _later(bench, candidates, followed)
    return Gathered(bench, read_at, tuple(candidates), tuple(concepts), tuple(followed), tuple(others), companions)


def _later(bench: Bench, candidates: Sequence[Candidate], followed: Sequence[Concept]) -> list[Site]:
    """Return the whole activations that later stages ask for, so that one recording serves all of them."""
    edited = [candidate.site for candidate in candidates]
    dense = dense_sites(bench, candidates)
    probed = [concept.probe.site.whole for concept in followed if concept.probe is not None]
    end = Site("resid_post", bench.able.shape.n_layers - 1)
    sites = [*needed([*edited, *dense], bench.able), *probed, end]
    plain = dict.fromkeys(site.activation if site.dictionary else site for site in sites)
    return [site for site in plain if bench.able.components[site.component].reads]


def listed(probes: Any) -> list[Any]:  # noqa: ANN401 - one, or several
    """Return one or several as a list."""
    return list(probes) if isinstance(probes, (list, tuple)) else [probes]
