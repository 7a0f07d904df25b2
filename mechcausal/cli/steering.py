"""Steering vectors: what each dose does, what it costs, and a file that `generate` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.options import Count, DryRun, Json, ModelName, Pairs, Seed, Shipped, Unfit
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread


def steer(
    model: ModelName,
    site: Annotated[str, typer.Option(help="Where the vector is added, such as L15.resid_post.")],
    contrast: Shipped = None,
    pairs: Pairs = None,
    vector: Annotated[str, typer.Option(help="mean, probe, or a feature such as L2.resid_post.sae:NAME.F17.")] = "mean",
    at: Annotated[str | None, typer.Option(help="At which positions it is added; all if not given.")] = None,
    read_at: Annotated[str, typer.Option(help="The position at which the two sides are compared.")] = "@-1",
    dose: Annotated[list[float] | None, typer.Option(help="How many times it is added. Can be repeated.")] = None,
    ask: Annotated[str | None, typer.Option(help="A text that asks for the behavior, put before each prompt.")] = None,
    direction: Annotated[Path | None, typer.Option(help="Where the vector is written, as safetensors.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The table, as parquet.")] = None,
    n: Count = None,
    drop: Unfit = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Add a vector, and measure its doses and their cost.

    The vector leads from the corrupt side of pairs to the clean one. Beside it stand random directions of its length.
    """
    for path, suffix in ((out, ".parquet"), (direction, ".safetensors")):
        if path is not None and not dry_run:
            require_file(path, suffix)
    chosen = Chosen(contrast, pairs, n=n, seed=seed, drop=drop)
    chosen.check("contrast", "pairs")
    use_one_thread()
    from dataclasses import asdict

    from mechcausal.models.load import load
    from mechcausal.steering import Steering

    options: dict[str, Any] = {"at": at, "read_at": read_at, "vector": vector, "ask": ask, "seed": seed}
    options |= {} if dose is None else {"doses": dose}
    method = Steering(site, **options)
    loaded = load(model)
    data: Any = chosen.read(loaded)
    if dry_run:
        cost = method.cost(loaded, data)
        show_json(asdict(cost)) if as_json else typer.echo(str(cost))
        return
    steered = method.run(loaded, data)
    written = {
        "table": None if out is None else str(steered.save(out)),
        "direction": None if direction is None else str(steered.save_direction(direction)),
    }
    if as_json:
        show_json(written | {"rows": records(steered.frame)})
        return
    typer.echo(steered.summary())
    for name, path in written.items():
        if path is not None:
            typer.echo(f"{name}  {path}")
