"""What a lens reads inside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.options import Count, DryRun, Json, ModelName, Pairs, Prompts, Seed, Shipped, Unfit
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError


def lens(
    model: ModelName,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="What is read. Can be repeated.")] = None,
    answer: Annotated[
        str | None, typer.Option(help="The token that is followed; the model's own if not given.")
    ] = None,
    contrast: Shipped = None,
    pairs: Pairs = None,
    prompts: Prompts = None,
    kind: Annotated[str, typer.Option(help="logit, or tuned (fitted on a part of the prompts).")] = "logit",
    at: Annotated[list[str] | None, typer.Option(help="Where: each, or selections such as @-1 or @subject.")] = None,
    direction: Annotated[str, typer.Option(help="How cells of pairs are patched: denoise or noise.")] = "denoise",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The table, as parquet.")] = None,
    n: Count = None,
    drop: Unfit = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Read each layer with a lens, and measure what is used.

    What is readable is the lens; what is used is the exact effect of patching the same cell.
    """
    if out is not None and not dry_run:
        require_file(out, ".parquet")
    chosen = Chosen(contrast, pairs, prompts, n=n, seed=seed, drop=drop)
    if not prompt:
        chosen.check("contrast", "pairs", "prompts")
    elif any(given is not None for given in (contrast, pairs, prompts)):
        raise ArgumentError("lens reads either prompts or pairs", fix="leave out --prompt, or the other data")
    use_one_thread()
    from dataclasses import asdict

    from mechcausal.data import PromptSet
    from mechcausal.inspection import Lensing
    from mechcausal.models.load import load

    options: dict[str, Any] = {"kind": kind, "direction": direction, "seed": seed}
    method = Lensing(**options, at=at[0] if at is not None and len(at) == 1 else at)
    loaded = load(model)
    data: Any = PromptSet.from_text(loaded, list(prompt), answer=answer) if prompt else chosen.read(loaded)
    if dry_run:
        cost = method.cost(loaded, data)
        show_json(asdict(cost)) if as_json else typer.echo(str(cost))
        return
    read = method.run(loaded, data)
    path = None if out is None else read.save(out)
    if as_json:
        show_json(
            {"table": None if path is None else str(path), "rows": records(read.frame), "tuning": records(read.tuning)}
        )
        return
    typer.echo(read.summary() + ("" if path is None else f"\n\ntable  {path}"))
