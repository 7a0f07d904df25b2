"""Links of features, heads and neurons to concepts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json, ModelName, Seed
from mechcausal.cli.output import require_file, show_json
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError, DataError

_CARDS = 3  # cards in the report: the features with the largest effects


def link(
    model: ModelName,
    suite: Annotated[str, typer.Option(help="Pairs and concepts: hiring, hiring/fairness, hiring/privacy, bios.")],
    dictionary: Annotated[str | None, typer.Option(help="The dictionary whose features are linked: a folder.")] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Sites to link instead, such as z or L1.mlp_post.N*.")] = None,
    other: Annotated[
        list[str] | None, typer.Option(help="Another dictionary at the same place, for stability; may be repeated.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The page; its numbers are written beside it as .json.")
    ] = Path("link.html"),
    n: Annotated[int, typer.Option("--n", "-n", min=16, help="How many pairs.")] = 256,
    do: Annotated[str, typer.Option(help="What is done at a candidate: patch, mean or zero.")] = "patch",
    smallest_effect: Annotated[float, typer.Option(help="The smallest share of the total effect of interest.")] = 0.02,
    generalise: Annotated[
        str | None,
        typer.Option(
            help="What claims are about: new clusters (people, templates), or new texts of the same clusters."
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Link features or heads to concepts.

    Which features, heads or neurons tell a concept, and which of these does the behavior use? Writes a page and JSON.
    """
    if (dictionary is None) == (not sites):
        raise ArgumentError("name what is linked", fix="give --dictionary FOLDER, or --sites z")
    require_file(out, ".html", ".htm")
    use_one_thread()
    from mechcausal.address import Site
    from mechcausal.dictionaries.cards.card import card
    from mechcausal.dictionaries.loading import load as load_dictionary
    from mechcausal.links.studies import studies
    from mechcausal.models.binding import Bound
    from mechcausal.models.load import load
    from mechcausal.report.links import write_links

    loaded = load(model)
    what = list(sites or ()) if dictionary is None else load_dictionary(dictionary, loaded)
    others = [load_dictionary(folder, loaded, name=f"other-{i}") for i, folder in enumerate(other or ())]
    results, notes, cards = {}, {}, {}
    asked = studies(suite, loaded, n, seed=seed)
    options: dict[str, Any] = {"do": do, "smallest_effect": smallest_effect, "others": others}
    options |= {} if generalise is None else {"generalise": generalise}
    for study in asked:
        try:
            links = study.link(loaded, what, seed=seed, **options)
        except DataError as reason:
            if len(asked) == 1:
                raise
            notes[study.name] = f"Not run: {reason}"
            if not as_json:
                typer.echo(f"{study.name}\nnot run: {reason}\n")
            continue
        results[study.name] = links
        notes[study.name] = study.note if generalise is None else ""
        if isinstance(what, Bound):
            used = [Site.parse(name).feature for name in links.verdicts["causal"]]
            cards[study.name] = [
                card(loaded, what, number, study.pairs) for number in used[:_CARDS] if number is not None
            ]
        if not as_json:
            typer.echo("\n".join(filter(None, [study.name, links.summary(), notes[study.name]])) + "\n")
    if not results:
        raise DataError("none of these studies can be run", got="; ".join(notes.values()))
    data = write_links(results, out, title=f"Links: {model}", notes=notes, cards=cards)
    if as_json:
        verdicts = {name: links.verdicts for name, links in results.items()}
        show_json({"report": str(out), "data": str(data), "verdicts": verdicts, "notes": notes})
        return
    typer.echo(f"report  {out}\ndata    {data}")
