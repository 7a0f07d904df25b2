"""The tour of the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechcausal.cli.options import Json, Seed
from mechcausal.cli.output import require_folder, show_json
from mechcausal.cli.threads import use_one_thread


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the report.")] = Path("mechcausal-demo"),
    n: Annotated[int, typer.Option("--n", "-n", min=16, help="How many pairs of applicants.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Audit the embedded model and write a report.

    The model is organism:hiring. The report says which heads carry gender to the decision, along which path, and which
    secret numbers can be extracted; it compares all of it with the shipped truth.
    """
    require_folder(out)
    use_one_thread()
    from mechcausal.report.tour import tour

    findings = tour(n=n, seed=seed)
    page, data = findings.write(out)
    if as_json:
        show_json(findings.numbers | {"report": str(page), "data": str(data)})
        return
    typer.echo(findings.summary())
    typer.echo(f"\nreport  {page}\ndata    {data}")
