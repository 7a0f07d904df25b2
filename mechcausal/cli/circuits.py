"""Circuits: found, judged, shown, compared and written for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mechcausal.cli.data import Chosen
from mechcausal.cli.options import (
    At,
    BatchSize,
    Count,
    DryRun,
    Json,
    MetricName,
    ModelName,
    Pairs,
    Seed,
    Shipped,
    Table,
    Unfit,
    names_in,
)
from mechcausal.cli.output import columns, records, require_file, show_json
from mechcausal.cli.running import run_method, show_cost
from mechcausal.cli.threads import use_one_thread
from mechcausal.errors import ArgumentError

if TYPE_CHECKING:
    from mechcausal.circuits.circuit import Circuit

_PAIRS = ("contrast", "pairs")
_MOST_ROWS = 1000  # edges that --json lists at most, those with the largest scores

circuit = typer.Typer(name="circuit", help="Judge, show, compare and convert circuits.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The circuit: what discover wrote, or a file of another tool.")]
Ablation = Annotated[
    str | None,
    typer.Option(help="What edges outside the circuit carry: counterfactual, zero, mean, resample or optimal."),
]
ScoreOf = Annotated[
    str,
    typer.Option(
        help="Of an EAP-IG graph: whether the gradient was of a loss or of the metric, which has the other sign."
    ),
]
KvHeads = Annotated[
    int | None, typer.Option("--n-kv-heads", min=1, help="Of an EAP-IG graph: how many key-value heads a layer has.")
]
Join = Annotated[
    bool, typer.Option("--join", help="Of an EAP-IG graph: add up keys and values that heads share, and positions.")
]

OfModel = Annotated[str | None, typer.Option("--model", help="The model; that in the file unless said.")]
SharedPairs = Annotated[bool, typer.Option("--shared", help="Also use the pairs that the circuit was found on.")]
Mark = Annotated[Path | None, typer.Option("--mark", help="Also write the circuit, as JSON, with the verdict in it.")]


def discover(
    model: ModelName,
    contrast: Shipped = None,
    pairs: Pairs = None,
    method: Annotated[str, typer.Option(help="How edges are scored, such as eap, eap-ig, exact or acdc.")] = "eap-ig",
    edges: Annotated[int | None, typer.Option(min=1, help="How many edges are kept; else a share of all.")] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Which share of all edges is kept.")] = None,
    search: Annotated[str | None, typer.Option(help="greedy (connected), top or threshold.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The smallest absolute score that is kept.")] = None,
    certify: Annotated[
        int | None, typer.Option(min=1, help="Measure so many of the best edges, and a sample of the rest, exactly.")
    ] = None,
    ablation: Ablation = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of a path of integrated gradients.")] = None,
    at: At = None,
    split: Annotated[bool, typer.Option("--split", help="Tell query heads apart that share keys and values.")] = False,
    metric: MetricName = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The circuit, as JSON.")] = Path("circuit.json"),
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find the circuit of a behavior; write it.

    Every edge between heads and MLPs is scored, and those that matter are kept.
    """
    if not dry_run:
        require_file(out, ".json")
    chosen = Chosen(contrast, pairs, n=n, seed=seed, drop=drop_unfit)
    chosen.check(*_PAIRS)
    use_one_thread()
    from mechcausal.circuits import Discovering
    from mechcausal.models.load import load

    options: dict[str, Any] = {
        "method": method, "edges": edges, "share": share, "search": search, "threshold": threshold, "certify": certify,
        "ablation": ablation, "steps": steps, "at": at, "metric": metric,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    spec = Discovering(**given, split=split, batch_size=batch_size, seed=seed)
    loaded = load(model)
    data: Any = chosen.read(loaded)
    if dry_run:
        show_cost(spec.cost(loaded, data), as_json=as_json)
        return
    result = spec.run(loaded, data)
    path = result.save(out)
    if as_json:
        show_json({"circuit": str(path), **_document(result)})
        return
    typer.echo(f"{result.summary()}\n\ncircuit  {path}")


@circuit.command()
def evaluate(
    file: File,
    contrast: Shipped = None,
    pairs: Pairs = None,
    model: OfModel = None,
    metric: MetricName = None,
    ablation: Ablation = None,
    random: Annotated[int | None, typer.Option(min=0, help="Random circuits of the same size, at every size.")] = None,
    minimality: Annotated[int | None, typer.Option(min=0, help="How many edges are removed one by one.")] = None,
    sampled: Annotated[
        int | None, typer.Option(min=1, help="On how many pairs these two are run; in a large model 48.")
    ] = None,
    shared: SharedPairs = False,
    out: Table = Path("evaluation.parquet"),
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure how faithful, complete and minimal a circuit is.

    Pairs that it was found on are left out.
    """
    options = {
        "metric": metric, "ablation": ablation, "random": random, "minimality": minimality, "sampled": sampled,
        "shared": shared, "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    chosen = Chosen(contrast, pairs, n=n, seed=seed, drop=drop_unfit)
    _judge("EvaluatingCircuit", file, options, chosen, model, out, None, dry_run=dry_run, as_json=as_json)


@circuit.command()
def certify(
    file: File,
    contrast: Shipped = None,
    pairs: Pairs = None,
    model: OfModel = None,
    k: Annotated[int, typer.Option("--k", min=1, help="How many of the best edges are measured.")] = 20,
    sample: Annotated[int | None, typer.Option(min=0, help="How many of the other edges are measured.")] = None,
    least: Annotated[float | None, typer.Option(help="The smallest share of the behavior that matters.")] = None,
    redrawn: Annotated[
        int | None, typer.Option(min=0, help="Networks with redrawn weights that the behavior is compared with.")
    ] = None,
    metric: MetricName = None,
    ablation: Ablation = None,
    shared: SharedPairs = False,
    out: Table = Path("certificate.parquet"),
    mark: Mark = None,
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure the best edges of a circuit, and a sample of the rest, exactly.

    Pairs that it was found on are left out.
    """
    options = {
        "k": k, "sample": sample, "least": least, "redrawn": redrawn, "metric": metric, "ablation": ablation,
        "shared": shared, "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    chosen = Chosen(contrast, pairs, n=n, seed=seed, drop=drop_unfit)
    _judge("CertifyingCircuit", file, options, chosen, model, out, mark, dry_run=dry_run, as_json=as_json)


@circuit.command()
def rediscover(
    file: File,
    contrast: Shipped = None,
    pairs: Pairs = None,
    model: OfModel = None,
    splits: Annotated[int | None, typer.Option(min=1, help="How often the pairs are split into two halves.")] = None,
    seeds: Annotated[int | None, typer.Option(min=0, help="How many other seeds, where the search draws.")] = None,
    methods: Annotated[
        list[str] | None, typer.Option(help="Other methods, such as eap,exact; may be repeated.")
    ] = None,
    rival: Annotated[
        str, typer.Option(help="How a circuit without any of its edges is searched: mask, scores or none.")
    ] = "mask",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps that the mask of the rival is learned for.")] = None,
    out: Table = Path("uniqueness.parquet"),
    mark: Mark = None,
    n: Count = None,
    drop_unfit: Unfit = False,
    batch_size: BatchSize = 64,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find a circuit again, and say how unique it is.

    On halves of the pairs, with other seeds, by other methods, and without its own edges.
    """
    options = {
        "splits": splits, "seeds": seeds, "methods": names_in(methods), "steps": steps, "batch_size": batch_size,
        "seed": seed,
    }  # fmt: skip
    chosen = Chosen(contrast, pairs, n=n, seed=seed, drop=drop_unfit)
    more = {"rival": None if rival == "none" else rival}
    _judge("Rediscovering", file, options, chosen, model, out, mark, dry_run=dry_run, as_json=as_json, more=more)


@circuit.command()
def show(
    file: File,
    picture: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture: a name that ends in .svg or .html.")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="The circuit that is known to be true: the picture tells what was found and missed."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="How many edges are listed.")] = 10,
    as_json: Json = False,
) -> None:
    """Say what a circuit is, and draw it."""
    if picture is not None:
        require_file(picture, ".svg", ".html")
    graph, true_circuit = _read(file), None if truth is None else _read(truth)
    if picture is not None:
        from mechcausal.circuits.formats.files import write_text
        from mechcausal.circuits.picture import still

        drawn = still(graph, true_circuit)
        page = f'<!doctype html><meta charset="utf-8"><title>{file.stem}</title>{drawn}'
        write_text(picture, page if picture.suffix == ".html" else drawn)
    if as_json:
        written = {} if picture is None else {"picture": str(picture)}
        show_json({"circuit": str(file), **_document(graph), **written})
        return
    typer.echo(graph.summary(k) + ("" if picture is None else f"\n\npicture  {picture}"))


@circuit.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A circuit, of this package or of another tool.")],
    out: Annotated[Path, typer.Argument(help="The file that is written.")],
    format: Annotated[
        str | None,
        typer.Option(help="mechcausal, eap-ig, graphml or attribution-graph; by the ending of the name unless said."),
    ] = None,
    score_of: ScoreOf = "loss",
    n_kv_heads: KvHeads = None,
    join: Join = False,
    d_model: Annotated[
        int | None,
        typer.Option("--d-model", min=1, help="Of an EAP-IG graph: the width of the stream, if the file lacks it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a circuit for another tool, or read one of another tool.

    Graphs of EAP-IG and MIB, attribution graphs, GraphML.
    """
    require_file(out)
    from mechcausal.circuits import read, write

    reading: dict[str, Any] = {"score_of": score_of, "n_kv_heads": n_kv_heads, "join": join}
    writing: dict[str, Any] = {"format": format, "d_model": d_model, "join": join}
    graph = read(file, **reading)
    path = write(graph, out, **writing)
    if as_json:
        show_json({"circuit": str(path)})
        return
    typer.echo(f"{graph.summary()}\n\ncircuit  {path}")


@circuit.command()
def compare(
    files: Annotated[list[Path], typer.Argument(help="Two circuits of one model, or more.")],
    as_json: Json = False,
) -> None:
    """Say how much circuits of one model have in common.

    Shared edges and nodes, beside what random circuits of the same sizes share.
    """
    if len(files) < 2:
        raise ArgumentError("one circuit has nothing to be compared with", fix="name two files or more")
    names = [str(file) for file in files]
    if len(set(names)) < len(names):
        raise ArgumentError("a circuit is not compared with itself", got=", ".join(names), fix="name each file once")
    from mechcausal.circuits import compare as compared

    comparison = compared({str(file): _read(file) for file in files})
    if as_json:
        show_json(records(comparison.frame))
        return
    typer.echo(f"{columns(list(comparison.frame), comparison.frame.values.tolist())}\n\n{comparison.summary()}")


def _judge(
    method: str,
    file: Path,
    options: dict[str, Any],
    chosen: Chosen,
    model: str | None,
    out: Path,
    mark: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
    more: dict[str, Any] | None = None,
) -> None:
    """Run a method that judges the circuit in a file.

    Args:
        method: The specification.
        file: The circuit.
        options: Its fields; those that are None keep their defaults.
        chosen: The data.
        model: The model; that in the file if None.
        out: The file of the table.
        mark: The file of the circuit with the verdict.
        dry_run: Whether to print what it would cost, and stop.
        as_json: Whether to print JSON.
        more: Fields that may be None.
    """
    if not dry_run:
        require_file(out, ".parquet")
        if mark is not None:
            require_file(mark, ".json", option="--mark")
    chosen.check(*_PAIRS)
    use_one_thread()
    read = _read(file)
    result = run_method(
        method, {"circuit": read, **options}, chosen, _PAIRS, model=model or _model_of(read, file), out=out,
        dry_run=dry_run, as_json=as_json, more=more or {},
    )  # fmt: skip
    if mark is not None and result is not None:
        path = result.mark(read).save(mark)
        if not as_json:
            typer.echo(f"circuit  {path}")


def _read(file: Path) -> Circuit:
    """Return the circuit in a file; a graph of places is none."""
    from mechcausal.circuits import Circuit, read

    graph = read(file)
    if not isinstance(graph, Circuit):
        raise ArgumentError(
            f"{file} is a graph of places",
            expected="a circuit of heads and MLPs",
            fix="mechcausal circuit convert reads it",
        )
    return graph


def _model_of(graph: Circuit, file: Path) -> str:
    """Return the name of the model that a circuit was found in."""
    provenance = graph.about.get("provenance")
    model = provenance.get("model") if isinstance(provenance, dict) else graph.about.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"{file} does not say which model the circuit is of", fix="give --model NAME")
    return name


def _document(graph: Circuit) -> dict[str, Any]:
    kept = graph.frame[graph.frame["kept"]]
    about = {name: value for name, value in graph.about.items() if name not in ("found_on", "provenance")}
    sizes = {"edges": len(graph), "of_edges": graph.wiring.count * len(graph.positions)}
    return {**sizes, "about": about, "rows": records(kept.drop(columns="kept").head(_MOST_ROWS))}
