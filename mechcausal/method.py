"""A method as data: a frozen specification that is checked, costed, run, and written into a file and read back.

    spec = mc.methods.Patching(sites="z", direction="noise")
    spec.cost(model, pairs)               # what it would take; nothing but unedited runs are made
    spec.run(model, pairs)                # the same as mc.patch(model, pairs, sites="z", direction="noise")
    mc.methods.read(spec.to_json())       # equal to spec

The function that users call is made from the specification (`function`), so that arguments, their defaults and their
meaning are stated once.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import MISSING, Field, dataclass, fields
from functools import wraps
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from mechcausal.arguments import Model, bound, check_all, checked, described, hints_of
from mechcausal.errors import ArgumentError
from mechcausal.registry import Registry

P = ParamSpec("P")
Data = TypeVar("Data", contravariant=True)
Outcome = TypeVar("Outcome", covariant=True)
Found = TypeVar("Found")
_BY_PLACE_OR_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD
# What the innermost run of a method has looked at, with its subject, which lives on so that its id stays its own.
_looked_at: ContextVar[dict[tuple[int, str], tuple[Any, Any]] | None] = ContextVar("looked_at", default=None)


@dataclass(frozen=True)
class Cost:
    """What a method would take.

    Attributes:
        cells: How many cells, nodes or questions there are: the rows of the result where there is one for each.
        examples: How many prompts or pairs each of them is measured on.
        forwards: What would be run, in forwards of one prompt through all layers.
        naive_forwards: What would be run without sharing anything.
    """

    cells: int
    examples: int
    forwards: float
    naive_forwards: float

    @property
    def ratio(self) -> float:
        """How many times less is run than without sharing."""
        return self.naive_forwards / max(1e-9, self.forwards)

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.cells:,} cells x {self.examples:,} examples: {self.forwards:,.0f} forwards of one prompt "
            f"({self.naive_forwards:,.0f} without sharing, {self.ratio:.1f} times more)"
        )


METHODS: Registry[type[Method[Any, Any]]] = Registry("method", ArgumentError)


@dataclass(frozen=True)
class Spec:
    """What is asked, as data. A subclass is a frozen dataclass with a `word`, by which its registry knows it.

    Fields hold plain data: lists become tuples, and a field with `metadata={"read": function}` is read by that function
    from its plain form (`"write"` names the function back, where it is not `to_json`). All fields are compared with
    their annotations when the specification is made.
    """

    word: ClassVar[str]
    """What it is called in Python, in files and in provenance: `"patch"`."""
    verb: ClassVar[str]
    """The key under which the word stands in a file; no field can be called so."""
    registry: ClassVar[Registry[Any]]
    """Where specifications of this kind are found by their word."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**kwargs)
        if "word" in vars(cls):
            cls.registry.register(cls.word)(cls)

    def __post_init__(self) -> None:
        for part in fields(self):
            value = _tuples(getattr(self, part.name))
            read = part.metadata.get("read")
            value = _tuples(read(value)) if read is not None and value is not None else value
            object.__setattr__(self, part.name, value)
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        defaults = [part.name for part in fields(self) if _is_default(part, values[part.name])]
        check_all(self.word, values, hints_of(type(self)), defaults=defaults)

    def to_json(self) -> dict[str, Any]:
        """Return the specification as plain data: its word, and the fields that differ from their defaults."""
        return self.written({})

    def in_full(self) -> dict[str, Any]:
        """Return the specification as plain data with every field, also those that nobody set."""
        return self.written({}, defaults=True)

    def written(self, instead: Mapping[str, Any], *, defaults: bool = False) -> dict[str, Any]:
        """Return the specification as plain data where some fields cannot be written, such as models.

        Args:
            instead: What stands for these fields.
            defaults: Whether fields that have their default are written too.
        """
        data: dict[str, Any] = {self.verb: self.word}
        for part in fields(self):
            value = getattr(self, part.name)
            if part.name in instead:
                data[part.name] = _plain(instead[part.name], f"{part.name!r} of {self.word}")
            elif defaults or not _is_default(part, value):
                write = part.metadata.get("write")
                data[part.name] = _plain(
                    write(value) if write and value is not None else value, f"{part.name!r} of {self.word}"
                )
        return data

    def to_toml(self) -> str:
        """Return the specification as lines of TOML."""
        return "".join(f"{name} = {toml(value)}\n" for name, value in self.to_json().items())


@dataclass(frozen=True)
class Method(Spec, Generic[Data, Outcome]):
    """A specification that is run on a model and data; a subclass has `run` and `cost`."""

    verb: ClassVar[str] = "run"
    registry: ClassVar[Registry[Any]] = METHODS
    meaning: ClassVar[int] = 1
    """Raised whenever the same specification begins to give other numbers, so that kept rows are not mixed with new ones."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**kwargs)
        for name in ("run", "cost"):
            if name in vars(cls):
                act = checked(vars(cls)[name], caller=getattr(cls, "word", cls.__name__))
                setattr(cls, name, _looking_once(act))

    def run(self, model: Model, data: Data) -> Outcome:
        """Run the method on a model and data."""
        raise NotImplementedError

    def cost(self, model: Model, data: Data) -> Cost:
        """Return what `run` would take; nothing but unedited runs are made."""
        raise NotImplementedError


def _looking_once(act: Callable[P, Found]) -> Callable[P, Found]:
    """Return the `run` or `cost` of a method, in which `once` looks at each thing once."""

    @wraps(act)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Found:
        outer = _looked_at.set({})
        try:
            return act(*args, **kwargs)
        finally:
            _looked_at.reset(outer)

    return wrapper


def once(subject: Any, what: str, look: Callable[[], Found]) -> Found:  # noqa: ANN401 - a model
    """Return what a look at a subject gives: one look in each run of a method, and at every call outside of one.

    A method does not change the model that it is given, so what is slow to look at (all weights, all hooks) is looked at
    when a run first asks. A run within a run, or after it, looks again.

    Args:
        subject: What is looked at.
        what: What about it.
        look: Looks at it.
    """
    looks = _looked_at.get()
    if looks is None:
        return look()
    key = id(subject), what
    if key not in looks:
        looks[key] = subject, look()
    return looks[key][1]


def read(data: Mapping[str, Any]) -> Method[Any, Any]:
    """Make a specification from its plain form: a mapping with the word of a method and its fields."""
    return read_spec(data, Method)


def read_spec(data: Mapping[str, Any], kind: type[Spec]) -> Any:  # noqa: ANN401 - of this kind
    """Make a specification of a kind (`Method`, say) from its plain form: a mapping with its word and its fields."""
    if not isinstance(data, Mapping) or kind.verb not in data:
        what = kind.registry.kind
        raise ArgumentError(
            f"a specification names its {what}", got=described(data), expected=f'such as {{"{kind.verb}": "{next(iter(kind.registry), what)}"}}'
        )  # fmt: skip
    given = dict(data)
    spec = kind.registry[given.pop(kind.verb)]
    return spec(**bound(spec.word, inspect.signature(spec), (), given))


class MethodFunction(Protocol[P, Data, Outcome]):
    """A function that runs a method: `f(model, data, ...)`; `f.cost(model, data, ...)` says what it would take."""

    spec: type[Method[Any, Any]]
    cost: Callable[Concatenate[Model, Any, P], Cost]

    def __call__(self, model: Model, data: Data, /, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """Make the specification of these arguments and run it."""
        ...


def function(
    make: Callable[P, Method[Data, Outcome]],
    *,
    data: str = "pairs",
    about: str = "Clean and corrupt prompts.",
    name: str | None = None,
) -> MethodFunction[P, Data, Outcome]:
    """Return the function that users call for a method.

    Args:
        make: The specification's class.
        data: What the second argument is called.
        about: What it is, in a sentence.
        name: What the function is called, where another method has the word already; the method's word by default.
    """
    spec: Any = make
    word = name or spec.word
    run_parameters = list(inspect.signature(spec.run).parameters.values())
    first = [
        inspect.Parameter("model", _BY_PLACE_OR_NAME, annotation="Model"),
        inspect.Parameter(data, _BY_PLACE_OR_NAME, annotation=run_parameters[2].annotation),
    ]
    parameters = [*first, *inspect.signature(spec).parameters.values()]

    def caller(name: str, act: Callable[[Any, Any, Any], Any], returns: Any) -> Any:  # noqa: ANN401
        signature = inspect.Signature(parameters, return_annotation=returns)

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the signature says
            given = bound(word, signature, args, kwargs)
            subject = {"model": given.pop("model"), data: given.pop(data)}
            hints = hints_of(spec.run)
            wanted = dict(zip(subject, (hints.get(each.name, Any) for each in run_parameters[1:3]), strict=True))
            check_all(word, subject, wanted)
            return act(spec(**given), *subject.values())

        described_as = {
            "__signature__": signature,
            "__name__": name,
            "__qualname__": name,
            "__module__": spec.__module__,
        }
        for attribute, value in described_as.items():
            setattr(call, attribute, value)
        return call

    run = caller(word, lambda made, *given: made.run(*given), inspect.signature(spec.run).return_annotation)
    run.__doc__ = _doc(spec, data, about)
    run.spec = spec
    run.cost = caller("cost", lambda made, *given: made.cost(*given), "Cost")
    run.cost.__doc__ = f"Return what `{word}` would take with these arguments; only unedited runs are made."
    return run


def _doc(spec: Any, data: str, about: str) -> str:  # noqa: ANN401 - a dataclass
    """Return the docstring of a specification as that of its function."""
    text = f"{inspect.getdoc(spec) or ''}\n"
    head = f"Args:\n    model: The model, from `mc.load`.\n    {data}: {about}\n"
    lines: dict[str, str] = {}
    for owner in reversed(spec.__mro__):  # a specification may inherit fields, which are described where they stand
        lines |= _attributes(inspect.cleandoc(vars(owner).get("__doc__") or ""))
    head += "".join(lines[part.name] for part in fields(spec) if part.name in lines)
    attribute_lines = "".join(_attributes(text).values())
    return (text.replace(f"Attributes:\n{attribute_lines}", head, 1) if attribute_lines else f"{text}\n{head}").rstrip(
        "\n"
    )


def _attributes(text: str) -> dict[str, str]:
    """Return what a docstring says of each attribute: its lines as they stand."""
    lines: dict[str, str] = {}
    name = ""
    for line in text.partition("Attributes:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        name = name if line.startswith("     ") else line.strip().partition(":")[0]
        lines[name] = lines.get(name, "") + f"{line}\n"
    return lines


def _tuples(value: Any) -> Any:  # noqa: ANN401
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def _is_default(part: Field[Any], value: Any) -> bool:  # noqa: ANN401
    default = part.default if part.default_factory is MISSING else part.default_factory()
    read = part.metadata.get("read")
    if default is MISSING:
        return False
    default = _tuples(read(default)) if read is not None and default is not None else default
    return type(value) is type(default) and bool(value == default)


def _plain(value: Any, what: str) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, what) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, what) for key, item in value.items() if item is not None}
    if hasattr(value, "to_json"):
        return _plain(value.to_json(), what)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise ArgumentError(
        f"{what} cannot be written to a file",
        got=f"a {type(value).__name__}",
        fix="give it by name, or run it from Python",
    )


def toml(value: Any) -> str:  # noqa: ANN401
    """Return plain data as a value of TOML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # as TOML writes infinity
    return json.dumps(value, ensure_ascii=False)
