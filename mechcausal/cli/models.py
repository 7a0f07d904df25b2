"""What models there are, and what can be read and written in one."""

from __future__ import annotations

import typer

from mechcausal.cli.options import Json, ModelName
from mechcausal.cli.output import columns, records, show_json
from mechcausal.cli.threads import use_one_thread


def organisms(as_json: Json = False) -> None:
    """List the models whose mechanism is known.

    Each row has the tasks, the size, the accuracy, the interchange accuracy (IIA) and the true circuit.
    """
    from mechcausal.organisms import organisms as table_of_organisms

    table = table_of_organisms()
    if as_json:
        show_json(records(table))
        return
    names = ("name", "tasks", "parameters", "accuracy", "iia", "circuit")
    rows = list(zip(*(table[name].tolist() for name in names), strict=True))
    typer.echo(columns(("name", "tasks", "size", "accuracy", "IIA", "true circuit"), rows))
    typer.echo('\nload one with mc.load("organism:NAME"); its truth is mc.truth("NAME")')


def sites(model: ModelName, as_json: Json = False) -> None:
    """List what can be read and written in a model.

    Both are measured on the model at hand; where something is impossible, the table says why.
    """
    use_one_thread()
    from mechcausal.models.abilities import abilities
    from mechcausal.models.abilities import sites as table_of_sites
    from mechcausal.models.load import load

    loaded = load(model)
    table = table_of_sites(loaded)
    if as_json:
        show_json(records(table))
        return
    measured = abilities(loaded)
    shape = measured.shape
    shared = f" ({shape.n_kv_heads} for keys and values)" if shape.n_kv_heads != shape.n_heads else ""
    typer.echo(
        f"{model}: {measured.architecture}, {shape.n_layers} layers, {shape.n_heads} heads{shared}, "
        f"d_model {shape.d_model}, d_mlp {shape.d_mlp}"
    )
    names = [str(name) for name in table.columns]
    typer.echo(columns(names, list(zip(*(table[name].tolist() for name in names), strict=True))))
