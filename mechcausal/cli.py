"""The command line. Heavy imports stay inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal import __version__
from mechcausal.errors import MechcausalError

_CARDS = 3  # of the features with the largest effects, in a report of links
_COMPANIONS, _WORTH_IT = 2, 60.0  # other seeds that are trained without being asked for, where one takes fewer seconds

app = typer.Typer(
    name="mechcausal",
    help="Intervene inside a transformer and see which mechanism carries which effect.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mechcausal {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Intervene inside a transformer and see which mechanism carries which effect."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the report.")] = Path("mechcausal-demo"),
    n: Annotated[int, typer.Option("--pairs", "-n", min=8, help="How many applicant pairs.")] = 200,
    seed: Annotated[int, typer.Option(help="The seed of the applicants.")] = 0,
) -> None:
    """Audit the embedded model, organism:hiring: find its biased path and its memorised secrets; write a report."""
    _one_thread()
    from mechcausal.report.tour import tour

    findings = tour(n=n, seed=seed)
    page, data = findings.write(out)
    typer.echo(findings.summary())
    typer.echo(f"\nreport  {page}\ndata    {data}")


@app.command()
def sites(
    model: Annotated[str, typer.Argument(help="organism:NAME, a local folder, a checkpoint or a hub name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the sites of a model: what can be read there, what can be written, and why not."""
    _one_thread()
    from mechcausal.models.abilities import abilities
    from mechcausal.models.abilities import sites as table_of
    from mechcausal.models.load import load

    loaded = load(model)
    table = table_of(loaded)
    if as_json:
        typer.echo(table.to_json(orient="records", indent=2))
        return
    able = abilities(loaded)
    shape = able.shape
    shared = f" ({shape.n_kv_heads} for keys and values)" if shape.n_kv_heads != shape.n_heads else ""
    typer.echo(
        f"{model}: {able.architecture}, {shape.n_layers} layers, {shape.n_heads} heads{shared}, "
        f"d_model {shape.d_model}, d_mlp {shape.d_mlp}"
    )
    shown = table.assign(**{name: table[name].map({True: "yes", False: "no"}) for name in ("reads", "writes")})
    shown = shown.astype(object).where(shown.notna(), "")
    typer.echo(shown.to_string(index=False, justify="left"))


@app.command()
def patch(
    model: Annotated[str, typer.Argument(help="organism:NAME, a local folder, a checkpoint or a hub name.")],
    contrast: Annotated[str, typer.Option(help="Pairs that ship, such as hiring/gender.")],
    sites: Annotated[list[str] | None, typer.Option(help="What to patch, such as resid_pre, z or L1.z.H*.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The table, as parquet.")] = Path("patch.parquet"),
    n: Annotated[int, typer.Option("--pairs", "-n", min=2, help="How many pairs.")] = 200,
    noise: Annotated[
        bool, typer.Option("--noise", help="Patch corrupt into clean: what is needed, not what suffices.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and run nothing of it.")] = False,
    seed: Annotated[int, typer.Option(help="The seed of the pairs.")] = 0,
) -> None:
    """Patch every cell of a sweep, exactly; write the table with intervals and provenance."""
    _one_thread()
    from mechcausal.data import contrast as pairs_of
    from mechcausal.models.load import load
    from mechcausal.patching.activation import patch as sweep

    loaded = load(model)
    chosen: list[str] | str = sites or "resid_pre"
    asked = pairs_of(contrast, loaded, n=n, seed=seed)
    if dry_run:
        typer.echo(str(sweep.cost(loaded, asked, sites=chosen, direction="noise" if noise else "denoise")))
        return
    found = sweep(loaded, asked, sites=chosen, direction="noise" if noise else "denoise")
    typer.echo(f"{found.summary()}\n\ntable  {found.save(out)}")


@app.command()
def organisms(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models whose mechanism is known: task, size, accuracy, interchange accuracy, true circuit."""
    from mechcausal.organisms import organisms as table_of

    table = table_of()
    if as_json:
        typer.echo(table.to_json(orient="records", indent=2))
        return
    names = ("name", "tasks", "parameters", "accuracy", "iia", "circuit")
    rows: list[tuple[str, ...]] = [("name", "tasks", "size", "accuracy", "IIA", "true circuit")]
    rows += [tuple(map(_cell, one)) for one in zip(*(table[name] for name in names), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo('\nload one with mc.load("organism:NAME"); its truth is mc.truth("NAME")')


@app.command()
def selftest(
    what: Annotated[str, typer.Argument(help="What to test: causal.")] = "causal",
    organism: Annotated[list[str] | None, typer.Option("--organism", help="Only these; all unless said.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one check a line.")] = False,
) -> None:
    """Test this installation against the known truths: does every method find what is there, and nothing else?"""
    _one_thread()
    import json
    from dataclasses import asdict

    from mechcausal.catalog import ORGANISMS
    from mechcausal.causal.selftest import selftest as checks_of
    from mechcausal.errors import DataError
    from mechcausal.organisms import folder

    if what != "causal":
        raise DataError(f"there is no self-test called {what!r}", expected="causal")
    chosen = tuple(organism or ORGANISMS)
    for name in chosen:
        folder(name)
    found, above = [], ("", "")
    for check in checks_of(chosen):
        found.append(check)
        if as_json:
            typer.echo(json.dumps(asdict(check)))
            continue
        if (check.organism, check.task) != above:
            above = check.organism, check.task
            typer.echo(f"\n{check.organism}" + (f", task {check.task}" if check.task != check.organism else ""))
        typer.echo(f"  {check}")
    failed = [check for check in found if not check.passed]
    if not as_json:
        typer.echo(f"\n{len(found) - len(failed)} of {len(found)} checks passed")
    if failed:
        raise typer.Exit(1)


@app.command()
def link(
    model: Annotated[str, typer.Argument(help="organism:NAME, a local folder, a checkpoint or a hub name.")],
    suite: Annotated[str, typer.Option(help="Pairs and concepts: hiring, hiring/fairness, hiring/privacy, bios.")],
    dictionary: Annotated[str | None, typer.Option(help="The dictionary whose features are linked: a folder.")] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Sites to link instead, such as z or L1.mlp_post.N*.")] = None,
    other: Annotated[
        list[str] | None, typer.Option(help="Another dictionary at the same place, for stability.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The report; JSON is written beside it.")] = Path(
        "link.html"
    ),
    n: Annotated[int, typer.Option("--pairs", "-n", min=16, help="How many pairs.")] = 256,
    do: Annotated[str, typer.Option(help="What is done at a candidate: patch, mean or zero.")] = "patch",
    smallest_effect: Annotated[float, typer.Option(help="The smallest share of the total effect of interest.")] = 0.02,
    generalise: Annotated[
        str | None,
        typer.Option(
            help="What claims are about: new clusters (people, templates) or new texts of these; else the study's."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of everything random.")] = 0,
) -> None:
    """Link features, heads or neurons to concepts: what is available, what is used, and what nothing looks like."""
    _one_thread()
    from mechcausal.address import Site
    from mechcausal.dictionaries.cards.card import card
    from mechcausal.dictionaries.loading import load as dictionary_of
    from mechcausal.errors import DataError
    from mechcausal.links.studies import studies
    from mechcausal.models.binding import Bound
    from mechcausal.models.load import load
    from mechcausal.report.links import write_links

    if (dictionary is None) == (not sites):
        raise MechcausalError("name what is linked", fix="give --dictionary FOLDER, or --sites z")
    loaded = load(model)
    what = list(sites or ()) if dictionary is None else dictionary_of(dictionary, loaded)
    others = [dictionary_of(one, loaded, name=f"other-{i}") for i, one in enumerate(other or ())]
    found, notes, cards = {}, {}, {}
    asked = studies(suite, loaded, n, seed=seed)
    told: dict[str, Any] = {"do": do, "smallest_effect": smallest_effect, "others": others}
    told |= {} if generalise is None else {"generalise": generalise}
    for study in asked:
        try:
            links = study.link(loaded, what, seed=seed, **told)
        except DataError as reason:
            if len(asked) == 1:
                raise
            notes[study.name] = f"Not run: {reason}"
            typer.echo(f"{study.name}\nnot run: {reason}\n")
            continue
        found[study.name] = links
        notes[study.name] = study.note if generalise is None else ""
        if isinstance(what, Bound):
            used = [Site.parse(name).feature for name in links.verdicts["causal"]]
            cards[study.name] = [
                card(loaded, what, number, study.pairs) for number in used[:_CARDS] if number is not None
            ]
        typer.echo("\n".join(filter(None, [study.name, links.summary(), notes[study.name]])) + "\n")
    if not found:
        raise DataError("none of these studies can be run", got="; ".join(notes.values()))
    data = write_links(found, out, title=f"Links: {model}", notes=notes, cards=cards)
    typer.echo(f"report  {out}\ndata    {data}")


sae_app = typer.Typer(
    name="sae", help="Train dictionaries (sparse autoencoders) and measure them.", no_args_is_help=True
)
app.add_typer(sae_app)


@sae_app.command("train")
def sae_train(
    model: Annotated[str, typer.Argument(help="organism:NAME, a local folder, a checkpoint or a hub name.")],
    site: Annotated[str, typer.Option(help="The activation it reads, such as L2.resid_post.")],
    width: Annotated[int, typer.Option(help="How many features.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder it is written to.")],
    kind: Annotated[
        str, typer.Option(help="topk, batchtopk, matryoshka, jumprelu, standard, gated, transcoder.")
    ] = "topk",
    k: Annotated[int | None, typer.Option(help="How many features are to be active at a token.")] = None,
    site_out: Annotated[str | None, typer.Option(help="What a transcoder reconstructs.")] = None,
    text: Annotated[Path | None, typer.Option(help="Prompts, one a line; an organism brings its own.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Draw prompts of this task.")] = None,
    n: Annotated[
        int, typer.Option("--prompts", "-n", min=1, help="How many prompts of each task and environment.")
    ] = 2000,
    tokens: Annotated[int, typer.Option(help="How many tokens are shown in training.")] = 400_000,
    rate: Annotated[float, typer.Option(help="The learning rate.")] = 2e-3,
    checkpoint_every: Annotated[int, typer.Option(help="Leave a checkpoint after so many steps; 0 for none.")] = 100,
    companions: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train so many other seeds beside it, and one on each half of the prompts, by which links judge what is "
            "stable; 2 unless one takes more than a minute, 0 for none.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of everything random.")] = 0,
) -> None:
    """Train a dictionary on a site of a model. The same command again goes on where it was interrupted."""
    _one_thread()
    from mechcausal.dictionaries import companions as beside
    from mechcausal.dictionaries.folder import read
    from mechcausal.dictionaries.material import Material
    from mechcausal.dictionaries.training import train
    from mechcausal.models.load import load

    material = Material.of(model, tasks=tuple(task or ()), text=text, n=n, seed=seed)
    loaded = load(model)
    prompts = material.training(loaded)
    made = train(
        loaded, prompts, site, width=width, kind=kind, k=k, site_out=site_out, tokens=tokens,
        rate=rate, seed=seed, out=out, checkpoint_every=checkpoint_every, remember={"material": material.to_json()},
    )  # fmt: skip
    typer.echo(f"{made.features}: {made.n_features} features, digest {made.digest}, in {out}")
    seconds = float(read(out).facts["training"].get("seconds", math.inf))
    count = companions if companions is not None else _COMPANIONS if seconds < _WORTH_IT else 0
    if wanted := [one.name for one in beside.planned(out, count)]:
        typer.echo(
            f"companions, by which links judge what is stable: {', '.join(wanted)}; about {seconds:.0f} s each, "
            "--companions 0 leaves them out"
        )
        beside.companions(
            loaded, prompts, out, count,
            checkpoint_every=checkpoint_every, tell=lambda one: typer.echo(f"  {one.name} in {one.path}"),
        )  # fmt: skip
    else:
        typer.echo("no companions, so links cannot say what is stable; --companions 2 trains them")
    typer.echo(f"what it is worth: mechcausal sae health {out}")


@sae_app.command("health")
def sae_health(
    folder: Annotated[Path, typer.Argument(help="The folder of a dictionary.")],
    model: Annotated[str | None, typer.Option(help="The model, where the folder does not say it.")] = None,
    text: Annotated[Path | None, typer.Option(help="Other prompts, one a line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the frequency of every feature.")] = False,
) -> None:
    """Measure a dictionary on prompts it was not trained on; the numbers are also left in its folder."""
    _one_thread()
    import json

    from mechcausal.dictionaries.folder import read
    from mechcausal.dictionaries.loading import load as dictionary_of
    from mechcausal.dictionaries.material import Material
    from mechcausal.dictionaries.quality import health
    from mechcausal.models.load import load

    facts = read(folder).facts
    named = model or facts.get("material", {}).get("model")
    if named is not None and (text is not None or "material" not in facts):
        material = Material.of(named, text=text)
    else:
        material = Material.from_facts(facts, folder)
    loaded = load(model or material.model)
    prompts, pairs = material.held_out(loaded), material.pairs(loaded)
    found = health(loaded, dictionary_of(folder, loaded), prompts, pairs=pairs)
    found.save(folder / "health.json")
    typer.echo(json.dumps(found.to_json()) if as_json else found.summary())


@app.command()
def doctor() -> None:
    """Print versions, extras, device and offline cache; what is missing and the command that fixes it."""
    from mechcausal.report.doctor import diagnose

    checks = diagnose()
    for check in checks:
        typer.echo(str(check))
    if any(check.fix for check in checks):
        raise typer.Exit(1)


def _cell(value: str | float) -> str:
    """Print a value of a table: counts with thousands apart, shares to three digits, nothing for what is not known."""
    if isinstance(value, str):
        return value
    return "" if value != value else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _one_thread() -> None:
    """Use one thread unless the user chose a number: for models this small several are far slower."""
    import os

    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def main() -> None:
    """Run the command line; a mistake that its reader can mend is one sentence, not a traceback."""
    try:
        app()
    except MechcausalError as error:
        typer.echo(f"mechcausal: {error}", err=True)
        sys.exit(4)
