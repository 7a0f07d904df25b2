"""Benchmarks of methods against truths that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mechcausal.cli.options import Json, Seed, names_in
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError

bench = typer.Typer(name="bench", help="Measure how good methods are.", no_args_is_help=True)


@bench.command()
def circuits(
    methods: Annotated[
        list[str] | None, typer.Option(help="Methods, such as eap-ig,exact; may be repeated. Default: all.")
    ] = None,
    organisms: Annotated[
        list[str] | None, typer.Option(help="Organisms, such as hiring,ioi; may be repeated. Default: all.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A real model instead, such as smollm2: circuits judged as MIB does.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="The pairs of the real model, such as ioi.")] = "ioi",
    quick: Annotated[bool, typer.Option("--quick", help="One question about each organism, few pairs.")] = False,
    n: Annotated[
        int | None, typer.Option("--n", "-n", min=4, help="How many pairs. Default: 32, quick 24, of a real model 64.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="How many draws of pairs for each question. Default: 5, quick 2.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The numbers, as .json; a page is written beside them.")
    ] = Path("bench-circuits.json"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare all methods of circuit discovery on known circuits.

    Areas under the ROC curve of edges and nodes, distance from the model, seconds and forwards. What is in the file already
    is not run again.
    """
    given = {"--organisms": organisms, "--quick": quick or None, "--draws": draws}
    wrong = [name for name, value in given.items() if value is not None] if model else []
    if wrong:
        raise ArgumentError(f"{wrong[0]} is about organisms, not about --model {model}", fix="leave one of them out")
    require_file(out, ".json")
    use_one_thread()
    chosen, asked = (names_in(words) for words in (methods, organisms))
    if model:
        from mechcausal.circuits.benchmark.protocol import bench_model
        from mechcausal.models.load import load

        options: dict[str, Any] = {} if n is None else {"n": n}
        made = bench_model(load(model), task, methods=chosen, seed=seed, out=out, **options)
    else:
        from mechcausal.circuits.benchmark.running import bench as run

        made = run(methods=chosen, organisms=asked, n=n, draws=draws, quick=quick, seed=seed, out=out)
    if as_json:
        show_json({"numbers": str(out), "page": str(out.with_suffix(".html")), "rows": records(made.frame)})
        return
    typer.echo(f"{made.summary()}\n\nnumbers  {out}\npage     {out.with_suffix('.html')}")
