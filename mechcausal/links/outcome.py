"""The last step of a link: the result, with everything that is needed to read it and to run it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechcausal.data.places import plain
from mechcausal.links import stability
from mechcausal.links.candidates import Candidate
from mechcausal.links.gather import Gathered
from mechcausal.links.measured import Measured
from mechcausal.links.result import Links
from mechcausal.models.binding import Bound, bound
from mechcausal.models.facts import facts
from mechcausal.results.provenance import Provenance

if TYPE_CHECKING:
    from mechcausal.links.linking import Linking


def outcome(
    asked: Linking, gathered: Gathered, measured: Measured, frame: pd.DataFrame, examples: np.ndarray, started: float
) -> Links:
    """Make the result."""
    bench = gathered.bench
    pairs, estimated = bench.pairs, bench.split[1]
    made = facts(
        bench.model, pairs, started=started, forwards=bench.forwards, batch_size=bench.batch_size,
        stages=dict(bench.stages), **bench.compute,
    )  # fmt: skip
    base, source = (values[estimated] for values in bench.unedited)
    clean, corrupt = (base, source) if bench.direction == "noise" else (source, base)
    groups = np.asarray(pairs.clean.groups)
    return Links(
        frame,
        Provenance("link", _arguments(asked, gathered, measured), seed=bench.seed, **made),
        examples,
        {"base": base, "clean": clean, "corrupt": corrupt},
        tuple(groups[estimated].tolist()) if len(groups) else (),
        tuple(np.asarray(bench.clusters)[estimated].tolist()),
        _tables(gathered, measured),
    )


def _tables(gathered: Gathered, measured: Measured) -> dict[str, Any]:
    bench, readings = gathered.bench, measured.readings
    return {
        "total": measured.total.to_json(),
        "ceilings": measured.ceilings,
        "complete": [vars(complete) for complete in measured.complete.values()],
        "stability": stability.summary_of(measured.counterparts, readings.candidates, gathered.companions),
        "chosen": dict(measured.chosen),
        "family": {
            **measured.family,
            "effects": sum(effects.estimate.size for effects in dict.fromkeys(measured.judged)),
            "associations": measured.available[0].family,
            "dead": readings.dead,
            "shuffled": {available.concept.name: available.shuffled for available in measured.available},
        },
        "halves": {"chosen": len(bench.split[0]), "estimated": len(bench.split[1])},
        "judged": {concept.name: len(concept.judged(bench.split[1])) for concept in gathered.concepts},
        "fixed": bench.units.note,
    }


def _arguments(asked: Linking, gathered: Gathered, measured: Measured) -> dict[str, Any]:
    bench, readings = gathered.bench, measured.readings
    names = dict.fromkeys(c.site.dictionary for c in readings.candidates if c.site.dictionary is not None)
    dictionaries = [*(bound(bench.model, name) for name in names), *gathered.others]
    return {
        "metric": bench.metric.name, "what": _named(asked.what),
        "concepts": [concept.name for concept in gathered.concepts],
        "also": [concept.name for concept in gathered.followed[len(gathered.concepts) :]],
        "at": str(bench.where), "read_at": str(gathered.read_at), "do": bench.do.to_json(),
        **{
            name: getattr(asked, name)
            for name in (
                "direction", "smallest_effect", "smallest_association", "fdr", "random", "redrawn", "most", "details",
                "generalize",
            )
        },
        "neutral": None if asked.neutral is None else asked.neutral.hash,
        "dictionaries": {dictionary.name: dictionary.digest for dictionary in dictionaries}
        | {other.dictionary: other.digest for other in measured.counterparts},
        "others": [other.name for other in gathered.others],
    }  # fmt: skip


def _named(what: Any) -> Any:  # noqa: ANN401 - any way of naming candidates
    if isinstance(what, Bound):
        return str(what.features)
    if isinstance(what, Candidate):
        return what.name
    return [_named(item) for item in what] if isinstance(what, (list, tuple)) else plain(what)
