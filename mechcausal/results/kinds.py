"""Which class wrote a file, and how that class is found again.

A file names the class by module and name, and so there is no list of classes to be kept. What is imported on account of
a file is a module of this package and nothing else; and only what is made to be loaded (`Kept`) is taken from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

_PACKAGE = __name__.partition(".")[0]
_OURS = re.compile(rf"{_PACKAGE}(\.[a-z]\w*)+")


class Kept:
    """What can be saved and loaded as what it was; a subclass that is a dataclass keeps the `repr` of its parent."""

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - those of a class
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls) and cls.__repr__ is not object.__repr__:
            cls.__repr__ = cls.__repr__  # in its own namespace, where `dataclass` leaves it alone

    @classmethod
    def restored(cls, path: Path, fields: Mapping[str, Any], extras: Mapping[str, Any]) -> Self:
        """Make one from what a file holds.

        Args:
            path: The file, beside which a class may have more.
            fields: The fields of the plain result.
            extras: What else the class wrote of itself, as JSON data.
        """
        raise NotImplementedError


def name_of(kind: type[Kept]) -> str:
    """Return the name under which files know a class."""
    return f"{kind.__module__}:{kind.__qualname__}"


def named(name: object) -> type[Kept] | None:
    """Return the class of this name, or None if there is none such.

    A class of another package is found only if that package defined it already.
    """
    if not isinstance(name, str):
        return None
    module = name.partition(":")[0]
    if _OURS.fullmatch(module):
        try:
            import_module(module)
        except ModuleNotFoundError:
            return None
    kinds = (kind for kind in _all_below(Kept) if kind.restored.__func__ is not Kept.restored.__func__)
    return next((kind for kind in kinds if name_of(kind) == name), None)


def _all_below(kind: type[Kept]) -> Iterator[type[Kept]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_below(below)
