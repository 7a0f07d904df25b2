"""One family of errors: each says in one sentence what was wrong, what was got, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar, TypeVar

T = TypeVar("T")
U = TypeVar("U")

_MOST_LISTED = 12
_LONGEST = 399  # characters of a message


class MechcausalError(ValueError):
    """Report a mistake that its reader can mend; the command line prints it without a traceback.

    Args:
        what: The sentence that says what is wrong, without a final period.
        got: What was found, where that helps.
        expected: What would have been right.
        fix: What to do about it: an argument to pass, a command to type.

    Attributes:
        others: Further mistakes that were found with this one; the message is of this one alone.
    """

    others: tuple[MechcausalError, ...] = ()

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> None:
        what = _line(what)
        self.what, self.got, self.expected, self.fix = what, got, expected, fix
        super().__init__(
            _sentence([what, *(None if part is None else _line(str(part)) for part in (got, expected, fix))])
        )


def of_each(act: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """Return what an act gives for each item; where it refuses some, raise the first mistake, which has the others.

    Args:
        act: What may refuse an item.
        items: The items.
    """
    given, mistakes = [], []
    for item in items:
        try:
            given.append(act(item))
        except MechcausalError as error:
            mistakes.append(error)
    raise_all(mistakes)
    return given


def raise_all(mistakes: Sequence[MechcausalError]) -> None:
    """Raise the first of several mistakes, which has the others; nothing where there are none."""
    if not mistakes:
        return
    first, *rest = mistakes
    first.others = (*first.others, *rest)
    raise first


def all_of(*acts: Callable[[], object]) -> None:
    """Do each of several checks; the first mistake is raised with those of the others."""
    of_each(lambda act: act(), acts)


def sentences(error: MechcausalError) -> list[str]:
    """Return the message of a mistake and of all that were found with it, each once."""
    inner = [text for other in error.others for text in sentences(other)]
    return list(dict.fromkeys([str(error), *inner]))


def _line(text: str) -> str:
    """Return a text as one line: what was got may print as several."""
    return " ".join(text.split()) if "\n" in text else text


def _sentence(parts: list[str | None]) -> str:
    """Return the message of (what, got, expected, fix); where it is too long, its longest part is cut."""
    what, got, expected, fix = parts
    details = [f"{name} {value}" for name, value in (("got", got), ("expected", expected)) if value is not None]
    message = f"{what}" + (f" ({'; '.join(details)})" if details else "") + (f": {fix}" if fix else "")
    excess, sizes = len(message) - _LONGEST, [len(part or "") for part in parts]
    if excess <= 0:
        return message
    longest = sizes.index(max(sizes))
    cut = shortened(parts[longest] or "", max(60, max(sizes) - excess))
    return _sentence([*parts[:longest], cut, *parts[longest + 1 :]])


class ArgumentError(MechcausalError):
    """An argument of the wrong kind or outside its range, refused before any compute."""


class DescriptionError(ArgumentError):
    """A plan or an experiment that cannot be run as it is written; the command line prints all its problems and exits with 3.

    Attributes:
        problems: Everything that is wrong with it.
    """

    listed_by: ClassVar[str] = ""

    def __init__(self, problems: Sequence[str], where: str) -> None:
        more = f" (and {len(problems) - 1} more{self.listed_by})" if len(problems) > 1 else ""
        super().__init__(f"{where}: {problems[0]}{more}")
        self.problems = tuple(problems)


class SiteError(MechcausalError):
    """A site or a selection that cannot be parsed, or that this model does not have."""


class UnsupportedError(MechcausalError):
    """Something this architecture or this installation cannot do, refused before any compute."""


class DataError(MechcausalError):
    """Prompts or pairs that do not fit together or do not fit the model."""


class ModelError(MechcausalError):
    """A model that cannot be loaded, or that is not what it claims to be."""


class InterventionError(MechcausalError):
    """An intervention that is malformed, did not fire as planned, or changed a shape."""


class NumericsError(MechcausalError):
    """NaN or infinity where numbers should be."""


class ResultError(MechcausalError):
    """A result file that cannot be read, or a view that this result does not have."""


def did_you_mean(word: object, choices: Iterable[object]) -> str:
    """Return the closest known word as a question, or the list of what there is (its beginning, if it is long)."""
    names = [str(name) for name in choices]
    close = get_close_matches(str(word), names, n=1, cutoff=0.55)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = names if len(names) <= _MOST_LISTED else [*names[:_MOST_LISTED], f"... ({len(names)} in all)"]
    return "use one of " + ", ".join(shown)


def shortened(text: str, most: int = 80) -> str:
    """Return a text that fits into a message."""
    return text if len(text) <= most else text[: most - 3] + "..."
