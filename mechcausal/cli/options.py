"""The arguments and options that several verbs share, so that each has one name and one meaning."""

from __future__ import annotations

from typing import Annotated

import typer

ModelName = Annotated[str, typer.Argument(help="organism:NAME, a local folder, a checkpoint or a hub name.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of everything random.")]
