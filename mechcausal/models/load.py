"""`mc.load`: a plain TransformerBridge from a name, a folder, a model object, a checkpoint or an organism.

Every model is checked as it comes in: no NaN in its weights, the same logits as the bare `transformers` model, and what
can be read and written inside it.
A local path is never looked up on the network, and code from a model repository is never run.
"""

from __future__ import annotations

import copy as copying
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.catalog import ORGANISMS
from mechcausal.errors import ModelError, NumericsError, UnsupportedError, did_you_mean
from mechcausal.models import bridge, legacy
from mechcausal.models.abilities import abilities
from mechcausal.organisms import folder

_PREFIX = "organism:"


def load(
    source: Any,  # noqa: ANN401 - many kinds, see below
    *,
    tokenizer: Any = None,  # noqa: ANN401
    config: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    revision: str | None = None,
    copy: bool = True,
    check: bool = True,
) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Load a model as a TransformerBridge.

    Args:
        source: `"organism:NAME"`, a local folder, a `.pt` or `.safetensors` checkpoint of a legacy HookedTransformer,
            a hub name, a `transformers` model object, or a bridge, which is returned as it is.
        tokenizer: A tokenizer object, or the folder of one, where the source brings none.
        config: The configuration of a legacy checkpoint that does not hold its own.
        dtype: The precision of the weights when they are read from files.
        device: Where to put the model; None leaves it where it is (CPU for files).
        revision: The revision of a hub name.
        copy: Whether a model object is copied first. The bridge instruments what it wraps; pass False to save the
            memory of a copy.
        check: Whether to measure at once what can be read and written in it (short forwards, site by site, remembered
            by the digest of the weights); False puts that off to the first use.

    Returns:
        The bridge, in evaluation mode.

    Example:
        >>> model = load("organism:hiring")
        >>> model.cfg.n_layers
        4
    """
    if bridge.is_bridge(source) or type(source).__name__ == "SAETransformerBridge":
        wrapped = bridge.require_bridge(source)
    else:
        tokenizer = _tokenizer(Path(tokenizer)) if isinstance(tokenizer, (str, Path)) else tokenizer
        wrapped = _load_any(source, tokenizer, config, dtype, device, revision, copy)
    if check:
        abilities(wrapped)
    return wrapped


def _load_any(
    source: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    config: dict[str, Any] | None,
    dtype: torch.dtype,
    device: Any,  # noqa: ANN401
    revision: str | None,
    copy: bool,
) -> Any:  # noqa: ANN401
    if isinstance(source, nn.Module):
        if not hasattr(source, "config"):
            raise ModelError(
                "the model object has no config", got=type(source).__name__, fix="pass a transformers model"
            )
        module = copying.deepcopy(source) if copy else source
        return _wrap(module, tokenizer, str(module.config.name_or_path or "model"), device)
    if not isinstance(source, (str, Path)):
        raise ModelError(
            "a model is a name, a path or a model object", got=type(source).__name__, fix='mc.load("organism:hiring")'
        )
    if str(source).startswith(_PREFIX):
        return _load_organism(str(source).removeprefix(_PREFIX), dtype, device)
    if (path := Path(source).expanduser()).exists():
        return _load_path(path, tokenizer, config, dtype, device)
    return _load_hub(str(source), tokenizer, dtype, device, revision)


def _load_organism(name: str, dtype: torch.dtype, device: Any) -> Any:  # noqa: ANN401
    if name not in ORGANISMS:
        raise ModelError(f"there is no organism called {name!r}", fix=did_you_mean(name, ORGANISMS))
    return _load_path(folder(name) / "weights", None, None, dtype, device, label=_PREFIX + name)


def _load_path(
    path: Path,
    tokenizer: Any,  # noqa: ANN401
    config: dict[str, Any] | None,
    dtype: torch.dtype,
    device: Any,  # noqa: ANN401
    label: str | None = None,
) -> Any:  # noqa: ANN401
    label = label or str(path)
    if path.is_file():
        return _load_legacy(path, config, tokenizer, dtype, device, label)
    described = path / "config.json"
    if not described.exists():
        holds = sorted(item.name for item in path.iterdir())[:5]
        raise ModelError(
            f"{path} is not a model folder", got=holds or "an empty folder", expected="a config.json and weights"
        )
    stored = json.loads(described.read_text())
    if tokenizer is None and any(
        (path / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
    ):
        tokenizer = _tokenizer(path)
    if "model_type" not in stored and "d_head" in stored:
        weights = next((path / name for name in ("model.safetensors", "model.pt") if (path / name).exists()), None)
        if weights is None:
            raise ModelError(f"{path} has a configuration but no weights", expected="model.safetensors or model.pt")
        return _load_legacy(weights, stored, tokenizer, dtype, device, label)
    return _wrap(_from_pretrained(str(path), dtype, local=True), tokenizer, label, device)


def _load_legacy(
    path: Path,
    config: dict[str, Any] | None,
    tokenizer: Any,  # noqa: ANN401
    dtype: torch.dtype,
    device: Any,  # noqa: ANN401
    label: str,
) -> Any:  # noqa: ANN401
    if path.suffix not in (".pt", ".pth", ".bin", ".safetensors"):
        raise ModelError(f"{path} is not a checkpoint", got=path.suffix or "no suffix", expected=".pt or .safetensors")
    native_config, state = legacy.to_native(*legacy.read_checkpoint(path, config))
    _refuse_nan(state.items())
    model = bridge.build_native(native_config, state, tokenizer, label, dtype)
    return model if device is None else model.to(device)


def _load_hub(name: str, tokenizer: Any, dtype: torch.dtype, device: Any, revision: str | None) -> Any:  # noqa: ANN401
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).suffix in (".pt", ".safetensors"):
        raise ModelError(f"there is nothing at {name}", fix="check the path")
    if name in ORGANISMS:
        raise ModelError(f"there is no model called {name!r}", fix=f"did you mean {_PREFIX + name!r}?")
    module = _from_pretrained(name, dtype, local=False, revision=revision)
    if tokenizer is None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    return _wrap(module, tokenizer, name, device)


def _tokenizer(path: Path) -> Any:  # noqa: ANN401
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} holds no readable tokenizer", got=_first_line(error)) from error


def _from_pretrained(name: str, dtype: torch.dtype, *, local: bool, revision: str | None = None) -> Any:  # noqa: ANN401
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False, "revision": revision}
    try:
        hf_config = AutoConfig.from_pretrained(name, **options)
        kinds = hf_config.architectures or []
        if getattr(hf_config, "vision_config", None) is not None:
            raise UnsupportedError(f"{name} is a multimodal model", got=kinds, fix="load its language model on its own")
        masked = any(kind.endswith("ForMaskedLM") for kind in kinds)
        auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        with _quiet():
            return auto.from_pretrained(name, dtype=dtype, attn_implementation="eager", **options)
    except UnsupportedError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        where = "in this folder" if local else "on the hub or in the offline cache"
        offline = bool(os.environ.get("HF_HUB_OFFLINE"))
        fix = (
            None
            if local
            else ("unset HF_HUB_OFFLINE, or pass" if offline else "check the name and the network, or pass")
            + " a folder"
        )
        raise ModelError(f"no loadable model called {name!r} {where}", got=_first_line(error), fix=fix) from error


@contextmanager
def _quiet() -> Generator[None]:
    """Hide the progress bar of reading weights where nobody watches a terminal."""
    from transformers.utils import logging

    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _wrap(module: Any, tokenizer: Any, label: str, device: Any) -> Any:  # noqa: ANN401
    if device is not None:
        module = module.to(device)
    if getattr(module.config, "is_encoder_decoder", False):
        raise UnsupportedError(
            f"{label} is an encoder-decoder model, and sites name one stack of layers",
            fix="load a decoder or an encoder",
        )
    module = module.eval()
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("eager")  # patterns exist only there
    _refuse_nan(module.named_parameters())
    tokens = torch.arange(min(5, module.config.vocab_size), device=next(module.parameters()).device)[None]
    with torch.no_grad():
        expected = module(tokens).logits
    wrapped = bridge.build(module, type(module).__name__, tokenizer, label)
    with torch.no_grad():
        got = bridge.run(wrapped, tokens, torch.ones_like(tokens, dtype=torch.bool))
    tolerance = (1e-4 if expected.dtype == torch.float32 else 5e-2) * float(expected.abs().max().clamp(min=1.0))
    gap = float((got - expected).abs().max())
    if not gap <= tolerance:
        raise ModelError(
            f"the wrapped {label} does not reproduce its own logits",
            got=f"a gap of {gap:.2g}",
            expected=f"at most {tolerance:.2g}",
        )
    return wrapped


def _refuse_nan(parameters: Any) -> None:  # noqa: ANN401 - pairs of name and tensor
    for name, value in parameters:
        if isinstance(value, Tensor) and not bool(torch.isfinite(value.detach()).all()):
            raise NumericsError(f"the weights hold NaN or infinity, first in {name}", fix="load an intact checkpoint")
