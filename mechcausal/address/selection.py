"""Selections: which positions of each prompt, written `@-1`, `@3:7`, `@subject` or `@all`."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any, SupportsIndex

from mechcausal.errors import SiteError, shortened


@dataclass(frozen=True)
class Selection:
    """Which positions of each prompt: all, one index, a range, or a named position.

    Indices count the real tokens of a prompt, so they mean the same with padding on either side; negative ones
    count from the end.
    """

    start: int | None = None
    stop: int | None = None
    name: str | None = None

    @classmethod
    def parse(cls, text: str | SupportsIndex | slice | Selection | None) -> Selection:
        """Read `@-1`, `@3:7`, `@subject`, `@all` (the `@` may be left out), an int, a slice, or None for all."""
        if isinstance(text, Selection):
            return text
        if text is None:
            return ALL
        if isinstance(text, slice):
            if text.step not in (None, 1):
                raise SiteError("a selection cannot skip positions", got=f"step {text.step}", expected="step 1")
            return ALL if text.start is None and text.stop is None else cls(text.start or 0, text.stop)
        if (index := _index_of(text)) is not None:
            return cls(index, index + 1 if index != -1 else None)
        word = text.strip().removeprefix("@") if isinstance(text, str) else None
        if word is None:
            raise SiteError(
                "this is not a selection of positions",
                got=shortened(repr(text)),
                expected="a form like @-1, @3:7 or @all",
            )
        if word in ("", "all"):
            return ALL
        if re.fullmatch(r"-?\d+", word):
            return cls.parse(int(word))
        if match := re.fullmatch(r"(-?\d+)?:(-?\d+)?", word):
            start, stop = (None if part is None else int(part) for part in match.groups())
            return ALL if start is None and stop is None else cls(start or 0, stop)
        if re.fullmatch(r"[A-Za-z_]\w*", word):
            return cls(name=word)
        raise SiteError(f"{text!r} is not a selection", expected="a form like @-1, @3:7, @subject or @all")

    def __str__(self) -> str:
        """Print the selection in the form that `parse` reads."""
        if self.name is not None:
            return f"@{self.name}"
        if self.start is None:
            return "@all"
        if self.is_single:
            return f"@{self.start}"
        return f"@{self.start}:{'' if self.stop is None else self.stop}"

    @property
    def is_single(self) -> bool:
        """Whether this picks one position by its index."""
        return self.start is not None and (self.stop == self.start + 1 or (self.start == -1 and self.stop is None))

    def bounds(self, length: int) -> tuple[int, int]:
        """Return (start, stop) within a prompt of `length` real tokens; empty where the prompt is too short."""
        if self.start is None:
            return 0, length
        if self.is_single:
            index = self.start + length if self.start < 0 else self.start
            return (index, index + 1) if 0 <= index < length else (0, 0)
        start, stop, _ = slice(self.start, self.stop).indices(length)
        return start, max(start, stop)


ALL = Selection()


def _index_of(value: Any) -> int | None:  # noqa: ANN401 - whatever a caller passes
    """Return an integer of Python, numpy or torch as one of Python; None for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        return None
