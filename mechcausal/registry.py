"""A table from names to things that answers a wrong name with the nearest right one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from mechcausal.errors import MechcausalError, did_you_mean, shortened

T = TypeVar("T")


class Registry(Generic[T]):
    """Hold named things of one kind.

    Args:
        kind: What the things are, as the error says it: "metric", "organism".
        error: The error raised for an unknown name.
    """

    def __init__(self, kind: str, error: type[MechcausalError] = MechcausalError) -> None:
        self.kind = kind
        self._error = error
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its argument under `name`."""

        def file(thing: T) -> T:
            if name in self._things:
                raise self._error(f"the {self.kind} {name!r} is registered already", fix="choose another name")
            self._things[name] = thing
            return thing

        return file

    def __getitem__(self, name: str) -> T:
        """Return the thing called `name`, or say which names there are."""
        if not isinstance(name, str) or name not in self._things:
            raise self._error(
                f"there is no {self.kind} called {shortened(repr(name))}", fix=did_you_mean(name, self._things)
            )
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of registration."""
        return iter(self._things)

    def __contains__(self, name: object) -> bool:
        """Say whether `name` is registered."""
        return name in self._things

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._things)
