"""Causal scrubbing of a hypothesis that stands in a file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.options import (
    BatchSize,
    Count,
    DryRun,
    Json,
    MetricName,
    ModelName,
    Pairs,
    Prompts,
    Seed,
    Shipped,
    Table,
    TaskName,
    Unfit,
    World,
)
from mechcausal.cli.running import run_method
from mechcausal.errors import ArgumentError


def scrub(
    model: ModelName,
    hypothesis: Annotated[
        Path, typer.Option(help="A TOML file: task and alignment, or a tree of name, parts, feature and children.")
    ],
    contrast: Shipped = None,
    pairs: Pairs = None,
    prompts: Prompts = None,
    task: TaskName = None,
    environment: World = None,
    metric: MetricName = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often everything is drawn anew.")] = 3,
    lonely: Annotated[str, typer.Option(help="Values that one prompt alone has: refuse, or keep them.")] = "refuse",
    report: Annotated[bool, typer.Option(help="Spare each claim in turn.")] = True,
    controls: Annotated[bool, typer.Option(help="Also run three wrong hypotheses.")] = True,
    out: Table = Path("scrub.parquet"),
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Scrub a hypothesis; write the table.

    How much of the behavior does it explain, and which of its claims loses the rest?
    """
    options = {
        "hypothesis": _read(hypothesis), "metric": metric, "seeds": seeds, "lonely": lonely, "report": report,
        "controls": controls, "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    chosen = Chosen(contrast, pairs, prompts, task, environment, n=n, seed=seed, drop=drop_unfit)
    sources = ("contrast", "pairs", "prompts", "task")
    run_method("Scrubbing", options, chosen, sources, model=model, out=out, dry_run=dry_run, as_json=as_json)


def _read(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}", fix="check the name and the folder")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path} is not TOML", got=str(error)) from None
