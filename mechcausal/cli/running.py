"""One way from a frozen specification to a verb: check, load, read the data, cost or run, save, print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.output import records, require_file, show_json
from mechcausal.cli.threads import use_one_thread


def run_method(
    name: str,
    options: Mapping[str, Any],
    chosen: Chosen,
    sources: tuple[str, ...],
    *,
    model: str,
    out: Path,
    dry_run: bool,
    as_json: bool,
    prepare: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]] | None = None,
) -> None:
    """Run a method that ends in a table, as a verb does.

    Args:
        name: The specification in `mechcausal.methods`, such as `"Patching"`.
        options: Its fields; those that are None keep their defaults.
        chosen: The data.
        sources: Which options may name the data.
        model: The model, as it is loaded.
        out: The file of the table.
        dry_run: Whether to print what it would cost, and stop.
        as_json: Whether to print JSON.
        prepare: From the model and the data to the data and further fields, where these depend on them.
    """
    if not dry_run:
        require_file(out, ".parquet")
    chosen.check(*sources)
    use_one_thread()
    from mechcausal import methods
    from mechcausal.models.load import load

    given = {field: value for field, value in options.items() if value is not None}
    kind = getattr(methods, name)
    method = None if prepare else kind(**given)  # so that wrong options are refused before anything is loaded
    loaded = load(model)
    data = chosen.read(loaded)
    if prepare is not None:
        data, more = prepare(loaded, data)
        method = kind(**{**given, **more})
    assert method is not None
    if dry_run:
        show_cost(method.cost(loaded, data), as_json=as_json)
        return
    result = method.run(loaded, data)
    path = result.save(out)
    if as_json:
        show_json({"table": str(path), "rows": records(result.frame)})
        return
    typer.echo(f"{result.summary()}\n\ntable  {path}")


def show_cost(cost: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a Cost
    """Print what a method would take."""
    if not as_json:
        typer.echo(str(cost))
        return
    show_json({name: _plain(value) for name, value in asdict(cost).items()})


def _plain(value: Any) -> Any:  # noqa: ANN401
    if hasattr(value, "to_json") and hasattr(value, "columns"):
        return records(value)
    return value.item() if hasattr(value, "item") else value
