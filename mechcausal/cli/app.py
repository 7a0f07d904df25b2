"""The program: its verbs, and what happens when one fails.

Exit codes: 0 for success, 1 where a check failed (`selftest`, `doctor`, `audit`), 2 for a command line that cannot be read and
for an audit that is open, 3 for the plan of an audit or an experiment that cannot be run, 4 for anything else that its reader can mend. Every error is one sentence on standard error. A traceback is a bug.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mechcausal import __version__
from mechcausal.cli.audit import audit
from mechcausal.cli.benching import bench
from mechcausal.cli.circuits import circuit, discover
from mechcausal.cli.demo import demo
from mechcausal.cli.dictionaries import sae
from mechcausal.cli.generation import generate
from mechcausal.cli.inspection import lens
from mechcausal.cli.installation import doctor, selftest
from mechcausal.cli.linking import link
from mechcausal.cli.models import organisms, sites
from mechcausal.cli.output import show_json
from mechcausal.cli.patching import ablate, attribute, patch, path
from mechcausal.cli.probing import erase, probe
from mechcausal.cli.runs import collect, diff, run, runs, status, view
from mechcausal.cli.scrubbing import scrub
from mechcausal.cli.steering import steer
from mechcausal.errors import MechcausalError

_FAILED = 4
_USAGE: Any = typer.BadParameter.__base__  # click's UsageError, of which typer may carry a copy of its own

app = typer.Typer(
    name="mechcausal",
    help="Intervene inside a transformer and measure which mechanism carries which effect.",
    epilog="Exit codes: 0 success, 1 a check failed, 2 a wrong command line or an open audit, 3 a bad plan, 4 any other error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    demo, organisms, sites, patch, ablate, attribute, path, discover, scrub, probe, erase, link, generate, lens, steer, run, status, view, collect, diff, selftest,
    doctor,
):  # fmt: skip
    app.command()(verb)
app.add_typer(audit)
app.add_typer(circuit)
app.add_typer(sae)
app.add_typer(bench)
app.add_typer(runs)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mechcausal {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Intervene inside a transformer and measure which mechanism carries which effect."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        words: The words after `mechcausal`; those of this process if not given.
    """
    as_json = "--json" in (sys.argv[1:] if words is None else words)
    try:
        code = app(words, prog_name="mechcausal", standalone_mode=False)
    except MechcausalError as error:
        _fail(str(error), _FAILED, as_json)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", _FAILED, as_json)
    except typer.Abort:
        _fail("stopped", 130, as_json)
    except _USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        _fail(_with_help(error), 2, as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _with_help(error: Any) -> str:  # noqa: ANN401 - click's UsageError
    """Return a wrong command line as one sentence that says where to look."""
    what = error.format_message().strip().rstrip(".")
    where = f"{error.ctx.command_path if error.ctx else 'mechcausal'} --help"
    return what.replace(". Did", ": did") if what.endswith("?") else f"{what}: see {where}"


def _fail(sentence: str, code: int, as_json: bool) -> None:
    said = " ".join(sentence.split())
    if as_json:  # who reads standard output as JSON finds the reason there
        show_json({"error": said, "exit_code": code})
    typer.echo(f"mechcausal: {said}", err=True)
    sys.exit(code)
