"""Audits: a plan is written, checked, run, and its reports are written again and compared; and the self-test of the questions.

Exit codes of `run`, `report` and `compare`: 0 every threshold is kept, 1 one is broken, 2 one is open, 3 the plan cannot be
run, 4 a question or the program failed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json
from mechcausal.cli.output import require_file, require_folder, show_json
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError, did_you_mean

BAD_PLAN = 3
audit = typer.Typer(
    name="audit",
    help="Ask questions with controls and thresholds; one report.",
    epilog="Exit codes: 0 every threshold is kept, 1 one is broken, 2 one is open, 3 a bad plan, 4 an error.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
PlanFile = Annotated[
    Path,
    typer.Argument(
        help="The plan, a TOML file (`audit init` writes one), or the name of one that ships, such as planted."
    ),
]
OtherModel = Annotated[str | None, typer.Option("--model", help="Audit this model instead of the plan's.")]


@audit.command()
def init(
    template: Annotated[
        str, typer.Option(help="all, fairness, privacy, robustness, real, planted or planted_secrets.")
    ] = "all",
    data: Annotated[
        Path | None, typer.Option("--data", help="A file of yours; the plan then names its columns and what fits them.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model that the plan names.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file; standard output unless said.")] = None,
    as_json: Json = False,
) -> None:
    """Write a plan with comments.

    A plan of the questions that ship, or one that fits a data file.
    """
    if data is not None:
        from mechcausal.audits.proposing import proposed

        text = proposed(data, model, Path() if out is None else out.parent)
    else:
        from mechcausal.audits.plans import SHIPPED

        if template not in SHIPPED:
            raise ArgumentError(f"there is no template {template!r}", fix=did_you_mean(template, SHIPPED))
        text = SHIPPED[template].read_text(encoding="utf-8")
        if model is not None:
            lines = text.splitlines(keepends=True)
            text = "".join(f'model = "{model}"\n' if line.startswith("model = ") else line for line in lines)
    if out is not None:
        require_file(out, ".toml")
        _write(out, text)
    if as_json:
        show_json({"plan": text, "out": None if out is None else str(out)})
    else:
        typer.echo(text if out is None else f"plan  {out}\n", nl=False)


@audit.command()
def check(plan: PlanFile, model: OtherModel = None, as_json: Json = False) -> None:
    """Check a plan without running it.

    Every problem is found at once; without one it is said what the plan would cost.
    """
    use_one_thread()
    from mechcausal.audits.reading import review

    reviewed = review(plan, model)
    asked, problems = reviewed.plan, list(reviewed.problems)
    if asked is None or problems:
        if as_json:
            show_json({"problems": problems})
        else:
            typer.echo("\n".join(f"{plan}: {problem}" for problem in problems), err=True)
        raise typer.Exit(BAD_PLAN)
    cost = asked.cost(reviewed.model)
    if as_json:
        show_json(
            {"problems": [], "plan_hash": asked.hash, "forwards": dict(cost.forwards), "seconds": dict(cost.seconds)}
        )
        return
    typer.echo(f"{plan}: {len(asked.questions)} questions, no problems, plan {asked.hash}\n\n{cost}")


@audit.command()
def run(
    plan: PlanFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the report; running again goes on there.")],
    model: OtherModel = None,
    only: Annotated[list[str] | None, typer.Option(help="The id of a question to ask; may be repeated.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0, help="Begin no question after this time.")] = None,
    as_json: Json = False,
) -> None:
    """Run a plan and write its report.

    Answers are kept as they come: after a kill the same command goes on at the row where it ended.
    """
    require_folder(out)
    use_one_thread()
    from mechcausal.audits.plan import PlanError
    from mechcausal.audits.reading import read

    try:
        asked = read(plan)
        loaded = asked.load(model)
        report = asked.run(loaded, out, only=only or (), max_minutes=max_minutes)
        if asked.edits and not only:
            _sweep(asked, loaded, out)
    except PlanError as error:
        raise _bad_plan(plan, error.problems, as_json) from None
    except KeyboardInterrupt:
        typer.echo(
            f"\nstopped; the same command goes on where it ended: mechcausal audit run {plan} -o {out}", err=True
        )
        raise typer.Exit(130) from None
    _show(report, out, as_json)
    raise typer.Exit(report.exit_code)


@audit.command()
def report(
    source: Annotated[Path, typer.Argument(help="The folder of a report, or its audit.json.")],
    to: Annotated[str, typer.Option(help="html, md, csv, sarif, card or annex.")] = "html",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file; standard output unless said.")] = None,
    as_json: Json = False,
) -> None:
    """Write a report in another form.

    Its audit.json is all that is needed.
    """
    from mechcausal.audits.report import Report
    from mechcausal.audits.writing import VIEWS, WORDS

    if to not in WORDS:
        raise ArgumentError(f"there is no form {to!r}", fix=did_you_mean(to, WORDS))
    document = Report.load(source)
    if out is not None:
        require_file(out)
        _write(out, VIEWS[WORDS[to]](document))
    elif not as_json:
        typer.echo(VIEWS[WORDS[to]](document), nl=False)
    if as_json:
        show_json(
            {"counts": document.counts, "exit_code": document.exit_code, "out": None if out is None else str(out)}
        )
    raise typer.Exit(document.exit_code)


@audit.command()
def compare(
    before: Annotated[Path, typer.Argument(help="The folder of a report, or its audit.json.")],
    after: Annotated[Path, typer.Argument(help="Another one: of another model, or of the same one later.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for comparison.html and comparison.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which findings moved between two reports.

    Findings about the same examples are compared example by example. The exit code is 1 where one became worse.
    """
    if out is not None:
        require_folder(out)
    from mechcausal.audits.comparing.reports import compare as compared
    from mechcausal.audits.writing.pages import comparison_html

    comparison = compared(before, after)
    if out is not None:
        comparison.save(out)
        _write(out / "comparison.html", comparison_html(comparison))
    if as_json:
        show_json(comparison.to_json())
    else:
        typer.echo(comparison.summary())
    raise typer.Exit(1 if comparison.worse else 0)


@audit.command()
def selftest(
    only: Annotated[
        list[str] | None, typer.Option(help="Only this acceptance check, such as A5; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what takes long, and simulate less.")] = False,
    as_json: Json = False,
) -> None:
    """Test the questions against known truths.

    Prints for each check what is known, what was measured and what must hold. Exits with 1 if a check fails.
    """
    use_one_thread()
    from dataclasses import asdict

    from mechcausal.audits.selftest import NOT_SHIPPED, TITLES, columns_of, run_checks

    checks, above = [], ""
    for check in run_checks(only or (), quick=quick):
        checks.append(check)
        if as_json:
            continue
        if check.id != above:
            above = check.id
            typer.echo(f"\n{above}  {TITLES[above]}\n  {columns_of()}")
        typer.echo(f"  {check}")
    failed = [check for check in checks if not check.passed]
    if as_json:
        show_json({"checks": [asdict(check) for check in checks], "not_shipped": NOT_SHIPPED})
    else:
        left_out = "" if only else "".join(f"\n{name}  {why}" for name, why in NOT_SHIPPED.items())
        typer.echo(f"{left_out}\n\n{len(checks) - len(failed)} of {len(checks)} checks passed")
    if failed:
        raise typer.Exit(1)


def _sweep(plan: Any, model: Any, out: Path) -> None:  # noqa: ANN401 - a Plan and a model
    """Ask the questions of a plan under its mitigations, and write what they change and cost."""
    from mechcausal.audits.mitigation.sweeping import sweep
    from mechcausal.audits.writing.pages import sweep_html

    _write(out / "mitigations.html", sweep_html(sweep(plan, model=model, out=out)))


def _write(path: Path, text: str) -> None:
    from mechcausal.results.storage import replacing

    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _bad_plan(plan: Path, problems: Any, as_json: bool) -> typer.Exit:  # noqa: ANN401 - the problems of a plan
    if as_json:
        show_json({"problems": list(problems), "exit_code": BAD_PLAN})
    typer.echo("\n".join(f"mechcausal: {plan}: {problem}" for problem in problems), err=True)
    return typer.Exit(BAD_PLAN)


def _show(report: Any, out: Path, as_json: bool) -> None:  # noqa: ANN401 - a Report
    if as_json:
        findings = [
            {"id": f.id, "status": f.status, "says": f.answer.says if f.answer else f.error} for f in report.findings
        ]
        show_json(
            {
                "report": str(out / "report.html"),
                "counts": report.counts,
                "exit_code": report.exit_code,
                "findings": findings,
            }
        )
        return
    edits = f"\nedits   {out / 'mitigations.html'}" if (out / "mitigations.html").is_file() else ""
    typer.echo(f"{report.summary()}\n\nreport  {out / 'report.html'}\ndata    {out / 'audit.json'}{edits}")
