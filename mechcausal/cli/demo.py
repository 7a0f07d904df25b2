"""The tour of the embedded model, and that of a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json, Seed
from mechcausal.cli.output import require_folder, show_json
from mechcausal.cli.threads import use_one_thread

_EMBEDDED = "organism:hiring"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the report.")] = Path("mechcausal-demo"),
    model: Annotated[
        str, typer.Option("--model", help="smollm2, or a folder of a language model that knows English.")
    ] = _EMBEDDED,
    n: Annotated[
        int | None,
        typer.Option("--n", "-n", min=16, help="How many pairs. Default: 200 applicants, 16 of a real model."),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Audit the embedded model or a real one; write a report.

    The embedded model is organism:hiring. The report says which heads carry gender to the decision, along which path, and
    which secret numbers can be extracted; it compares all of it with the shipped truth. Of a real model, it says which
    heads carry the indirect object, how gender reaches the pronoun, what a lens reads, and what steering does and costs.
    """
    require_folder(out)
    use_one_thread()
    if model == _EMBEDDED:
        from mechcausal.report.tour import tour

        findings: Any = tour(n=n or 200, seed=seed)
    else:
        from mechcausal.report.real_tour import tour as real_tour

        findings = real_tour(model, n=n or 16, seed=seed)
    page, data = findings.write(out)
    if as_json:
        show_json(findings.numbers | {"report": str(page), "data": str(data)})
        return
    typer.echo(findings.summary())
    typer.echo(f"\nreport  {page}\ndata    {data}")
