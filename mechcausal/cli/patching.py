"""Sweeps of interventions: exact, estimated, and along paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.options import (
    At,
    BatchSize,
    Count,
    Direction,
    DryRun,
    Json,
    MetricName,
    ModelName,
    Pairs,
    Prompts,
    Seed,
    Shipped,
    Sites,
    Spans,
    Table,
    Unfit,
)
from mechcausal.cli.running import run_method

_PAIRS = ("contrast", "pairs")


def patch(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    sites: Sites = None,
    at: At = None,
    direction: Direction = "denoise",
    metric: MetricName = None,
    out: Table = Path("patch.parquet"),
    n: Count = None,
    spans: Spans = "last",
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Patch every cell of a sweep; write the table.

    Effects are exact. The table has their intervals and the provenance of the run.
    """
    options = {"sites": sites, "at": at, "direction": direction, "metric": metric, "batch_size": batch_size}
    chosen = Chosen(contrast, pairs, n=n, seed=seed, spans=spans, drop=drop_unfit)
    run_method("Patching", options, chosen, _PAIRS, model=model, out=out, dry_run=dry_run, as_json=as_json)


def ablate(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    prompts: Prompts = None,
    sites: Sites = None,
    at: At = None,
    do: Annotated[str, typer.Option(help="zero, mean or resample.")] = "mean",
    metric: MetricName = None,
    out: Table = Path("ablate.parquet"),
    n: Count = None,
    spans: Spans = "last",
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ablate every cell of a sweep; write the table.

    What is taken away is the whole activation, by zero, its mean or that of another prompt.
    """
    options = {"sites": sites, "at": at, "do": do, "metric": metric, "batch_size": batch_size, "seed": seed}
    chosen = Chosen(contrast, pairs, prompts, n=n, seed=seed, spans=spans, drop=drop_unfit)
    sources = (*_PAIRS, "prompts")
    run_method("Ablating", options, chosen, sources, model=model, out=out, dry_run=dry_run, as_json=as_json)


def attribute(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    sites: Sites = None,
    at: At = None,
    direction: Direction = "denoise",
    steps: Annotated[int, typer.Option(min=0, help="Points on the path from base to source; 0 for the gradient.")] = 0,
    path: Annotated[str, typer.Option(help="What moves along it: joint (everything at once) or cell.")] = "joint",
    metric: MetricName = None,
    out: Table = Path("attribute.parquet"),
    n: Count = None,
    spans: Spans = "last",
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Estimate what patch would measure, by gradients; write a table."""
    options = {
        "sites": sites, "at": at, "direction": direction, "steps": steps, "path": path, "metric": metric,
        "batch_size": batch_size,
    }  # fmt: skip
    chosen = Chosen(contrast, pairs, n=n, seed=seed, spans=spans, drop=drop_unfit)
    run_method("Attributing", options, chosen, _PAIRS, model=model, out=out, dry_run=dry_run, as_json=as_json)


def path(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    senders: Annotated[list[str] | None, typer.Option(help="Where paths begin, such as z; may be repeated.")] = None,
    receivers: Annotated[
        list[str] | None, typer.Option(help="Where they end: logits, L2.mlp_out, L2.q.H1; may be repeated.")
    ] = None,
    at: At = None,
    direction: Direction = "denoise",
    metric: MetricName = None,
    out: Table = Path("path.parquet"),
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Patch direct paths from senders to receivers; write the table."""
    options = {
        "senders": senders, "receivers": receivers, "at": at, "direction": direction, "metric": metric,
        "batch_size": batch_size,
    }  # fmt: skip
    chosen = Chosen(contrast, pairs, n=n, seed=seed, drop=drop_unfit)
    run_method("PathPatching", options, chosen, _PAIRS, model=model, out=out, dry_run=dry_run, as_json=as_json)
