"""Files from anywhere: read as text or JSON, or refused in one sentence; written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechcausal.errors import ResultError, shortened
from mechcausal.results.storage import replacing, require_room


def text_of(path: Path) -> str:
    """Return the text of a file."""
    if not path.is_file():
        raise ResultError(f"there is no file {path}", fix="check the path")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ResultError(f"{path.name} is not a text file", expected="a circuit as JSON or GraphML") from None
    if not text.strip():
        raise ResultError(f"{path.name} is empty", expected="a circuit as JSON or GraphML")
    return text


def json_of(text: str, name: str) -> Mapping[str, Any]:
    """Return the JSON object that a text holds.

    Args:
        text: The content of a file.
        name: What it is called, for the error message.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ResultError(f"{name} is not a circuit: its JSON is nested too deeply") from None
    except ValueError as error:
        raise ResultError(f"{name} is not readable as JSON", got=shortened(str(error))) from None
    return mapping_of(data, name)


def mapping_of(data: Any, what: str) -> Mapping[str, Any]:  # noqa: ANN401 - JSON data
    """Return JSON data that must be an object."""
    if not isinstance(data, Mapping):
        raise ResultError(f"{what} is not a JSON object", got=shortened(repr(data), 40), expected="{...}")
    return data


def list_of(data: Any, what: str) -> list[Any]:  # noqa: ANN401 - JSON data
    """Return JSON data that must be a list."""
    if not isinstance(data, list):
        raise ResultError(f"{what} is not a JSON list", got=shortened(repr(data), 40), expected="[...]")
    return data


def number_of(value: Any, what: str) -> float:  # noqa: ANN401 - JSON data
    """Return JSON data that must be a number; NaN where it is null."""
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ResultError(f"{what} is not a number", got=shortened(repr(value), 40))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ResultError(f"{what} is not a finite number", got=shortened(str(value), 40))
    return number


def write_text(path: Path, text: str) -> Path:
    """Write a text to a file, whole or not at all."""
    require_room(path)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
