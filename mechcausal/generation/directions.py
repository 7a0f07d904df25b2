"""One direction in a file of its own: a safetensors file with one vector, and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mechcausal.arguments import checked
from mechcausal.errors import DataError
from mechcausal.results.storage import write_tensors


@checked
def save_direction(direction: Any, path: str | Path, about: Mapping[str, Any] | None = None) -> Path:  # noqa: ANN401
    """Write one vector to a safetensors file, atomically.

    Args:
        direction: The vector: a tensor, an array or a list of numbers.
        path: The file; its name ends in `.safetensors`.
        about: What is remembered with it, such as its site.

    Example:
        >>> import mechcausal as mc, tempfile
        >>> path = mc.generation.save_direction([1.0, 2.0], f"{tempfile.mkdtemp()}/up.safetensors")
        >>> mc.generation.load_direction(path).tolist()
        [1.0, 2.0]
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise DataError("a direction is saved as safetensors", got=path.name, fix=f"{path.stem}.safetensors")
    try:
        vector = torch.as_tensor(direction, dtype=torch.float32).detach().cpu().contiguous()
    except (TypeError, ValueError, RuntimeError):
        raise DataError("a direction is a list of numbers", got=f"a {type(direction).__name__}") from None
    _require_vector(vector, "the direction")
    write_tensors(path, {"direction": vector}, {name: str(value) for name, value in (about or {}).items()})
    return path


@checked
def load_direction(path: str | Path) -> Tensor:
    """Read the one vector of a safetensors file, [feature].

    Args:
        path: A file with one tensor: what `save_direction` wrote, or any other.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no direction file {path}", fix="write one with mc.generation.save_direction")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if len(names) != 1:
                raise DataError(f"{path} holds {len(names)} tensors", expected="one vector")
            vector = file.get_tensor(names[0])
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors", got=str(error)[:100]) from None
    vector = vector.float()
    vector = vector[0] if vector.ndim == 2 and len(vector) == 1 else vector
    _require_vector(vector, str(path))
    return vector


def _require_vector(vector: Tensor, what: str) -> None:
    if vector.ndim != 1 or not len(vector):
        raise DataError(f"{what} is not one vector", got=f"shape {tuple(vector.shape)}", expected="shape (feature,)")
    if not bool(torch.isfinite(vector).all()):
        raise DataError(f"{what} holds NaN or infinity", fix="make it again")
