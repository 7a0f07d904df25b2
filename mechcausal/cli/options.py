"""The arguments and options that several verbs share, so that each has one name and one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[str, typer.Argument(help="organism:NAME, a local folder, a checkpoint or a hub name.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of everything random.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")]
Table = Annotated[Path, typer.Option("--out", "-o", help="The table, as parquet.")]

# What a verb runs on. `cli.data` reads all of these.
Shipped = Annotated[
    str | None, typer.Option("--contrast", help="Pairs that ship with the package, such as hiring/gender or ioi.")
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        "--pairs", help="Pairs of your own: .jsonl, .csv or .parquet with columns clean, corrupt, answer, foil."
    ),
]
Prompts = Annotated[
    Path | None, typer.Option("--prompts", help="Prompts of your own, instead of pairs: a table with a column text.")
]
TaskName = Annotated[str | None, typer.Option("--task", help="Prompts of a task that ships, such as hiring.")]
World = Annotated[str | None, typer.Option("--environment", help="Whose mechanisms draw the prompts of a task.")]
Concept = Annotated[
    str | None, typer.Option("--concept", help="The column or variable that holds the concept; default: the factor.")
]
ProbeLabels = Annotated[
    Path | None,
    typer.Option("--probe-labels", help="Prompts to fit probes to: a table with columns text and the concept."),
]
Count = Annotated[
    int | None,
    typer.Option("--n", "-n", min=2, help="How many pairs or prompts. Default: 200 of those that ship, all of a file."),
]
Spans = Annotated[
    str,
    typer.Option(help="Where pairs differ in length, a named span counts as its last token, its mean, or each token."),
]
Unfit = Annotated[
    bool, typer.Option("--drop-unfit", help="Drop rows of a file that the tokenizer cannot take, and say how many.")
]

# What is done where, and what is measured.
Sites = Annotated[list[str] | None, typer.Option(help="Where, such as resid_pre, z or L1.z.H*; may be repeated.")]
At = Annotated[str | None, typer.Option(help="At which positions: each, all, or a selection such as @-1 or @subject.")]
MetricName = Annotated[
    str | None, typer.Option("--metric", help="What is measured, such as logit_diff, logprob or accuracy.")
]
Direction = Annotated[
    str, typer.Option(help="denoise: clean into corrupt, what suffices. noise: corrupt into clean, what is needed.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="How many at a time.")]


def names_in(words: list[str] | None) -> list[str] | None:
    """Return the names in options that may hold several, with commas between."""
    return None if words is None else [name.strip() for word in words for name in word.split(",") if name.strip()]
