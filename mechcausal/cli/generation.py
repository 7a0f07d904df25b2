"""Text that is written under edits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json, ModelName, Seed
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread

_EDIT = (
    'What is done, as JSON: {"site":"L1.z.H2","do":"zero","when":"new"}. "direction" can name a safetensors file with '
    'one vector; "when" is prompt, new or both. Can be repeated.'
)


def generate(
    model: ModelName,
    prompt: Annotated[list[str], typer.Option("--prompt", "-p", help="What is continued. Can be repeated.")],
    edit: Annotated[list[str] | None, typer.Option("--edit", "-e", help=_EDIT)] = None,
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens at most.")] = 64,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most likely token.")] = 0.0,
    samples: Annotated[int, typer.Option(min=1, help="How many texts for each prompt.")] = 1,
    stop: Annotated[list[str] | None, typer.Option(help="A text at which writing ends. Can be repeated.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Prompts are messages to a model tuned to chat.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The table, as parquet.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write text after prompts, under edits.

    Every edit proves in every forward that its hook fired.
    """
    if out is not None and not dry_run:
        require_file(out, ".parquet")
    use_one_thread()
    from dataclasses import asdict

    from mechcausal.data import PromptSet
    from mechcausal.generation import Generating
    from mechcausal.models.load import load

    chosen: dict[str, Any] = {"edits": edit or (), "stop": stop or ()}
    method = Generating(**chosen, tokens=tokens, temperature=temperature, samples=samples, seed=seed)
    loaded = load(model)
    prompts: Any = PromptSet.from_chat(loaded, prompt) if chat else list(prompt)
    if dry_run:
        cost = method.cost(loaded, prompts)
        show_json(asdict(cost)) if as_json else typer.echo(str(cost))
        return
    written = method.run(loaded, prompts)
    path = None if out is None else written.save(out)
    if as_json:
        report = {"rows": records(written.frame), "edits": written.tables["edits"]}
        show_json(report | {"table": None if path is None else str(path), "provenance": written.provenance.to_json()})
        return
    typer.echo(written.summary(k=len(written)) + ("" if path is None else f"\n\ntable  {path}"))
