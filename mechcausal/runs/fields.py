"""What the fields of a step mean: plain values, names of data and models, files of hypotheses, results of earlier steps."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from mechcausal import methods
from mechcausal.arguments import check_all, hints_of
from mechcausal.errors import ArgumentError, DataError, MechcausalError, did_you_mean
from mechcausal.method import METHODS, Method

AUDIT = "audit"
_REFERENCE = ("from", "top", "by", "sign", "joint", "least", "p_max", "where", "data")
_CHOOSES = ("top", "least", "p_max", "where")
_OF_THE_RUN = ("out", "checkpoint")
# Their results are objects that live with a model, and are made again in a moment from what they are made of.
_NOT_KEPT = {
    "attribute_features": "screen", "harvest": "train_dictionary", "read": "patch", "train": "interchange",
    "erase": "link", "card": "screen", "health": "screen",
}  # fmt: skip


@cache
def method_of(word: str) -> type[Method[Any, Any]]:
    """Return the specification that goes by a word, or raise with the words there are."""
    words = [name for name in (*_words(), AUDIT) if name not in _NOT_KEPT]
    if word in _NOT_KEPT:
        raise ArgumentError(
            f"the result of {word!r} cannot be kept in a run",
            fix=f"run {_NOT_KEPT[word]!r}, or {word} from Python",
        )
    if word not in _words():
        raise ArgumentError(f"there is no method {word!r}", fix=did_you_mean(word, words))
    return METHODS[word]


@cache
def _words() -> tuple[str, ...]:
    for name in dir(methods):
        getattr(methods, name)  # which makes the method known
    return tuple(METHODS)


def role(word: str, name: str) -> str:
    """Return what a field of a method holds: `data`, `model`, `claims`, or `plain` values."""
    annotation = next((str(part.type) for part in fields(method_of(word)) if part.name == name), "")
    if "Hypothesis" in annotation:
        return "claims"
    if name == "source_model":
        return "model"
    return "data" if "PromptSet" in annotation or "Contrast" in annotation else "plain"


def field_problems(
    word: str,
    given: Mapping[str, Any],
    each: Mapping[str, Any],
    data: Mapping[str, Any],
    models: Mapping[str, Any],
    folder: Path,
) -> Iterator[str]:
    """Yield what is wrong with the fields of a step, without a model.

    Args:
        word: The word of the method.
        given: The fields with one value.
        each: The fields with several.
        data: The data there are, by name.
        models: The models there are, by name.
        folder: The folder that files are named from.
    """
    if word == AUDIT:
        yield from _audit_problems(given, each, folder)
        return
    try:
        kind = method_of(word)
    except MechcausalError as error:
        yield str(error)
        return
    parts = {part.name: part for part in fields(kind)}
    for name in (*given, *each):
        if name not in parts:
            yield f"{word} has no field {name!r}: {did_you_mean(name, parts)}"
        elif name in _OF_THE_RUN:
            yield f"{name!r} cannot be given: the run keeps its files itself"
    for name, part in parts.items():
        needed = part.default is MISSING and part.default_factory is MISSING and name != "seed"
        if needed and name not in given and name not in each:
            yield f"{word} needs {name}"
    values = [(name, value) for name, value in given.items()]
    values += [(name, value) for name, items in each.items() if isinstance(items, list) for value in items]
    for name, value in values:
        if name in parts and name not in _OF_THE_RUN:
            yield from _value_problems(word, name, value, data, models, folder)


def _value_problems(
    word: str,
    name: str,
    value: Any,  # noqa: ANN401 - of TOML
    data: Mapping[str, Any],
    models: Mapping[str, Any],
    folder: Path,
) -> Iterator[str]:
    what = role(word, name)
    if isinstance(value, Mapping) and "from" in value:
        for key in value:
            if key not in _REFERENCE:
                yield f"{name}: there is no key {key!r}: {did_you_mean(key, _REFERENCE)}"
        if value.get("sign", "+") not in ("+", "-"):
            yield f'{name}: sign is "+" or "-" (got {value["sign"]!r})'
        if not isinstance(value.get("top", 1), int) or value.get("top", 1) < 1:
            yield f"{name}: top is a whole number of at least 1 (got {value['top']!r})"
        if not isinstance(value.get("where", {}), Mapping):
            yield f'{name}: where is a table of columns and values, such as {{verdict = "causal"}}'
    elif what in ("data", "model"):
        there = data if what == "data" else models
        if value not in there:
            hint = did_you_mean(value, there) if there else f"add a table [{what}.NAME]"
            yield f"{name}: there is no {what} {value!r}: {hint}"
    else:
        try:
            plain = _claims(word, read_claims(value, folder)) if what == "claims" else value
            kind = method_of(word)
            part = next(part for part in fields(kind) if part.name == name)
            read = part.metadata.get("read")
            made = read(plain) if read is not None and plain is not None else plain
            if what != "claims":
                check_all(word, {name: _tuples(made)}, {name: hints_of(kind)[name]})
        except MechcausalError as error:
            yield f"{name}: {error}" if name not in str(error) else str(error)


def chooses(reference: Mapping[str, Any]) -> bool:
    """Say whether a reference stands for sites that are chosen of an earlier table, and not for its result."""
    return any(key in reference for key in _CHOOSES)


def _audit_problems(given: Mapping[str, Any], each: Mapping[str, Any], folder: Path) -> Iterator[str]:
    from mechcausal.audits.plan import PlanError
    from mechcausal.audits.reading import read

    for name in (*given, *each):
        if name not in ("plan", "only"):
            yield f"an audit has no field {name!r}: {did_you_mean(name, ['plan', 'only'])}"
    if "plan" not in given:
        yield 'an audit needs a plan: plan = "audit.toml"'
        return
    try:
        require_inside(str(given["plan"]))
        read(folder / str(given["plan"]))
    except PlanError as error:
        yield from (f"{given['plan']}: {problem}" for problem in error.problems)
    except MechcausalError as error:
        yield str(error)


def read_claims(value: Any, folder: Path) -> Any:  # noqa: ANN401 - of TOML
    """Return a hypothesis in its plain form: the content of a file, the name of a task, or what stands in the step."""
    if not isinstance(value, str):
        return value
    if not value.endswith(".toml"):
        return value
    require_inside(value)
    path = folder / value
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"there is no file {path}", fix="name the file of the hypothesis from the experiment's folder"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path.name} is not TOML", got=str(error)) from None


def require_inside(name: str) -> None:
    """Raise for the name of a file that leads out of the experiment's folder by `..`, which is rarely what is meant."""
    if ".." in Path(name).parts and not Path(name).is_absolute():
        raise DataError(f"{name} leads out of the experiment's folder", fix="give the whole path")


@dataclass(frozen=True)
class Made:
    """A specification, and how what it holds is written in a key.

    Attributes:
        spec: The specification.
        written: Its plain form; objects stand in it by their digests.
    """

    spec: Method[Any, Any]
    written: dict[str, Any]


def made(
    word: str,
    values: Mapping[str, Any],
    folder: Path,
    *,
    data: Callable[[str], Any],
    model: Callable[[str], Any],
    earlier: Callable[[Mapping[str, Any]], tuple[Any, Any]],
) -> Made:
    """Make the specification of one run of a step.

    Args:
        word: The word of the method.
        values: Its fields, as they stand in the file.
        folder: The folder that files are named from.
        data: Returns data by their name.
        model: Returns a model by its name, with its digest.
        earlier: Returns what a reference stands for, and how that is written in a key.
    """
    kind, given, instead = method_of(word), {}, {}
    for name, value in values.items():
        what = role(word, name)
        if isinstance(value, Mapping) and "from" in value:
            given[name], instead[name] = earlier(value)
        elif isinstance(value, list) and any(isinstance(item, Mapping) and "from" in item for item in value):
            pairs = [earlier(item) if isinstance(item, Mapping) and "from" in item else (item, item) for item in value]
            given[name], instead[name] = [item for item, _ in pairs], [note for _, note in pairs]
        elif what == "data" and isinstance(value, str):
            given[name] = data(value)
            instead[name] = {"digest": given[name].hash}
        elif what == "model":
            given[name], instead[name] = model(value)
        elif what == "claims":
            plain = read_claims(value, folder)
            given[name], instead[name] = _claims(word, plain), plain
        else:
            given[name] = value
    spec = kind(**given)
    return Made(spec, spec.written(instead))


def takes(word: str, name: str) -> bool:
    """Say whether a method has a field."""
    return word != AUDIT and name in inspect.signature(method_of(word)).parameters


def takes_seed(word: str) -> bool:
    """Say whether a method has a seed of its own."""
    return takes(word, "seed")


def _claims(word: str, plain: Any) -> Any:  # noqa: ANN401
    """Return a hypothesis; its name is that of an organism for the methods that test one, of a task for those that search."""
    if not isinstance(plain, str) or word not in ("scrub", "ladder", "interchange"):
        return plain
    from mechcausal.causal.hypothesis import Hypothesis

    return Hypothesis.of(plain)


def _tuples(value: Any) -> Any:  # noqa: ANN401
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
