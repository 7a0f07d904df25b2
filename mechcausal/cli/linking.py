"""Links of features, heads and neurons to concepts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.data import Chosen, concept_labels
from mechcausal.cli.options import (
    Concept,
    DryRun,
    Json,
    ModelName,
    Pairs,
    ProbeLabels,
    Seed,
    Shipped,
    Unfit,
)
from mechcausal.cli.output import require_file, show_json
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError, DataError

_SHIPPED = 256  # pairs unless said otherwise
_CARDS = 3  # cards in the report: the features with the largest effects


def link(
    model: ModelName,
    suite: Annotated[
        str | None, typer.Option(help="Pairs and concepts that ship: hiring, hiring/fairness, hiring/privacy, bios.")
    ] = None,
    contrast: Shipped = None,
    pairs: Pairs = None,
    concept: Concept = None,
    probe_labels: ProbeLabels = None,
    dictionary: Annotated[str | None, typer.Option(help="The dictionary whose features are linked: a folder.")] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Sites to link instead, such as z or L1.mlp_post.N*.")] = None,
    other: Annotated[
        list[str] | None, typer.Option(help="Another dictionary at the same place, for stability; may be repeated.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The page; its numbers are written beside it as .json.")
    ] = Path("link.html"),
    n: Annotated[
        int | None,
        typer.Option("--n", "-n", min=16, help="How many pairs. Default: 256 of those that ship, all of a file."),
    ] = None,
    do: Annotated[str, typer.Option(help="What is done at a candidate: patch, mean or zero.")] = "patch",
    smallest_effect: Annotated[float, typer.Option(help="The smallest share of the total effect of interest.")] = 0.02,
    generalize: Annotated[
        str | None,
        typer.Option(
            help="What claims are about: new clusters (people, templates), or new texts of the same clusters."
        ),
    ] = None,
    drop_unfit: Unfit = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Link features or heads to concepts.

    Which features, heads or neurons tell a concept, and which of these does the behavior use? Writes a page and JSON.
    """
    if (dictionary is None) == (not sites):
        raise ArgumentError("name what is linked", fix="give --dictionary FOLDER, or --sites z")
    if probe_labels is not None and dictionary is None:
        raise ArgumentError("--probe-labels fits a probe at the place of a dictionary", fix="give --dictionary FOLDER")
    if not dry_run:
        require_file(out, ".html", ".htm")
    chosen = Chosen(contrast, pairs, n=n or (None if pairs else _SHIPPED), seed=seed, drop=drop_unfit)
    if suite is None:
        chosen.check("contrast", "pairs")
    elif contrast is not None or pairs is not None:
        raise ArgumentError("name the data once", fix="give --suite NAME, --contrast NAME or --pairs FILE")
    use_one_thread()
    from mechcausal.address import Site
    from mechcausal.data.contrast import Contrast
    from mechcausal.dictionaries.cards.card import card
    from mechcausal.dictionaries.loading import load as load_dictionary
    from mechcausal.links.asking import answer, cost, own, questions
    from mechcausal.models.binding import Bound
    from mechcausal.models.load import load
    from mechcausal.report.links import write_links

    loaded = load(model)
    what = list(sites or ()) if dictionary is None else load_dictionary(loaded, dictionary)
    others = [load_dictionary(loaded, folder, name=f"other-{i}") for i, folder in enumerate(other or ())]
    results, notes, cards = {}, {}, {}
    if suite is not None:
        asked = questions(suite, loaded, n or _SHIPPED, seed=seed)
    else:
        data = chosen.read(loaded)
        assert isinstance(data, Contrast)
        labels: Any = None if probe_labels is None else Chosen(prompts=probe_labels, drop=drop_unfit).read(loaded)
        asked = [own(data, *concept_labels(data, concept), labels)]
    options: dict[str, Any] = {"do": do, "smallest_effect": smallest_effect, "others": others}
    options |= {} if generalize is None else {"generalize": generalize}
    if dry_run:
        costs = {question.name: cost(loaded, question, what, seed=seed, **options) for question in asked}
        if as_json:
            show_json({name: asdict(estimate) for name, estimate in costs.items()})
        for name, estimate in () if as_json else costs.items():
            typer.echo(f"{name}\n{estimate}")
        return
    for question in asked:
        name = question.name
        try:
            links = answer(loaded, question, what, seed=seed, **options)
        except DataError as reason:
            if len(asked) == 1:
                raise
            notes[name] = f"Not run: {reason}"
            continue
        results[name] = links
        notes[name] = question.note if generalize is None else ""
        if isinstance(what, Bound) and question.pairs is not None:
            used = [Site.parse(candidate).feature for candidate in links.verdicts["causal"]]
            cards[name] = [card(loaded, question.pairs, what, number) for number in used[:_CARDS] if number is not None]
        if not as_json:
            typer.echo("\n".join(filter(None, [name, links.summary(), notes[name]])) + "\n")
    if not results:
        reason = next(iter(notes.values())).removeprefix("Not run: ")
        raise DataError(f"none of these {len(asked)} questions can be answered; the first because {reason}")
    for name in () if as_json else (name for name in notes if name not in results):
        typer.echo(f"{name}\nnot run: {notes[name].removeprefix('Not run: ')}\n")
    data = write_links(results, out, title=f"Links: {model}", notes=notes, cards=cards)
    if as_json:
        verdicts = {name: links.verdicts for name, links in results.items()}
        show_json({"report": str(out), "data": str(data), "verdicts": verdicts, "notes": notes})
        return
    typer.echo(f"report  {out}\ndata    {data}")
