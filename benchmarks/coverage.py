"""How often the 95 % intervals cover: clusters few and many, equal and unequal, independent inside or not.

    python benchmarks/coverage.py            # one JSON line a cell; exits 1 if any cell is outside 92 to 98 %
    python benchmarks/coverage.py --quick    # a tenth of the draws, for a look

Each cell draws data whose true value is known, and counts how often the package's own interval holds it.

- `what`: the mean of a column, a difference of two columns of the same examples, or a ratio of two means (an effect).
- `clusters`, `sizes`: how many clusters, all of size 10, of sizes 3 to 15, or lognormal from 1 to 40.
- `scheme`: `fixed` keeps the same sizes in every draw, `sampled` draws each cluster with its size.
- `correlation`: how much of the variance is common to a cluster.

The gain of sparing a claim is a difference of two scrubbed scores. Its interval may cover more than 98 % (it is never
narrower than that of its references alone, though parts of a prompt can cancel in the difference), and not less than 92.

With 20,000 draws the Monte Carlo error of a cell is 0.15 points. The intervals of scrubbing with several draws are in
`coverage_scrubbing.py` and those of ablation by an estimated mean in `coverage_means.py`, which this runs as well.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import coverage_means
import coverage_scrubbing
import numpy as np
from coverage_scrubbing import HIGH, LOW
from scipy import stats

from mechcausal.results.intervals import clustered_means, ratio_of_sums

CLUSTERS = (6, 8, 12, 20, 40)
SIZES = ("equal", "3 to 15", "lognormal 1 to 40")
SCHEMES = ("sampled", "fixed")
CORRELATIONS = (0.0, 0.3, 0.9)
WHAT = ("mean", "difference", "ratio")
RATIO = 0.5


def sizes_of(kind: str, clusters: int, scheme: str, draws: int, draw: np.random.Generator) -> np.ndarray:
    """Return the sizes of the clusters in every draw, [draw cluster]."""
    if scheme == "fixed":  # the quantiles of what the other scheme draws
        share = np.broadcast_to((np.arange(clusters) + 0.5) / clusters, (draws, clusters))
    else:
        share = draw.random((draws, clusters))
    if kind == "equal":
        return np.full((draws, clusters), 10.0)
    if kind == "3 to 15":
        return np.floor(3 + 13 * share)
    return np.clip(np.round(np.exp(np.log(7) + stats.norm.ppf(share))), 1, 40)


def sums(sizes: np.ndarray, correlation: float, draw: np.random.Generator) -> np.ndarray:
    """Return the sum over each cluster of examples with mean 0 and variance 1, [draw cluster]."""
    common = draw.normal(size=sizes.shape) * np.sqrt(correlation)
    return sizes * common + np.sqrt(sizes * (1 - correlation)) * draw.normal(size=sizes.shape)


def covered(what: str, sizes: np.ndarray, correlation: float, draw: np.random.Generator) -> np.ndarray:
    """Say for each draw whether the interval holds the true value."""
    first, second = sums(sizes, correlation, draw), sums(sizes, correlation, draw)
    if what == "ratio":
        below = 2 * sizes + second
        ratio, spread = ratio_of_sums(RATIO * below + 0.5 * first, below, sizes)
        low, high = spread.interval()
        return (ratio + low <= RATIO) & (ratio + high >= RATIO)
    # The two columns of a difference share the second part, as a run and its base do.
    values = first if what == "mean" else (second + first) - (second + 0.5 * sums(sizes, correlation, draw))
    low, high = clustered_means(values, sizes).interval()
    return (low <= 0) & (high >= 0)


def cells(draws: int) -> Iterator[dict[str, Any]]:
    """Measure one cell after the other."""
    axes = itertools.product(WHAT, CLUSTERS, SIZES, SCHEMES, CORRELATIONS)
    for number, (what, clusters, kind, scheme, correlation) in enumerate(axes):
        draw = np.random.default_rng(number)
        hits = covered(what, sizes_of(kind, clusters, scheme, draws, draw), correlation, draw)
        yield {
            "table": "clusters", "what": what, "clusters": clusters, "sizes": kind, "scheme": scheme,
            "correlation": correlation, "draws": draws, "coverage": round(100 * float(hits.mean()), 2),
        }  # fmt: skip


def beyond(draws: int) -> Iterator[dict[str, Any]]:
    """Measure where the intervals are known to cover less: skewed clusters, and effects that depend on the size."""
    for number, (clusters, kind) in enumerate(itertools.product(CLUSTERS, SIZES)):
        for what in ("skewed", "depends on size"):
            draw = np.random.default_rng(number)
            sizes = sizes_of(kind, clusters, "sampled", draws, draw)
            target = 0.0
            if what == "skewed":
                values = sums(sizes, 0.0, draw) + sizes * (draw.exponential(size=sizes.shape) - 1)
            else:  # by one standard deviation where the size is e times as large
                values = sums(sizes, 0.3, draw) + sizes * np.log(sizes)
                many = sizes_of(kind, 400, "sampled", 2_000, draw)
                target = float((many * np.log(many)).sum() / many.sum())
            low, high = clustered_means(values, sizes).interval()
            hits = (low <= target) & (high >= target)
            yield {
                "table": "beyond", "what": what, "clusters": clusters, "sizes": kind, "draws": draws,
                "coverage": round(100 * float(hits.mean()), 2),
            }  # fmt: skip


def main() -> int:
    """Print one JSON line a cell, and say at the end whether all are within the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    parser.add_argument("--only", choices=("clusters", "scrubbing", "means"), help="one table alone")
    parser.add_argument("--beyond", action="store_true", help="where they cover less; these cells have no bar")
    asked = parser.parse_args()
    if asked.beyond:
        for cell in itertools.chain(beyond(2_000 if asked.quick else 20_000), coverage_means.beyond(quick=asked.quick)):
            print(json.dumps(cell), flush=True)
        return 0
    tables = {
        "clusters": cells(2_000 if asked.quick else 20_000),
        "scrubbing": coverage_scrubbing.cells(quick=asked.quick),
        "means": coverage_means.cells(quick=asked.quick),
    }
    tables = {name: table for name, table in tables.items() if asked.only in (None, name)}
    outside, lowest, highest, count = 0, 100.0, 0.0, 0
    for cell in itertools.chain(*tables.values()):
        print(json.dumps(cell), flush=True)
        outside += not LOW <= cell["coverage"] <= (100 if cell["what"] == "gain" else HIGH)
        lowest, highest, count = min(lowest, cell["coverage"]), max(highest, cell["coverage"]), count + 1
    print(
        f"{count} cells, coverage {lowest:.1f} to {highest:.1f} %, {outside} outside {LOW:.0f} to {HIGH:.0f}",
        file=sys.stderr,
    )
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
