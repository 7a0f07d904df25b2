"""Probes and erasure of a concept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.data import Chosen, concept_labels
from mechcausal.cli.options import (
    At,
    BatchSize,
    Concept,
    Count,
    DryRun,
    Json,
    ModelName,
    Pairs,
    ProbeLabels,
    Seed,
    Shipped,
    Sites,
    Table,
    TaskName,
    Unfit,
    World,
)
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.running import run_method, show_cost
from mechcausal.cli.threads import use_one_thread

_SOURCES = ("contrast", "pairs", "prompts", "task")
Probe = Annotated[
    str | None, typer.Option("--probe", help="The kind: logistic, means, sparse, quadratic, mlp; ridge for numbers.")
]


def probe(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    probe_labels: ProbeLabels = None,
    task: TaskName = None,
    environment: World = None,
    concept: Concept = None,
    sites: Sites = None,
    at: At = None,
    kind: Probe = None,
    control: Annotated[bool, typer.Option(help="Also run control tasks.")] = False,
    out: Table = Path("probe.parquet"),
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit a probe at every place; write the table.

    Of pairs both sides are read. What can be read need not be used: see link.
    """

    def prepare(loaded: Any, data: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
        del loaded
        name, labels = concept_labels(data, concept)
        return data, {"labels": labels, "concept": name}

    options = {"sites": sites, "at": at, "kind": kind, "control": control, "batch_size": batch_size, "seed": seed}
    chosen = Chosen(contrast, pairs, probe_labels, task, environment, n=n, seed=seed, drop=drop_unfit)
    run_method(
        "ProbeSweeping", options, chosen, _SOURCES,
        model=model, out=out, dry_run=dry_run, as_json=as_json, prepare=prepare,
    )  # fmt: skip


def erase(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    probe_labels: ProbeLabels = None,
    task: TaskName = None,
    environment: World = None,
    concept: Concept = None,
    sites: Sites = None,
    at: At = None,
    method: Annotated[str, typer.Option(help="leace or means.")] = "leace",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="What probes still read, as parquet; the edits are beside it as .json.")
    ] = Path("erase.parquet"),
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Erase a concept; write the edits and what can still be read.

    The edits are fitted to one half of the prompts and judged on the other.
    """
    if not dry_run:
        require_file(out, ".parquet")
    chosen = Chosen(contrast, pairs, probe_labels, task, environment, n=n, seed=seed, drop=drop_unfit)
    chosen.check(*_SOURCES)
    use_one_thread()
    from mechcausal.methods import Erasing, Guarding
    from mechcausal.models.load import load
    from mechcausal.results.storage import write_text

    loaded = load(model)
    data = chosen.read(loaded)
    name, labels = concept_labels(data, concept)
    options: dict[str, Any] = {"labels": labels, "concept": name, "method": method, "batch_size": batch_size}
    options |= {key: value for key, value in (("sites", sites), ("at", at)) if value is not None}
    eraser = Erasing(**options, seed=seed)
    if dry_run:
        show_cost(eraser.cost(loaded, data), as_json=as_json)
        return
    erasure = eraser.run(loaded, data)
    guarded = Guarding(batch_size=batch_size, seed=seed).run(loaded, erasure)
    table, edits = guarded.save(out), out.with_suffix(".json")
    kept: dict[str, Any] = {
        "concept": erasure.concept,
        "method": erasure.method,
        "ranks": erasure.ranks,
        "warning": erasure.warning,
    }
    kept |= {"edits": [edit.to_json() for edit in erasure.edits]}
    write_text(edits, json.dumps(kept))
    if as_json:
        report = {key: value for key, value in kept.items() if key != "edits"}
        show_json({"table": str(table), "edits": str(edits), **report, "rows": records(guarded.frame)})
        return
    typer.echo(f"{erasure.summary()}\n{guarded.summary()}\n\ntable  {table}\nedits  {edits}")
