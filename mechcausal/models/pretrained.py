"""Models in the format of `transformers`, from a folder or a hub, with every weight accounted for.

`transformers` draws weights that it does not find at random and leaves out those that it has no place for. Here both are
refused by name. Heads for other tasks may be left out, and a model of which only the head is missing has none.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mechcausal.errors import MechcausalError, ModelError, UnsupportedError
from mechcausal.models import headless
from mechcausal.models.classifier import SUFFIX, is_classifier
from mechcausal.models.files import TOKENIZERS, TORCH, Shapes, first_line, name_of, read_json, shapes_of, weight_files
from mechcausal.models.origin import Origin
from mechcausal.models.placement import NOWHERE, Placement
from mechcausal.models.room import require_memory

# Parts that published checkpoints hold beside a language model, and buffers that old ones saved.
_LEFT_OUT = re.compile(
    r"(^|\.)(pooler|cls|seq_relationship|classifier|score|qa_outputs|v_head|value_head|lm_head|embed_out|summary)(\.|$)"
    r"|\.(masked_bias|attn\.bias|attention\.bias|inv_freq|position_ids)$"
)
_MOST_NAMED = 3
_log = logging.getLogger(__name__)


def from_folder(
    folder: Path,
    dtype: torch.dtype,
    label: str,
    *,
    place: Placement = NOWHERE,
    digests: Mapping[str, str] | None = None,
) -> tuple[Any, Origin]:
    """Read a model from a folder, never from the network, and run no code from it.

    Args:
        folder: The folder.
        dtype: The precision of the weights.
        label: What the model is called in errors.
        place: Where its weights go.
        digests: The digests of the files it came from, where these are others than those in the folder.
    """
    described = read_json(folder / "config.json")
    if "model_type" not in described:
        raise ModelError(
            f"{name_of(folder)} does not say which model it is", expected="a config.json with a model_type"
        )
    paths = weight_files(folder)
    if not paths:
        raise ModelError(f"{name_of(folder)} holds no weights", expected="model.safetensors")
    shapes = shapes_of(paths)
    if paths[0].suffix in TORCH:
        _log.warning("read %s, a torch file, as plain tensors only; safetensors files are safer", paths[0])
    options = {"local_files_only": True, "trust_remote_code": False}
    with _in_our_words(f"no loadable model in {name_of(folder)}", fix=None):
        config = _configuration(str(folder), options, label)
        if "quantization_config" not in described:
            _refuse_sizes(config, shapes, folder)
        if "quantization_config" not in described and place.map is None:
            require_memory(_n_numbers(shapes) * dtype.itemsize, label, place.device)
        module, unread = _read(str(folder), config, dtype, options | place.options)
    if digests is not None:
        return module, Origin(digests, unread=tuple(unread))
    return module, Origin.of(paths, unread=unread)


def _n_numbers(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def from_hub(name: str, dtype: torch.dtype, revision: str | None, *, place: Placement = NOWHERE) -> tuple[Any, Origin]:
    """Read a model from a hub or its cache, and run no code from it."""
    from huggingface_hub import try_to_load_from_cache

    options: dict[str, Any] = {"local_files_only": False, "trust_remote_code": False, "revision": revision}
    offline = bool(os.environ.get("HF_HUB_OFFLINE"))
    fix = "unset HF_HUB_OFFLINE, or pass a folder" if offline else "check the name and the network, or pass a folder"
    with _in_our_words(f"no loadable model called {name!r} on the hub or in the offline cache", fix=fix):
        config = _configuration(name, options, name)
        module, unread = _read(name, config, dtype, options | place.options)
    commit = getattr(config, "_commit_hash", None)
    cached = try_to_load_from_cache(name, "config.json", revision=commit or revision)
    paths = weight_files(Path(cached).parent) if isinstance(cached, str) else []
    return module, Origin.of(paths, revision=commit, unread=unread)


def tokenizer_from(source: Path | str, *, revision: str | None = None) -> Any:  # noqa: ANN401
    """Read a tokenizer from a folder, or by a hub name."""
    from transformers import AutoTokenizer

    local = isinstance(source, Path)
    what = name_of(source) if isinstance(source, Path) else source
    try:
        return AutoTokenizer.from_pretrained(
            source, local_files_only=local, trust_remote_code=False, revision=None if local else revision
        )
    except Exception as error:  # the parser of tokenizers raises plain exceptions
        raise ModelError(
            f"{what} holds no readable tokenizer", got=first_line(error), fix="pass another with tokenizer="
        ) from error


def holds_tokenizer(folder: Path) -> bool:
    """Say whether a folder holds a tokenizer."""
    return any((folder / name).exists() for name in TOKENIZERS)


@contextmanager
def _in_our_words(what: str, *, fix: str | None) -> Generator[None]:
    """Turn whatever a library raises about these files into one sentence."""
    try:
        yield
    except MechcausalError:
        raise
    except Exception as error:  # parsers of files from anywhere raise anything
        raise ModelError(what, got=first_line(error), fix=fix) from error


def _configuration(name: str, options: Mapping[str, Any], label: str) -> Any:  # noqa: ANN401
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, **options)
    refuse_kinds(config, label)
    return config


def refuse_kinds(config: Any, label: str) -> None:  # noqa: ANN401
    """Refuse encoder-decoder models, and models that read pictures, sound or video beside text."""
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedError(
            f"{label} is an encoder-decoder model, and sites name one stack of layers",
            fix="load a decoder or an encoder",
        )
    senses = [sense for sense in ("vision", "audio", "video") if getattr(config, f"{sense}_config", None) is not None]
    if senses:
        kind = " and ".join(senses)
        raise UnsupportedError(
            f"{label} is a {kind}-language model ({config.model_type}), and sites name one stack of layers",
            fix="load its language model on its own: save model.language_model with save_pretrained",
        )


def _read(name: str, config: Any, dtype: torch.dtype, options: Mapping[str, Any]) -> tuple[Any, list[str]]:  # noqa: ANN401
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

    auto: Any = AutoModelForMaskedLM if headless.reads_both_ways(config) else AutoModelForCausalLM
    if any(name.endswith(SUFFIX) for name in config.architectures or ()):
        auto = AutoModelForSequenceClassification
    with quietly():
        module, report = auto.from_pretrained(
            name, dtype=dtype, attn_implementation="eager", output_loading_info=True, ignore_mismatched_sizes=True,
            **options,
        )  # fmt: skip
    # Tensors are views of the mapped file until they are copied, and would change with it.
    for value in (*module.parameters(), *module.buffers()):
        value.data = value.data.clone()
    return accounted(module, report)


def accounted(module: Any, report: Mapping[str, Any]) -> tuple[Any, list[str]]:  # noqa: ANN401
    """Return the model, without its head where that was not saved, and the tensors that it leaves out.

    Args:
        module: The model that was read.
        report: What `transformers` reports of it: missing, unexpected and mismatched weights, and other errors.
    """
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    head = set(headless.own_of_head(module))
    headed = not head or not head <= set(missing) or is_classifier(module)
    if not headed:
        missing = [name for name in missing if name not in head]
    surplus = [name for name in unexpected if not _LEFT_OUT.search(name)]
    mismatched = [f"{name} {list(got)} instead of {list(due)}" for name, got, due in sorted(report["mismatched_keys"])]
    gaps = {
        "is not there": missing,
        "has no place in the configuration": surplus,
        "has another shape": mismatched,
        "cannot be read": [str(text)[:80] for text in report.get("error_msgs") or ()],
    }
    said = [f"{_some(names)} {fault}" for fault, names in gaps.items() if names]
    if said:
        raise ModelError(
            "weights and configuration do not fit: " + "; ".join(said),
            fix="read an intact copy, with its own config.json",
        )
    return module if headed else headless.without_head(module), unexpected


def _some(names: Iterable[str]) -> str:
    names = [name if len(name) <= 60 else "..." + name[-57:] for name in names]
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _refuse_sizes(config: Any, shapes: Shapes, folder: Path) -> None:  # noqa: ANN401
    """Refuse a configuration that asks for far more than the files hold, before memory is taken for it."""
    from transformers import AutoModel

    n_layers, stored = getattr(config, "num_hidden_layers", 0), _n_numbers(shapes)
    asked = f"{n_layers} layers" if isinstance(n_layers, int) and n_layers > len(shapes) else ""
    if not asked:
        with torch.device("meta"):
            base = AutoModel.from_config(config)
        n_numbers = sum(parameter.numel() for parameter in base.parameters())
        asked = f"{n_numbers:,} numbers" if n_numbers > 4 * stored else ""
    if asked:
        raise ModelError(
            f"the configuration of {name_of(folder)} asks for more than its files hold", got=asked,
            expected=f"{len(shapes)} tensors of {stored:,} numbers", fix="use the config.json of these weights",
        )  # fmt: skip


@contextmanager
def quietly() -> Generator[None]:
    """Hide what transformers prints about the weights, which is said here, and its bar where nobody watches."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    if bar and not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
