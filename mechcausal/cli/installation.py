"""Is this installation sound?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mechcausal.cli.options import Json
from mechcausal.cli.output import show_json
from mechcausal.cli.threads import use_one_thread


def selftest(
    what: Annotated[str, typer.Argument(help="What to test: causal.")] = "causal",
    organism: Annotated[
        list[str] | None, typer.Option(help="Only this organism; may be repeated. Default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Test every method against known truths.

    Does each find what is in the organisms, and nothing else? Exits with 1 if a check fails.
    """
    use_one_thread()
    from mechcausal.catalog import ORGANISMS
    from mechcausal.causal.selftest import selftest as run_checks
    from mechcausal.errors import DataError

    if what != "causal":
        raise DataError(f"there is no self-test called {what!r}", expected="causal")
    names = tuple(organism or ORGANISMS)
    for name in names:
        ORGANISMS[name]
    checks, above = [], ("", "")
    for check in run_checks(names):
        checks.append(check)
        if as_json:
            continue
        if (check.organism, check.task) != above:
            above = check.organism, check.task
            typer.echo(f"\n{check.organism}" + (f", task {check.task}" if check.task != check.organism else ""))
        typer.echo(f"  {check}")
    passed = sum(check.passed for check in checks)
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        typer.echo(f"\n{passed} of {len(checks)} checks passed")
    if passed < len(checks):
        raise typer.Exit(1)


def doctor(as_json: Json = False) -> None:
    """Check this installation.

    Prints versions, extras, device and offline cache; for what is missing, the command that installs it. Exits with 1 if
    something has to be mended.
    """
    from mechcausal.report.doctor import diagnose

    checks = diagnose()
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        typer.echo("\n".join(map(str, checks)))
    if any(check.fix for check in checks):
        raise typer.Exit(1)
