"""Runs of experiments: begin one or go on with it, see how far it is, look at it, collect its table, compare two.

Exit codes of `run`: 0 every row is there, 1 some rows could not be computed, 3 the experiment cannot be run, 130 stopped.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json
from mechcausal.cli.output import columns, require_file, require_folder, show_json
from mechcausal.errors import ArgumentError

BAD_PLAN = 3
Folder = Annotated[Path, typer.Argument(help="The folder of the run.")]
runs = typer.Typer(name="runs", help="The runs that are on this machine.", no_args_is_help=True, rich_markup_mode=None)


def run(
    experiment: Annotated[Path, typer.Argument(help="The experiment, a TOML file.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder of the run; out/NAME unless said. Running again goes on there."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Replace a value: data.gender.n=16, model=gpt2, step.heads.metric=prob. May be repeated."
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="The id of a step to run; may be repeated.")] = None,
    engine: Annotated[str, typer.Option(help="local (this process) or ray.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="How many actors Ray starts.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="How many GPUs each of them has.")] = None,
    address: Annotated[str | None, typer.Option(help="The Ray cluster to join: auto, or HOST:6379.")] = None,
    track: Annotated[str | None, typer.Option(help="Tell wandb (or trackio, swanlab) how far the run is.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment; run it again to go on.

    Rows are kept as they come. After a kill, or with more data, sites or models, only what is missing is computed.
    """
    from mechcausal.runs.config import ExperimentError
    from mechcausal.runs.driver import Stopped
    from mechcausal.runs.experiment import Experiment

    try:
        asked = Experiment.read(experiment, _sets(sets or []))
        asked = asked.only(only) if only else asked
        if dry_run:
            cost = asked.cost()
            if as_json:
                show_json(cost.to_json())
            else:
                typer.echo(str(cost))
            return
        folder = out or Path("out") / asked.config.name
        require_folder(folder)
        options: dict[str, Any] = {"workers": workers, "gpus": gpus, "address": address, "track": track}
        done = asked.run(folder, engine=engine, **options)
    except ExperimentError as error:
        _bad(experiment, error.problems, as_json)
    except Stopped as error:
        typer.echo(f"\nmechcausal: {error}", err=True)
        raise typer.Exit(130) from None
    parts = done.status()
    failed = sum(part.failed for part in parts)
    if as_json:
        show_json({"folder": str(folder), "complete": done.complete, "steps": [_record(part) for part in parts]})
    else:
        typer.echo(f"{done!r}\n\nrun     {folder}")
    if failed:
        typer.echo(
            f"mechcausal: {failed} rows could not be computed: mechcausal status {folder} says why, running again tries again",
            err=True,
        )
    raise typer.Exit(0 if done.complete else 1)


def status(folder: Folder, as_json: Json = False) -> None:
    """Say how far a run is.

    Rows planned, done and failed, and when it will be ready.
    """
    from mechcausal.runs.listing import driver
    from mechcausal.runs.page import said
    from mechcausal.runs.run import Run

    stored_run = Run(folder)
    parts, at_work = stored_run.status(), driver(folder)
    planned, done = sum(part.planned or 0 for part in parts), sum(part.done for part in parts)
    pace = 0.0 if at_work is None else float(at_work.get("rows_per_second", 0.0))
    seconds = (planned - done) / pace if pace > 0 else None
    damaged = [list(each) for each in stored_run.store.damaged]
    if as_json:
        show_json(
            {"name": stored_run.plan.name, "planned": planned, "done": done, "complete": stored_run.complete,
             "running": at_work is not None, "seconds_left": seconds, "damaged": damaged,
             "steps": [_record(part) for part in parts]}
        )  # fmt: skip
        return
    rows = [(part.step, part.method, said(part)) for part in parts]
    typer.echo(f"{stored_run.plan.name}: {done:,} of {planned:,} rows\n\n{columns(['step', 'method', 'state'], rows)}")
    for part in parts:
        for error, count in part.errors.items():
            typer.echo(f"\n{part.step}: {count} rows failed: {error}")
    for name, why in damaged:
        typer.echo(f"\n{name} does not count: {why}")
    if at_work is not None:
        left = "" if seconds is None else f", about {_time(seconds)} left"
        typer.echo(f"\nprocess {at_work['process']} on {at_work['host']} is at work{left}")
    elif not stored_run.complete:
        typer.echo("\nnobody is at work on it: run the experiment again, which goes on from here")


def view(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; report.html in the folder unless said.")
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open it in a browser.")] = True,
    as_json: Json = False,
) -> None:
    """Write the report of a run, and open it."""
    from mechcausal.runs.page import write_page
    from mechcausal.runs.run import Run

    if out is not None:
        require_file(out, ".html", ".htm")
    path = write_page(Run(folder), out)
    if as_json:
        show_json({"report": str(path)})
    else:
        typer.echo(f"report  {path}")
    if show:
        typer.launch(path.absolute().as_uri())


def collect(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The table, as .parquet or .csv.")],
    step: Annotated[str | None, typer.Option(help="The step; all of them unless said.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what is there, even if rows are missing or wrong.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the rows of a run as one table.

    Before, it is proved that every planned row is there once, undamaged, and that rows of the same key agree.
    """
    from mechcausal.runs.collecting import problems, write_table
    from mechcausal.runs.run import Run

    require_file(out, ".parquet", ".csv")
    stored_run = Run(folder)
    wrong = problems(stored_run)
    written = not wrong or partial
    table = stored_run.table(step) if written else None
    if table is not None:
        write_table(table, out)
    if as_json:
        show_json(
            {"problems": wrong, "table": str(out) if written else None, "rows": 0 if table is None else len(table)}
        )
    else:
        typer.echo("\n".join(f"{folder}: {problem}" for problem in wrong), err=True, nl=bool(wrong))
        if table is not None:
            typer.echo(
                f"{len(table):,} rows" + ("" if wrong else ", complete, each once, all sound") + f"\n\ntable   {out}"
            )
        else:
            typer.echo("nothing was written: run the experiment again, or give --partial", err=True)
    raise typer.Exit(1 if wrong else 0)


def diff(
    first: Annotated[Path, typer.Argument(help="The folder of a run.")],
    second: Annotated[Path, typer.Argument(help="The folder of another.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far apart numbers may be. At 0 they are equal to the last bit.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Compare two runs, row by row.

    What changed beyond the tolerance, and what only one of them has.
    """
    from mechcausal.runs.diffing import difference
    from mechcausal.runs.run import Run

    comparison = difference(Run(first), Run(second), tolerance)
    if as_json:
        show_json(comparison.to_json())
    else:
        typer.echo(str(comparison))
    raise typer.Exit(0 if comparison.identical else 1)


@runs.command("ls")
def ls(as_json: Json = False) -> None:
    """List the runs that are on this machine."""
    from mechcausal.runs.listing import listed

    entries = listed()
    if as_json:
        show_json(entries)
        return
    rows = [
        (
            each["name"],
            f"{each['done']:,} of {each['planned']:,}",
            f"{each['failed']:,}",
            "yes" if each["running"] else "no",
            each["folder"],
        )
        for each in entries
    ]
    typer.echo(
        columns(["name", "rows", "failed", "at work", "folder"], rows) if rows else "there are no runs on this machine"
    )


def _sets(words: list[str]) -> dict[str, Any]:
    """Return what `--set key=value` says; a value that is no TOML is a text."""
    settings: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key.strip():
            raise ArgumentError(f"--set cannot be {word!r}", expected="KEY=VALUE, such as data.gender.n=16")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        settings[key.strip()] = value
    return settings


def _bad(experiment: Path, problems: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        show_json({"problems": list(problems)})
    else:
        typer.echo("\n".join(f"{experiment}: {problem}" for problem in problems), err=True)
    raise typer.Exit(BAD_PLAN)


def _record(part: Any) -> dict[str, Any]:  # noqa: ANN401 - a Progress
    return {
        "step": part.step, "method": part.method, "planned": part.planned, "done": part.done, "failed": part.failed,
        "errors": part.errors, "skipped": part.skipped,
    }  # fmt: skip


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
