"""How a package shows itself: names that are imported on first use, and a `dir()` of what is meant to be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

_LEFTOVERS = ("annotations", "TYPE_CHECKING", "lazy", "shown")


def lazy(package: str, homes: Mapping[str, str], *others: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose names are imported on first use.

    Args:
        package: The name of the package.
        homes: For each public name the module it stands in; a name that stands in itself is a module.
        others: Public names that need no import.
    """

    def get(name: str) -> Any:  # noqa: ANN401 - any public name
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    return get, lambda: sorted([*homes, *others])


def shown(namespace: Mapping[str, Any]) -> Callable[[], list[str]]:
    """Return the `__dir__` of a package that imports its names: all of them but modules and private names.

    Args:
        namespace: The `globals()` of the package.
    """

    def public(name: str, value: object) -> bool:
        home = getattr(value, "__module__", None)
        mine = home is None or home.partition(".")[0] == "mechcausal"
        return not name.startswith("_") and not isinstance(value, ModuleType) and mine and name not in _LEFTOVERS

    return lambda: sorted(name for name, value in namespace.items() if public(name, value))
