"""What all benchmarks of circuits share: rows that are written as they come, and a file that is gone on with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from mechcausal.errors import ArgumentError, ResultError
from mechcausal.results.provenance import Provenance
from mechcausal.results.storage import read_json, replacing, require_room, write_json

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Records:
    """Rows of a benchmark, and how they came about.

    Attributes:
        rows: What was measured, as JSON data.
        settings: What all rows have in common, as JSON data.
        provenance: What computed them, as JSON data.
    """

    kind: ClassVar[str]
    rows: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def made(cls, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Self:
        """Make one of rows that were measured in this process."""
        record = asdict(Provenance("bench", {}, {}, {}, {}))
        return cls(tuple(rows), settings, {name: record[name] for name in ("git", "packages", "created")})

    @classmethod
    def begun(cls, path: str | Path | None, settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the rows that a file has already; refuse a file that cannot be gone on with or written.

        Args:
            path: The file; None for none.
            settings: What all its rows must have in common.
        """
        if path is None:
            return []
        require_room(_json(path))
        if not Path(path).exists():
            return []
        begun = cls.load(path)
        if dict(begun.settings) != dict(settings):
            raise ArgumentError(
                f"{path} holds a benchmark with other settings", got=_listed(begun.settings), expected=_listed(settings),
                fix="choose another file, or remove it",
            )  # fmt: skip
        return list(begun.rows)

    def page(self) -> str:
        """Return one self-contained HTML page with tables and pictures."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return JSON data from which `from_json` makes it again."""
        return {
            "format": FORMAT, "kind": self.kind, "settings": dict(self.settings), "rows": [dict(row) for row in self.rows],
            "provenance": dict(self.provenance),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make one from its JSON data."""
        if data.get("format") != FORMAT or data.get("kind") != cls.kind:
            raise ResultError(
                f"this is no {cls.kind}, or one of another format", got=data.get("kind"), fix="give another file"
            )
        return cls(tuple(data["rows"]), data["settings"], data["provenance"])

    def save(self, path: str | Path) -> Path:
        """Write the numbers as JSON with a checksum, and a page beside them.

        Args:
            path: The file of the numbers; the page has the same name and ends in `.html`.
        """
        path = _json(path)
        if self.rows:
            with replacing(path.with_suffix(".html")) as temporary:
                temporary.write_text(self.page(), encoding="utf-8")
        return write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the numbers that `save` wrote."""
        return cls.from_json(read_json(path, f"a {cls.kind}"))


def _json(path: str | Path) -> Path:
    if Path(path).suffix != ".json":
        raise ArgumentError(f"a benchmark cannot be written to {path}", expected="a name that ends in .json")
    return Path(path)


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def short(value: float | None, form: str = ".2f") -> str:
    """Return a number as a table shows it, nothing for what is not known."""
    return "" if value is None or math.isnan(value) else format(value, form)


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return an estimate with its interval."""
    ends = "" if low is None or high is None or math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
    return short(value, ".3f") + (ends if short(value) else "")
