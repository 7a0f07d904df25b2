"""Sweeps of interventions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json, ModelName, Seed
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread


def patch(
    model: ModelName,
    contrast: Annotated[str, typer.Option(help="Pairs that ship with the package, such as hiring/gender.")],
    sites: Annotated[list[str] | None, typer.Option(help="What to patch, such as resid_pre, z or L1.z.H*.")] = None,
    at: Annotated[str | None, typer.Option(help="Where: each, or a selection such as @-1 or @decision.")] = None,
    direction: Annotated[
        str, typer.Option(help="denoise: clean into corrupt, what suffices. noise: corrupt into clean, what is needed.")
    ] = "denoise",
    out: Annotated[Path, typer.Option("--out", "-o", help="The table, as parquet.")] = Path("patch.parquet"),
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="How many pairs.")] = 200,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Patch every cell of a sweep; write the table.

    Effects are exact. The table has their intervals and the provenance of the run.
    """
    if not dry_run:
        require_file(out, ".parquet")
    use_one_thread()
    from dataclasses import asdict

    from mechcausal.data import contrast as make_contrast
    from mechcausal.models.load import load
    from mechcausal.patching.activation import Patching

    chosen: dict[str, Any] = {"sites": sites or "resid_pre", "direction": direction}
    chosen |= {} if at is None else {"at": at}
    method = Patching(**chosen)
    loaded = load(model)
    pairs = make_contrast(contrast, loaded, n=n, seed=seed)
    if dry_run:
        cost = method.cost(loaded, pairs)
        show_json(asdict(cost)) if as_json else typer.echo(str(cost))
        return
    result = method.run(loaded, pairs)
    path = result.save(out)
    if as_json:
        show_json({"table": str(path), "rows": records(result.frame)})
        return
    typer.echo(f"{result.summary()}\n\ntable  {path}")
