"""What a forward depends on besides the weights: types, settings, buffers, hooks and replaced forwards of all modules.

All of it can be changed by hand after the first use of a model. It is looked at again in every run of a method, so that
what was remembered of the model as it was is not used for the model as it is.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from mechcausal.method import once
from mechcausal.models import bridge
from mechcausal.models.checksum import checksum

Condition = tuple[Any, ...]
_PLAIN = (bool, int, float, str, type(None))
# Settings that say where a model was read from, on which no number depends.
_NAMES = ("name_or_path", "_name_or_path", "_commit_hash", "model_name", "tokenizer_name")
_first: WeakKeyDictionary[Any, Condition] = WeakKeyDictionary()


def condition(model: Any) -> Condition:  # noqa: ANN401 - a TransformerBridge
    """Return what a forward of this model depends on besides its weights; equal ones compute alike.

    Settings are the public plain attributes of modules (`scaling`, `eps`, `training`) and of their configurations; private
    ones are what modules note down while they run.
    """
    return once(model, "condition", lambda: _condition(model))


def _condition(model: Any) -> Condition:  # noqa: ANN401
    parts: list[Any] = []
    types: dict[type, None] = {}
    configurations: dict[int, Any] = {}
    buffers: dict[str, Tensor] = {}
    for name, part in bridge.modules_of(model):
        types[type(part)] = None
        values = vars(part)
        settings = tuple(
            (key, value)
            for key, value in values.items()
            if isinstance(value, _PLAIN) and key[0] != "_" and key not in ("name", "optional")
        )
        hooks = tuple(bridge.hooks_of(part))
        parts.append((name, type(part), settings, hooks))
        buffers |= {f"{name}.{key}": value for key, value in lasting(part)}
        if (config := values.get("config")) is not None:
            configurations.setdefault(id(config), config)
    forwards = tuple((kind, getattr(kind, "forward", None)) for kind in types)
    sums = tuple(zip(buffers, checksum(buffers.values()), strict=True))
    return tuple(parts), forwards, tuple(_settings(config) for config in configurations.values()), sums


def lasting(module: Any) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401 - a module
    """Yield the buffers of a module that stay what they are when it runs; some rotary frequencies follow the text."""
    kinds = str(vars(module).get("rope_type", ""))
    follow = "dynamic" in kinds or "longrope" in kinds
    for name, buffer in vars(module)["_buffers"].items():
        if buffer is not None and not buffer.is_meta and (not follow or name.startswith("original_")):
            yield name, buffer


def digest_of(state: Condition) -> str | None:
    """Return a digest of a condition that another process can compare; None where hooks or replaced forwards act.

    Functions have no content that could be compared between processes, so nothing is remembered of a model with hooks.
    """
    parts, forwards, configurations, buffers = state
    if any(hooks for *_, hooks in parts) or not all(_is_of_the_class(kind, forward) for kind, forward in forwards):
        return None
    modules = [(name, _name(kind), settings) for name, kind, settings, _ in parts]
    settings = [[entry for entry in configuration if entry[0] not in _NAMES] for configuration in configurations]
    text = repr((modules, sorted({_name(kind) for kind, _ in forwards}), settings, buffers))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_of_the_class(kind: type, forward: Any) -> bool:  # noqa: ANN401 - a function, or None
    """Say whether the forward of a class is one that a class of the libraries or of torch defines in its own module."""
    inner = inspect.unwrap(forward) if forward is not None else None
    module = getattr(inner, "__module__", "")
    return inner is None or any(base.__module__ == module for base in kind.__mro__)


def _settings(config: Any) -> tuple[Any, ...]:  # noqa: ANN401 - of transformers, or of transformer-lens
    values = vars(config) if hasattr(config, "__dict__") else {}
    return tuple((key, value) for key, value in values.items() if isinstance(value, _PLAIN))


def remember(model: Any, state: Condition) -> None:  # noqa: ANN401 - a TransformerBridge
    """Remember how a model was when it was first used, so that it can be said what was changed since."""
    _first.setdefault(model, state)


def altered(model: Any) -> list[str]:  # noqa: ANN401 - a TransformerBridge
    """Say what was changed about a model since its first use, besides its weights; the first few changes."""
    now = condition(model)
    before = _first.setdefault(model, now)
    if now == before:
        return []
    old, new = (_by_name(state) for state in (before, now))
    changes = [text for key in new for text in _changes(key[0], old.get(key), new[key])]
    changes += [f"{name or 'the model'} lacks a {kind.__name__}" for name, kind in old if (name, kind) not in new]
    replaced = [kind.__name__ for kind, forward in now[1] if dict(before[1]).get(kind, forward) is not forward]
    changes += [f"the class {name} has another forward" for name in replaced]
    changes += [f"the buffer {name} was changed" for name in changed_buffers(model)]
    return (changes or ["its configuration was changed"])[:5]


def changed_buffers(model: Any) -> list[str]:  # noqa: ANN401 - a TransformerBridge
    """Return the names of buffers whose content is another than at the first use of the model."""
    now = condition(model)
    before = dict(_first.setdefault(model, now)[3])
    return [name for name, value in now[3] if before.get(name, value) != value]


def _by_name(state: Condition) -> dict[tuple[str, type], tuple[Any, Any]]:
    # A module and the part of the bridge around it have one name, and differ in type.
    return {(name, kind): (settings, hooks) for name, kind, settings, hooks in state[0]}


def _changes(name: str, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> list[str]:
    name = name or "the model"
    if old is None:
        return [f"{name} is another module"]
    before: Mapping[str, Any] = dict(old[0])
    settings = [
        f"{name}.{key} is {value!r} instead of {before.get(key)!r}"
        for key, value in new[0]
        if key not in before or before[key] != value
    ]
    return [*settings, *([f"the hooks or the forward of {name} were changed"] if old[1] != new[1] else [])]
