"""Shapes of tensors are checked in the tests: what `Float[Tensor, "batch pos"]` says must be true of what is passed.

`check_shapes` makes jaxtyping watch every module that uses such annotations, from its import on. Only these annotations
are checked: all others are read by the package's own check of arguments, whose errors the tests ask for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook


def modules_with_shapes() -> list[str]:
    """Return the modules of the package that use jaxtyping, found by their text and not by importing them."""
    root = Path(find_spec("mechcausal").origin).parent
    return [
        ".".join((root.name, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for path in sorted(root.rglob("*.py"))
        if "from jaxtyping import" in path.read_text()
    ]


def check_shapes() -> None:
    """Watch the modules that use jaxtyping; must be called before any of them is imported.

    Jaxtyping would wrap every function of these modules, and looks at the arguments of each call before it asks what
    there is to check. Most functions have no shapes, and some of these are called millions of times.
    """
    wrapped = jaxtyping.jaxtyped

    def jaxtyped(*function: Any, **options: Any) -> Any:
        return wrapped(*function, **options) if function else partial(_wrapped_if_shaped, wrapped, options)

    jaxtyping.jaxtyped = jaxtyped
    install_import_hook(modules_with_shapes(), "shapes.shapes_only")


def _wrapped_if_shaped(wrapped: Callable[..., Any], options: dict[str, Any], function: Any) -> Any:
    if inspect.isfunction(function) and not any(map(_names_shape, function.__annotations__.values())):
        return function
    return wrapped(function, **options)


def _names_shape(hint: Any) -> bool:
    """Say whether an annotation is, or contains, a jaxtyping annotation; it may not have been evaluated yet."""
    return "[Tensor, " in hint if isinstance(hint, str) else has_shape(hint)


def shapes_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments and the returned value that have a shape, and leave the others alone.

    The fields of a dataclass are left to its own checks, which must come first: they say what is wrong in a sentence.
    """
    if function.__name__ == "__init__":
        return function
    annotations = {name: hint if has_shape(hint) else Any for name, hint in inspect.get_annotations(function).items()}
    if Any in annotations.values() and set(annotations.values()) == {Any}:
        return function
    function.__annotations__ = annotations
    signature = inspect.signature(function)
    function.__signature__ = signature.replace(
        parameters=[part.replace(annotation=annotations.get(name, Any)) for name, part in signature.parameters.items()]
    )
    return beartype(function)


def has_shape(hint: Any) -> bool:
    """Say whether an annotation is, or contains, a jaxtyping annotation."""
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(has_shape, get_args(hint)))
