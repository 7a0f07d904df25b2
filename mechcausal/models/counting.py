"""How many prompts are run: counted where a model runs them, for whoever wants to know.

    with counting(counts.append):
        ...                        # every run of the model, wherever it is made, adds its prompts

One is one prompt through all layers. A run that begins behind an edit counts as the share of layers and tokens that are
run again, and a token that is written with kept keys and values as one token of the prompt before it. Gradients cost no more than the
run that they are taken through. Where nobody counts, and while a model is compared with itself (`uncounted`), nothing is
added.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

_counter: ContextVar[Callable[[float], object] | None] = ContextVar("counter", default=None)


def count(prompts: float) -> None:
    """Say that so many prompts were run."""
    counter = _counter.get()
    if counter is not None:
        counter(prompts)


@contextmanager
def counting(counter: Callable[[float], object]) -> Generator[None]:
    """Tell a function how many prompts are run meanwhile; of several that are told, only the innermost is."""
    with _set(counter):
        yield


@contextmanager
def weighed(share: float) -> Generator[None]:
    """Count every prompt that is run meanwhile as a share of one, or as several."""
    counter = _counter.get()
    with _set(None if counter is None else lambda prompts: counter(share * prompts)):
        yield


@contextmanager
def uncounted() -> Generator[None]:
    """Count nothing meanwhile: what is measured of a model once says nothing of what a method takes."""
    with _set(None):
        yield


@contextmanager
def _set(counter: Callable[[float], object] | None) -> Generator[None]:
    token = _counter.set(counter)
    try:
        yield
    finally:
        _counter.reset(token)
