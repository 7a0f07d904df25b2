"""GGUF files become folders in the format of `transformers`, once: the folder is kept by the digest of the file.

The weights are dequantized to float32, exactly as the file states them. The conversion is that of `transformers`, which
needs the small package `gguf`.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mechcausal.errors import MechcausalError, ModelError, UnsupportedError, did_you_mean
from mechcausal.models.cache import cache_folder, making_folder, versions
from mechcausal.models.files import first_line, name_of, sha256
from mechcausal.models.gguf_header import Header, is_gguf, read_header
from mechcausal.models.pretrained import quietly, refuse_kinds
from mechcausal.models.room import require_memory
from mechcausal.results.storage import read_json, write_json

INSTALL = "pip install gguf"
_FACTS = "mechcausal.json"
# Files that llama.cpp makes of models that look at pictures, or of the part that does.
_SEES = re.compile(r"clip|vl|vision|llava|mllama|mmproj|cogvlm|gemma3n|pixtral", re.IGNORECASE)
_log = logging.getLogger(__name__)


def gguf_in(folder: Path) -> Path | None:
    """Return the GGUF file of a folder; None where it holds none, and an error where it holds several."""
    paths = sorted(folder.glob("*.gguf"))
    if len(paths) > 1:
        raise ModelError(
            f"{name_of(folder)} holds {len(paths)} GGUF files", got=", ".join(path.name for path in paths[:4]),
            fix="pass the path of one of them",
        )  # fmt: skip
    return paths[0] if paths else None


def converted(path: Path) -> tuple[Path, str]:
    """Return the converted folder of a GGUF file, and the SHA-256 of the file; it is converted when first asked for."""
    header = _checked(path)
    digest = sha256(path)
    folder = cache_folder("models") / digest[:32]
    made_by = versions("transformers", "gguf")
    # How our own code looks makes no difference to what the library converts.
    facts = {"file": digest, "made_by": {name: text for name, text in made_by.items() if name != "mechcausal"}}
    if not _is_whole(folder, facts):
        size = 4 * header.n_numbers
        require_memory(
            2 * size, f"{name_of(path)}, converted", fix="convert it on a larger machine, and copy the folder"
        )
        _require_disk(folder, size)
        _log.info("converting %s; this is done once", path)
        with making_folder(folder) as fresh:
            _convert(path, fresh)
            sizes = {part.name: part.stat().st_size for part in sorted(fresh.iterdir())}
            write_json(fresh / _FACTS, {**facts, "name": path.name, "sizes": sizes})
    return folder, digest


def _checked(path: Path) -> Header:
    """Return the head of a file; refuse what cannot be converted, before anything large is read."""
    if is_gguf(path) and find_spec("gguf") is None:
        raise UnsupportedError(f"reading {name_of(path)} needs the package gguf", fix=INSTALL)
    header = read_header(path)
    name = header.architecture
    if _SEES.search(name) or str(header.fields.get("general.type", "")).lower() == "mmproj":
        raise UnsupportedError(
            f"{name_of(path)} is a vision-language model, or the part of one that sees", got=f"the architecture {name!r}",
            fix="load a model of text alone",
        )  # fmt: skip
    if int(header.fields.get("split.count", 0) or 0) > 1:
        raise UnsupportedError(
            f"{name_of(path)} is one part of several", fix="join the parts with llama-gguf-split --merge"
        )
    convertible = _architectures()
    if _plain(name) not in map(_plain, convertible):
        raise UnsupportedError(
            f"transformers cannot convert {name_of(path)}", got=f"the architecture {name!r}",
            fix=did_you_mean(name, convertible),
        )  # fmt: skip
    return header


def _architectures() -> list[str]:
    """Return the architectures that the installed transformers converts."""
    from transformers import modeling_gguf_pytorch_utils as conversion

    sections = ("general", "tokenizer")  # of the same table, and no architectures
    return [str(name) for name in conversion.GGUF_SUPPORTED_ARCHITECTURES if name not in sections]


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name)


def _is_whole(folder: Path, facts: dict[str, Any]) -> bool:
    """Say whether a folder is the whole conversion of this file, by these versions."""
    try:
        kept = read_json(folder / _FACTS)
        sizes = {name: (folder / name).stat().st_size for name in kept["sizes"]}
    except (MechcausalError, OSError, KeyError, ValueError):
        return False
    return sizes == kept["sizes"] and all(kept.get(name) == value for name, value in facts.items())


def _require_disk(folder: Path, size: int) -> None:
    base = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(base).free
    if free < 1.1 * size:
        raise ModelError(
            f"the disk of {base} has no room for the converted model", got=f"{free / 1e9:.3g} GB free",
            expected=f"{1.1 * size / 1e9:.3g} GB", fix="make room, or set MECHCAUSAL_CACHE to another folder",
        )  # fmt: skip


def _convert(path: Path, folder: Path) -> None:
    """Write what a GGUF file holds as a folder of transformers."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with quietly(), _own_bar():
            refuse_kinds(AutoConfig.from_pretrained(path.parent, **options), name_of(path))
            if read_header(path).fields.get("tokenizer.ggml.tokens"):
                tokenizers: Any = AutoTokenizer
                tokenizers.from_pretrained(path.parent, **options).save_pretrained(folder)
            auto: Any = AutoModelForCausalLM
            module, report = auto.from_pretrained(path.parent, dtype=torch.float32, output_loading_info=True, **options)
            missing = sorted(report["missing_keys"])
            if missing:  # transformers would draw them at random
                raise ModelError(
                    f"{name_of(path)} lacks {len(missing)} weights of its architecture", got=missing[0],
                    fix="use an intact file",
                )  # fmt: skip
            # It is not quantized any longer; with these marks transformers refuses to save it.
            if hasattr(module.config, "quantization_config"):
                del module.config.quantization_config
            module.is_quantized, module.hf_quantizer = False, None
            module.save_pretrained(folder)
    except MechcausalError:
        raise
    except Exception as error:  # a parser of files from anywhere raises anything
        raise ModelError(
            f"transformers cannot convert {name_of(path)}", got=first_line(error), fix="use an intact file"
        ) from error


@contextmanager
def _own_bar() -> Generator[None]:
    """Show the bar of the conversion only to a terminal; the function has no switch for it."""
    from transformers import modeling_gguf_pytorch_utils

    conversion: Any = modeling_gguf_pytorch_utils
    bar = conversion.tqdm
    conversion.tqdm = partial(bar, disable=None, leave=False)
    try:
        yield
    finally:
        conversion.tqdm = bar
