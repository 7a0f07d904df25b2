"""Text that is written under edits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.options import Count, DryRun, Json, ModelName, Prompts, Seed
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError

_EDIT = (
    'What is done, as JSON: {"site":"L1.z.H2","do":"zero","when":"new"}. "direction" can name a safetensors file with '
    'one vector; "when" is prompt, new or both. Can be repeated.'
)


def generate(
    model: ModelName,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="What is continued. Can be repeated.")
    ] = None,
    prompts: Prompts = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Pairs of your own, of which the clean side is continued.")
    ] = None,
    edit: Annotated[list[str] | None, typer.Option("--edit", "-e", help=_EDIT)] = None,
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens at most.")] = 64,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most likely token.")] = 0.0,
    samples: Annotated[int, typer.Option(min=1, help="How many texts for each prompt.")] = 1,
    stop: Annotated[list[str] | None, typer.Option(help="A text at which writing ends. Can be repeated.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Prompts are messages to a model tuned to chat.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The table, as parquet.")] = None,
    n: Count = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write text after prompts, under edits.

    Every edit proves in every forward that its hook fired.
    """
    if out is not None and not dry_run:
        require_file(out, ".parquet")
    source = Chosen(pairs=pairs, prompts=prompts, n=n)
    if not prompt:
        source.check("prompts", "pairs")
    elif pairs is not None or prompts is not None:
        raise ArgumentError("prompts come from one place", fix="leave out --prompt, or the file")
    if chat and not prompt:
        raise ArgumentError("--chat takes messages, not a file", fix="give each as --prompt")
    use_one_thread()
    from dataclasses import asdict

    from mechcausal.data import Contrast, PromptSet
    from mechcausal.generation import Generating
    from mechcausal.models.load import load

    chosen: dict[str, Any] = {"edits": edit or (), "stop": stop or ()}
    method = Generating(**chosen, tokens=tokens, temperature=temperature, samples=samples, seed=seed)
    loaded = load(model)
    data: Any
    if prompt:
        data = PromptSet.from_chat(loaded, prompt) if chat else list(prompt)
    else:
        data = source.read(loaded)
        data = data.clean if isinstance(data, Contrast) else data
    if dry_run:
        cost = method.cost(loaded, data)
        show_json(asdict(cost)) if as_json else typer.echo(str(cost))
        return
    written = method.run(loaded, data)
    path = None if out is None else written.save(out)
    if as_json:
        report = {"rows": records(written.frame), "edits": written.tables["edits"]}
        provenance = json.loads(written.provenance.to_json())
        show_json(report | {"table": None if path is None else str(path), "provenance": provenance})
        return
    typer.echo(written.summary(k=len(written)) + ("" if path is None else f"\n\ntable  {path}"))
