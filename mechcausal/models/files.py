"""Files of a model, looked at before a library parses them: which hold the weights, whether they are whole, digests.

Files may come from anywhere. A tensor file is opened by safetensors, which runs nothing; a torch file only with
`weights_only`, which refuses every object that is no tensor; and each error is one sentence about the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mechcausal.errors import ModelError, shortened

TORCH = (".pt", ".pth", ".bin")
# In this order transformers looks for them.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")

Shapes = dict[str, tuple[int, ...]]


def first_line(error: BaseException, most: int = 120) -> str:
    """Return the first line of an error of another library."""
    return shortened((str(error).strip().splitlines() or [type(error).__name__])[0], most)


def name_of(path: Path) -> str:
    """Return a path that fits into a message; of a long one the end."""
    text = str(path)
    return text if len(text) <= 90 else "..." + text[-87:]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{name_of(path)} is not readable JSON", got=first_line(error), fix="download the file again"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{name_of(path)} holds no JSON object", got=f"a {type(content).__name__}")
    return content


def weight_files(folder: Path) -> list[Path]:
    """Return the files from which transformers reads the weights of a folder; none where there are none."""
    entry = next((folder / name for name in _WEIGHTS if (folder / name).exists()), None)
    if entry is None or entry.suffix != ".json":
        return [] if entry is None else [entry]
    places = read_json(entry).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{name_of(entry)} does not say which file holds which tensor", expected="a weight_map")
    names = sorted(set(places.values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ModelError(f"{name_of(entry)} points outside its folder", got=shortened(outside[0]))
    absent = [name for name in names if not (folder / name).exists()]
    if absent:
        raise ModelError(
            f"{len(absent)} of {len(names)} files of weights are missing from {name_of(folder)}",
            got=f"no {shortened(absent[0])}",
            fix="download the folder again",
        )
    return [folder / name for name in names]


def shapes_of(paths: Iterable[Path]) -> Shapes:
    """Return the shape of every tensor in files of weights, or say which file is damaged."""
    shapes: Shapes = {}
    for path in paths:
        if path.suffix == ".safetensors":
            shapes |= _shapes_of_safetensors(path)
        else:
            shapes |= {name: tuple(value.shape) for name, value in tensors_in(read_torch(path)).items()}
    return shapes


def _shapes_of_safetensors(path: Path) -> Shapes:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # the parser has an exception of its own, which is no subclass of anything useful
        raise ModelError(
            f"{name_of(path)} is not a whole safetensors file", got=_kind(path) or first_line(error),
            fix="download or save it again",
        ) from error  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file."""
    from safetensors.torch import load_file

    _shapes_of_safetensors(path)
    return load_file(path)


def safetensors_header(path: Path) -> dict[str, str]:
    """Return the facts in the header of a safetensors file."""
    from safetensors import safe_open

    _shapes_of_safetensors(path)
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def read_torch(path: Path) -> Any:  # noqa: ANN401 - whatever plain content it has
    """Return what a torch file holds, and refuse everything that is not plain tensors, numbers, texts and containers."""
    try:
        # Mapped, not read: only zip files can be, and older ones are no zip files.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # unpickling damaged bytes can raise anything
        raise ModelError(
            f"{name_of(path)} is not a file of weights, and a pickle is never run",
            got=_kind(path) or first_line(error),
            fix="save torch.save(model.state_dict(), path) or safetensors",
        ) from error


def tensors_in(content: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the tensors of a state dict by name."""
    if not isinstance(content, dict):
        return {}
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _kind(path: Path) -> str | None:
    """Return what a file with a wrong suffix is, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        return "an empty file"
    if path.suffix == ".safetensors":
        torch_file = head[:4] == b"PK\x03\x04" or head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04")
        return "a torch file, not safetensors" if torch_file else None
    return "a safetensors file: call it .safetensors" if head[8:] == b"{" else None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
