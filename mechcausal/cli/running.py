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
    more: Mapping[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - the result
    """Run a method that ends in a table, as a verb does, and return the result; nothing after a dry run.

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
        more: Further fields, of which None is a value.
    """
    if not dry_run:
        require_file(out, ".parquet")
    chosen.check(*sources)
    use_one_thread()
    from mechcausal import methods
    from mechcausal.models.load import load

    given = {field: value for field, value in options.items() if value is not None} | dict(more or {})
    kind = getattr(methods, name)
    method = None if prepare else kind(**given)  # so that wrong options are refused before anything is loaded
    loaded = load(model)
    data = chosen.read(loaded)
    if prepare is not None:
        data, fields = prepare(loaded, data)
        method = kind(**{**given, **fields})
    assert method is not None
    if dry_run:
        show_cost(method.cost(loaded, data), _seconds(method, loaded, data), as_json=as_json)
        return None
    result = method.run(loaded, data)
    path = result.save(out)
    if as_json:
        show_json({"table": str(path), "rows": records(result.frame)})
    else:
        typer.echo(f"{result.summary()}\n\ntable  {path}")
    return result


def _seconds(method: Any, model: Any, data: Any) -> float | None:  # noqa: ANN401
    """Return how long a method would take, where it can say so."""
    estimate = getattr(method, "seconds", None)
    return estimate(model, data) if callable(estimate) else None


def show_cost(cost: Any, seconds: float | None = None, *, as_json: bool) -> None:  # noqa: ANN401 - a Cost
    """Print what a method would take."""
    if not as_json:
        typer.echo(str(cost) + ("" if seconds is None else f"; about {_time(seconds)} on this machine"))
        return
    timed = {} if seconds is None else {"seconds": seconds}
    show_json({name: _plain(value) for name, value in asdict(cost).items()} | timed)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if hasattr(value, "to_json") and hasattr(value, "columns"):
        return records(value)
    return value.item() if hasattr(value, "item") else value
