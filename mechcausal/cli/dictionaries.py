"""Sparse autoencoders: training and health."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mechcausal.cli.options import DryRun, Json, ModelName, Pairs, Seed
from mechcausal.cli.output import require_file, require_folder, show_json
from mechcausal.cli.running import show_cost
from mechcausal.cli.threads import use_one_thread

if TYPE_CHECKING:
    from mechcausal.dictionaries.material import Material

_COMPANIONS, _SECONDS = 2, 60.0  # other seeds trained without being asked for, where one takes fewer seconds

sae = typer.Typer(name="sae", help="Train and measure sparse autoencoders.", no_args_is_help=True)


@sae.command()
def train(
    model: ModelName,
    site: Annotated[str, typer.Option(help="The activation it reads, such as L2.resid_post.")],
    width: Annotated[int, typer.Option(min=1, help="How many features.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder it is written to.")],
    kind: Annotated[
        str, typer.Option(help="topk, batchtopk, matryoshka, jumprelu, standard, gated, transcoder.")
    ] = "topk",
    k: Annotated[int | None, typer.Option(min=1, help="How many features are active at a token.")] = None,
    site_out: Annotated[str | None, typer.Option(help="What a transcoder reconstructs.")] = None,
    text: Annotated[Path | None, typer.Option(help="A file with one prompt a line; an organism has its own.")] = None,
    pairs: Pairs = None,
    task: Annotated[list[str] | None, typer.Option(help="Draw prompts of this task; may be repeated.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many prompts of each task and environment.")] = 2000,
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to train on.")] = 400_000,
    rate: Annotated[float, typer.Option(help="The learning rate.")] = 2e-3,
    checkpoint_every: Annotated[int, typer.Option(min=0, help="Steps between checkpoints; 0 for none.")] = 100,
    companions: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Also train this many other seeds, and one dictionary on each half of the prompts; links use them to "
            "judge stability. Default: 2 if one takes less than a minute. 0 for none.",
        ),
    ] = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train a dictionary on a site of a model.

    The same command resumes after an interruption.
    """
    if not dry_run:
        require_folder(out)
    use_one_thread()
    from mechcausal.dictionaries import companions as beside
    from mechcausal.dictionaries.folder import read
    from mechcausal.dictionaries.material import Material
    from mechcausal.dictionaries.training import DictionaryTraining
    from mechcausal.models.load import load

    def say(line: str) -> None:
        if not as_json:
            typer.echo(line)

    material = Material.of(model, tasks=tuple(task or ()), text=text, table=pairs, n=n, seed=seed)
    method = DictionaryTraining(
        site, width=width, kind=cast(Any, kind), k=k, site_out=site_out, tokens=tokens, rate=rate, seed=seed, out=out,
        checkpoint_every=checkpoint_every, remember={"material": material.to_json()},
    )  # fmt: skip
    loaded = load(model)
    prompts = material.training(loaded)
    if dry_run:
        show_cost(method.cost(loaded, prompts), as_json=as_json)
        return
    bound = method.run(loaded, prompts)
    say(f"{bound.features}: {bound.n_features} features, digest {bound.digest}, in {out}")
    seconds = float(read(out).facts["training"].get("seconds", math.inf))
    count = companions if companions is not None else _COMPANIONS if seconds < _SECONDS else 0
    names = [companion.name for companion in beside.planned(out, count)]
    if names:
        say(f"training companions: {', '.join(names)}; about {seconds:.0f} s each, --companions 0 leaves them out")
        beside.companions(
            loaded, prompts, out, count,
            checkpoint_every=checkpoint_every, tell=lambda companion: say(f"  {companion.name} in {companion.path}"),
        )  # fmt: skip
    else:
        say("no companions, so links cannot judge stability; --companions 2 trains them")
    say(f"measure it: mechcausal sae health {out}")
    if as_json:
        show_json(
            {
                "folder": str(out),
                "features": str(bound.features),
                "n_features": bound.n_features,
                "digest": bound.digest,
                "companions": names,
            }
        )


@sae.command()
def health(
    folder: Annotated[Path, typer.Argument(help="The folder of a dictionary.")],
    model: Annotated[str | None, typer.Option(help="The model, if the folder does not name it.")] = None,
    text: Annotated[Path | None, typer.Option(help="Other prompts, one a line.")] = None,
    pairs: Pairs = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the numbers go. Default: health.json in the folder.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure a dictionary on held-out prompts.

    The numbers are also written into its folder, as health.json.
    """
    if out is not None and not dry_run:
        require_file(out, ".json")
    use_one_thread()
    from mechcausal.dictionaries.loading import load as load_dictionary
    from mechcausal.dictionaries.quality import health as measure
    from mechcausal.models.load import load

    material = _material(folder, model, text, pairs)
    loaded = load(model or material.model)
    prompts, both = material.held_out(loaded), material.pairs(loaded)
    dictionary = load_dictionary(loaded, folder)
    if dry_run:
        show_cost(measure.cost(loaded, prompts, dictionary, pairs=both), as_json=as_json)
        return
    measured = measure(loaded, prompts, dictionary, pairs=both)
    measured.save(out or folder / "health.json")
    show_json(json.loads(json.dumps(measured.to_json()))) if as_json else typer.echo(measured.summary())


@sae.command()
def card(
    folder: Annotated[Path, typer.Argument(help="The folder of a dictionary.")],
    feature: Annotated[int, typer.Argument(min=0, help="The number of the feature.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("card.html"),
    model: Annotated[str | None, typer.Option(help="The model, if the folder does not name it.")] = None,
    text: Annotated[Path | None, typer.Option(help="Other prompts, one a line.")] = None,
    pairs: Pairs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write the card of one feature: where it is active, what it adds to the logits, what changing it does."""
    if not dry_run:
        require_file(out, ".html", ".htm")
    use_one_thread()
    from mechcausal.dictionaries.cards.card import card as make_card
    from mechcausal.dictionaries.loading import load as load_dictionary
    from mechcausal.models.load import load

    material = _material(folder, model, text, pairs)
    loaded = load(model or material.model)
    data, dictionary = material.pairs(loaded) or material.held_out(loaded), load_dictionary(loaded, folder)
    if dry_run:
        show_cost(make_card.cost(loaded, data, dictionary, feature), as_json=as_json)
        return
    made = make_card(loaded, data, dictionary, feature)
    path = made.save(out)
    if as_json:
        effects = json.loads(made.effects.to_json(orient="records") or "[]")
        show_json({"page": str(path), "feature": str(made.site), "active": made.active, "effects": effects})
        return
    typer.echo(f"{made.summary()}\n\npage  {path}")


def _material(folder: Path, model: str | None, text: Path | None, pairs: Path | None) -> Material:
    """Return the model and the prompts that a folder belongs to, or those that are given."""
    from mechcausal.dictionaries.folder import read
    from mechcausal.dictionaries.material import Material

    facts = read(folder).facts
    named = model or facts.get("material", {}).get("model")
    if named is not None and (text is not None or pairs is not None or "material" not in facts):
        return Material.of(named, text=text, table=pairs)
    return Material.from_facts(facts, folder)
