"""Tasks with known mechanisms: each is a causal model with the texts that show it."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from mechcausal.arguments import Draws, Reader, Seed, Text, checked
from mechcausal.catalog import TASKS
from mechcausal.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from mechcausal.data.contrast import Contrast
    from mechcausal.data.prompts import Side
    from mechcausal.data.scm import SCM
    from mechcausal.data.tasks.definition import Task


@checked
def task(name: Text) -> Task:
    """Return a task by its name: one that ships, or one of yours in `mechcausal.catalog.TASKS`."""
    entry = TASKS[name]
    if not isinstance(entry, str):
        return entry
    return next(shipped for shipped in import_module(entry).TASKS if shipped.name == name)


def name_of(scm: SCM) -> str | None:
    """Return the name of the task whose causal model this is; None for any other causal model."""
    return next((name for name in sorted(TASKS, key=scm.name.__ne__) if task(name).scm is scm), None)


@checked
def contrast(
    name: Text,
    model: Reader,
    n: Draws = 128,
    *,
    seed: Seed = 0,
    environment: str | None = None,
    lengths: Literal["equal", "any"] | None = None,
    side: Side = "right",
) -> Contrast:
    """Draw pairs that ship: of a task, `mc.contrast("hiring/gender", model, n=64)`, or for any model, `mc.contrast("ioi", model)`.

    For any tokenizer there are `ioi`, `greater_than`, `induction`, `sva/simple`, `sva/nounpp`, `professions/gender`,
    `winogender`, `winobias/type1`, `winobias/type2`, `crows_pairs`, `bbq/age` and `bbq/religion`. Pairs that a tokenizer
    cannot take are left out; `dropped` says how many and why. A task of an organism is always named with its factor:
    `ioi/order` is the organism's, `ioi` is any model's.

    Args:
        name: Task and factor, as `TASK/FACTOR`: any variable of the task's causal model, or a contrast it has a name for;
            or one of the names above.
        model: The model whose tokenizer reads them.
        n: How many pairs; where a published suite has fewer, all of them, and a warning says so.
        seed: The seed of the draw.
        environment: Whose mechanisms draw them; the task's own unless said otherwise.
        lengths: For any tokenizer: whether pairs whose prompts differ in length are left out (`"equal"`) or matched by their
            named spans (`"any"`); None is as the pairs suggest.
        side: The side to pad on.
    """
    from mechcausal.data.suites import SUITES, draw

    if name in SUITES:
        if environment is not None:
            raise DataError(f"the pairs of {name!r} have no environments", fix="leave environment out")
        return draw(name, model, n, seed=seed, lengths=lengths, side=side)
    if lengths is not None:
        raise DataError(f"the pairs of {name!r} all have equal lengths", fix="leave lengths out")
    word, _, factor = name.partition("/")
    if word not in TASKS:
        raise DataError(f"there are no pairs called {name!r}", fix=_meant(name, [*SUITES, *TASKS]))
    return task(word).contrast(model, factor, n, seed=seed, environment=environment, side=side)


def _meant(name: str, names: list[str]) -> str:
    """Return what an unknown name may mean: a suite, or a task with its factor."""
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.75)
    return f"did you mean {close[0]!r}?" if close else did_you_mean(name.partition("/")[0], names)
