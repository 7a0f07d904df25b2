"""The one place where arguments are checked: their kinds, ranges and sizes are read off the annotations.

`@checked` on a public function (and `Method`, for every specification) compares each argument with its annotation
before anything is computed. What an annotation of Python cannot say is said by `Annotated`: `Count` is a whole number
of at least 1, `Share` lies between 0 and 1. A new function or method gets all of it for nothing.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, wraps
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from mechcausal.errors import ArgumentError, MechcausalError, did_you_mean, shortened

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Kind:
    """What a value must be, beyond its type.

    Attributes:
        words: What is expected, as the error says it.
        test: Whether a value is of this kind; it may raise an error of the package with a better sentence.
        fix: What to do where it is not.
    """

    words: str
    test: Callable[[Any], bool]
    fix: str | None = None


def number(words: str, low: float = -math.inf, high: float = math.inf, *, integer: bool = False) -> Kind:
    """Return the kind of numbers between two bounds, both included."""
    wanted = numbers.Integral if integer else numbers.Real

    def test(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
        return isinstance(value, wanted) and not isinstance(value, bool) and bool(low <= value <= high)

    return Kind(words, test)


def _is_list(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _is_model(value: Any) -> bool:  # noqa: ANN401
    # Asked without importing transformer-lens; `models.bridge.require_bridge` knows the rest.
    # Of the class, because the dictionary of hooks is a property that is computed whenever it is read.
    return hasattr(type(value), "hook_dict") and hasattr(value, "original_model") and hasattr(value, "cfg")


Model = Annotated[Any, Kind("a model from mc.load", _is_model, "model = mc.load(...), and give it as first argument")]
_MOST = 10**9
Count = Annotated[int, number("a whole number of at least 1 and at most 10**9", 1, _MOST, integer=True)]
CountOrZero = Annotated[int, number("a whole number of at least 0 and at most 10**9", 0, _MOST, integer=True)]
Draws = Annotated[
    int,
    number(
        "a whole number of at least 1 and at most 1,000,000, because all are in memory at once", 1, 10**6, integer=True
    ),
]
Seed = Annotated[int, number("a whole number from 0 to 2**63 - 1", 0, 2**63 - 1, integer=True)]
Share = Annotated[float, number("a number between 0 and 1", 0.0, 1.0)]
OpenShare = Annotated[float, number("a number between 0 and 1, both excluded", math.ulp(0.0), 1.0 - 2**-53)]
Positive = Annotated[float, number("a number above 0", math.ulp(0.0), sys.float_info.max)]
NotNegative = Annotated[float, number("a number of at least 0", 0.0, sys.float_info.max)]
Number = Annotated[float, number("a finite number", -sys.float_info.max, sys.float_info.max)]
Reader = Annotated[
    Any,
    Kind(
        "a model from mc.load, or anything with a tokenizer",
        lambda value: _is_model(value) or hasattr(value, "tokenizer"),
        "model = mc.load(...), and give it here",
    ),
]
Column = Annotated[
    Sequence[Any],
    Kind("a list with one entry for each prompt", lambda value: _is_list(value) or getattr(value, "ndim", None) == 1),
]
Text = Annotated[str, Kind("a text that is not empty", lambda value: isinstance(value, str) and bool(value.strip()))]
Texts = Annotated[
    Sequence[str],
    Kind(
        "a list of texts",
        lambda value: isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value),
        "give a list of texts: list(...) makes one",
    ),
]


def checked(function: Callable[P, R], *, caller: str | None = None) -> Callable[P, R]:
    """Return the function with each argument compared with its annotation first."""
    signature = inspect.signature(function)
    called = caller or getattr(function, "__qualname__", "this function").removesuffix(".__init__")

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        given = bound(called, signature, args, kwargs)
        check_all(called, given, hints_of(function), signature)
        return function(*args, **kwargs)

    return wrapper


def bound(caller: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name, or say which one is unknown, missing or given twice."""
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        parameters = signature.parameters
        names = [name for name in parameters if name not in ("self", "cls")]
        unknown = [name for name in kwargs if name not in names]
        if unknown:
            fix = did_you_mean(unknown[0], names)
            raise ArgumentError(f"{caller} takes no argument {unknown[0]!r}", fix=fix) from None
        raise ArgumentError(f"{caller} was called wrongly", got=str(error), expected=", ".join(names)) from None


def check_all(
    caller: str,
    values: Mapping[str, Any],
    hints: Mapping[str, Any],
    signature: inspect.Signature | None = None,
    defaults: Collection[str] = (),
) -> None:
    """Raise for the first value that is not what its annotation says.

    Args:
        caller: What is called, for the message.
        values: The values by name.
        hints: The annotations by name.
        signature: The parameters of the function, where it is one.
        defaults: Names of values that nobody gave, so that they were not swapped with others.
    """
    given = {name: value for name, value in values.items() if name not in defaults}
    parameters = signature.parameters if signature else {}
    for name, value in values.items():
        kind = parameters[name].kind if name in parameters else None
        if name in ("self", "cls") or name not in hints or kind is inspect.Parameter.VAR_KEYWORD:
            continue
        for item in value if kind is inspect.Parameter.VAR_POSITIONAL else (value,):
            if not fits(item, hints[name]):
                _refuse_swapped(caller, name, {**given, name: value}, hints)
            check(f"{caller} cannot take this {name!r}", item, hints[name])


def check_fields(thing: Any) -> None:  # noqa: ANN401 - a dataclass
    """Raise for the first field of a dataclass that is not what its annotation says."""
    parts = [part for part in fields(thing) if part.init]
    values = {part.name: getattr(thing, part.name) for part in parts}
    defaults = [part.name for part in parts if values[part.name] is part.default]
    check_all(type(thing).__name__, values, hints_of(type(thing)), defaults=defaults)


def _refuse_swapped(caller: str, name: str, values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise where a value would be right for another argument whose value would be right for this one."""
    for other, value in values.items():
        if other == name or other not in hints or Any in (hints[name], hints[other]) or value is None:
            continue
        if _fits_quietly(values[name], hints[other]) and _fits_quietly(value, hints[name]):
            first, second = sorted((name, other), key=list(values).index)
            raise ArgumentError(
                f"the arguments {first!r} and {second!r} of {caller} are swapped",
                got=f"{described(values[first])} and {described(values[second])}",
                expected=f"{in_words(hints[first])}, then {in_words(hints[second])}",
            )


def _fits_quietly(value: Any, hint: Any) -> bool:  # noqa: ANN401
    try:
        return fits(value, hint)
    except MechcausalError:  # a kind that says more about what is wrong
        return False


def check(what: str, value: Any, hint: Any) -> None:  # noqa: ANN401 - any value, any annotation
    """Raise an `ArgumentError` if a value is not what its annotation says; `what` begins its message."""
    if fits(value, hint):
        return
    options = [option for part in _parts(hint) if get_origin(part) is Literal for option in get_args(part)]
    kinds = [kind for part in _parts(hint) if get_origin(part) is Annotated for kind in get_args(part)[1:]]
    fix = next((kind.fix for kind in kinds if isinstance(kind, Kind) and kind.fix), None)
    if isinstance(value, str) and options:
        fix = did_you_mean(value, options)
    if fix is None and _wants_list(hint) and isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        fix = "give a list: list(...) makes one"
    raise ArgumentError(what, got=described(value), expected=in_words(hint), fix=fix)


def _wants_list(hint: Any) -> bool:  # noqa: ANN401
    origins = [get_origin(part) for part in _parts(hint)]
    return any(
        origin in (list, tuple) or (inspect.isclass(origin) and issubclass(origin, Sequence)) for origin in origins
    )


def fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Say whether a value is what an annotation says; annotations that cannot be tested are taken to hold."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, (str, TypeVar, ParamSpec)):
        return True
    if hint is None or hint is types.NoneType:
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Annotated:
        kinds = [part for part in parts[1:] if isinstance(part, Kind)]
        return all(kind.test(value) for kind in kinds) if kinds else fits(value, parts[0])
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        return _fits_tuple(value, parts)
    if origin is not None and inspect.isclass(origin):
        return _fits_container(value, origin, parts)
    return _is_instance(value, hint)


def _fits_tuple(value: Any, parts: tuple[Any, ...]) -> bool:  # noqa: ANN401
    if not isinstance(value, (tuple, list)):
        return False
    if len(parts) == 2 and parts[1] is Ellipsis:
        return all(fits(item, parts[0]) for item in value)
    return len(value) == len(parts) and all(fits(item, part) for item, part in zip(value, parts, strict=True))


def _fits_container(value: Any, origin: type, parts: tuple[Any, ...]) -> bool:  # noqa: ANN401
    if origin is type:
        return isinstance(value, type)
    if issubclass(origin, Callable):
        return callable(value)
    if not isinstance(value, origin):
        return False
    if issubclass(origin, Mapping) and len(parts) == 2:
        return all(fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items())
    # A text is a sequence of texts to Python, and never what is meant here.
    if issubclass(origin, Sequence) and len(parts) == 1:
        return not isinstance(value, (str, bytes)) and all(fits(item, parts[0]) for item in value)
    return True


def _is_instance(value: Any, hint: Any) -> bool:  # noqa: ANN401
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    try:
        return isinstance(value, hint)
    except TypeError:  # a protocol or a form that cannot be asked
        return True


def described(value: Any) -> str:  # noqa: ANN401
    """Return a value in few words: plain ones as they are, others by their type."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return shortened(repr(value))
    return f"a {type(value).__name__}"


def in_words(hint: Any) -> str:  # noqa: ANN401
    """Return what an annotation asks for, as an error says it."""
    return " or ".join(dict.fromkeys(_word(part) for part in _parts(hint)))


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}


def _word(hint: Any) -> str:  # noqa: ANN401
    origin, parts = get_origin(hint), get_args(hint)
    if hint is None or hint is types.NoneType:
        return "None"
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is Annotated:
        return next((part.words for part in parts[1:] if isinstance(part, Kind)), _word(parts[0]))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        return f"a list of {_several(in_words(parts[0]))}" if parts else "a list"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    if inspect.isclass(origin) and issubclass(origin, Callable):
        return "a function"
    name = getattr(hint, "__name__", str(hint))
    return f"an {name}" if name[:1] in "AEIOU" else f"a {name}"


def _several(words: str) -> str:
    """Return the words for several of a kind."""
    simple = words.startswith("a ") and " or " not in words and len(words.split()) <= 3
    return f"{words[2:]}s" if simple else f"({words})"


def _parts(hint: Any) -> list[Any]:  # noqa: ANN401
    if get_origin(hint) in (Union, types.UnionType):
        return [part for inner in get_args(hint) for part in _parts(inner)]
    return [hint]


@cache
def hints_of(thing: Callable[..., Any] | type) -> Mapping[str, Any]:
    """Return the annotations of a function or a class; one that cannot be resolved here is left out."""
    hints: dict[str, Any] = {}
    owners = reversed(thing.__mro__) if isinstance(thing, type) else [thing]
    for owner in owners:
        module = sys.modules.get(getattr(owner, "__module__", ""), None)
        scope = {**vars(module)} if module else {}
        for name, hint in getattr(owner, "__annotations__", {}).items():
            try:
                hints[name] = eval(hint, scope) if isinstance(hint, str) else hint
            except Exception:
                continue
    return hints
