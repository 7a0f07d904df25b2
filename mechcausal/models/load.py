"""`mc.load`: a plain TransformerBridge from a name, a folder, a GGUF file, a model object, a checkpoint or an organism.

Every model is checked as it comes in: every weight accounted for, no NaN among them, the same logits as the bare
`transformers` model, and what can be read and written inside it.
A local path is never looked up on the network, and code from a model repository is never run.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.arguments import checked, described
from mechcausal.catalog import ORGANISMS
from mechcausal.data.prompts import PromptSet
from mechcausal.disk import path_of
from mechcausal.errors import ArgumentError, ModelError, NumericsError, did_you_mean
from mechcausal.models import bridge, classifier, headless, legacy
from mechcausal.models.abilities import abilities
from mechcausal.models.adapters import PREFIX, Adapter, adapted
from mechcausal.models.converting import converted, gguf_in
from mechcausal.models.files import TORCH, name_of, read_json
from mechcausal.models.origin import Origin, remember, require_digest
from mechcausal.models.placement import Placement, dtype_called, placed, require_one_device
from mechcausal.models.pretrained import from_folder, from_hub, holds_tokenizer, refuse_kinds, tokenizer_from
from mechcausal.models.room import require_memory
from mechcausal.models.wheels import WHEELS, file_of


@checked
def load(
    source: Any,  # noqa: ANN401 - many kinds, see below
    *,
    tokenizer: Any = None,  # noqa: ANN401
    config: Mapping[str, Any] | None = None,
    adapter: str | Path | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    device_map: Any = None,  # noqa: ANN401 - a word, or devices by the names of modules
    revision: str | None = None,
    expect: str | None = None,
    copy: bool = True,
    check: bool = True,
) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Load a model as a TransformerBridge.

    Args:
        source: `"organism:NAME"`, `"smollm2"` (a real model in a wheel; the error says how to install it), a local
            folder, a `.gguf` file or a folder with one (converted once, then kept in the user's cache), a `.pt` or `.safetensors` checkpoint of a legacy HookedTransformer or
            of an older layout, a hub name, a `transformers` model object, a HookedTransformer, a state dict in memory,
            or a bridge, which is returned as it is. A model without a language-model head, such as a `BertModel`, loads
            as such: its sites can be read and written, and logits are refused. A classifier of whole texts and a reward
            model (`...ForSequenceClassification`) keep their head, which `mc.outcome` makes a metric of.
        tokenizer: A tokenizer object, or the folder of one, where the source brings none.
        config: The configuration of a legacy checkpoint that does not hold its own; only what shapes do not tell.
        adapter: A LoRA adapter that is added to the weights: a folder as the package peft writes it, or the name of one
            that is shipped, such as `"smollm2_bias"`. `"organism:smollm2_bias"` is SmolLM2 with it.
        dtype: The precision of the weights when they are read from files, such as `"bfloat16"`.
        device: Where to put the model, such as `"cuda"`; None leaves it where it is (CPU for files).
        device_map: Where accelerate puts a model that is read from files: `"auto"`, or a device by the names of modules.
            Edits are made on one device, so a model that comes to several, or to the disk, is refused.
        revision: The revision of a hub name.
        expect: The digest that the weights must have: `result.provenance.model["weights"]`, or the SHA-256 of a file of
            weights. Of either the first 8 characters are enough.
        copy: Whether a model object is copied first. The bridge instruments what it wraps; pass False to save the
            memory of a copy.
        check: Whether to measure at once what can be read and written in it (short forwards, site by site; remembered,
            also on disk if it took long, by the digest of the weights and the versions of the libraries); False puts
            that off to the first use.

    Returns:
        The bridge, in evaluation mode.

    Example:
        >>> model = load("organism:hiring")
        >>> model.cfg.n_layers
        4
    """
    precision, place = dtype_called(dtype), placed(device, device_map)
    source, change = adapted(source, adapter)
    if bridge.is_bridge(source) or type(source).__name__ == "SAETransformerBridge":
        model = bridge.require_bridge(source)
        if change is not None:
            raise ArgumentError(
                "load cannot add an adapter to a model that is loaded already",
                fix="pass the name or folder of the model",
            )
    else:
        model, origin = _loaded(source, _tokenizer(tokenizer), config, change, precision, place, revision, copy)
        remember(model, origin if change is None else replace(origin, adapter=change.to_json()))
    if expect is not None:
        require_digest(model, expect)
    if check:
        abilities(model)
    return model


def _tokenizer(given: Any) -> Any:  # noqa: ANN401
    if isinstance(given, (str, Path)):
        return tokenizer_from(Path(given).expanduser())
    if given is not None and not (callable(given) and hasattr(given, "get_vocab")):
        raise ArgumentError(
            "load cannot take this 'tokenizer'",
            got=described(given),
            expected="a tokenizer of transformers, or a folder",
        )
    return given


def _loaded(
    source: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    config: Mapping[str, Any] | None,
    adapter: Adapter | None,
    dtype: torch.dtype,
    place: Placement,
    revision: str | None,
    copy: bool,
) -> tuple[Any, Origin]:
    path = _path_of(source)
    from_files = path is not None and path.suffix not in (*TORCH, ".safetensors") and not str(source).startswith(PREFIX)
    if place.map is not None and not from_files:
        raise ArgumentError(
            "load takes 'device_map' for models in the format of transformers that are read from files",
            got=described(source), fix="pass device= instead",
        )  # fmt: skip
    plain = isinstance(source, nn.Module) and not legacy.is_hooked_transformer(source)
    if adapter is not None and not (from_files or plain or str(source).startswith(PREFIX)):
        raise ArgumentError(
            "load adds an adapter to models in the format of transformers only", got=described(source),
            fix="pass the name, the folder or the object of such a model",
        )  # fmt: skip
    device = place.device
    if legacy.is_hooked_transformer(source):
        content = legacy.in_memory(source, config)
        return _native(*content, tokenizer or source.tokenizer, "HookedTransformer", dtype, device), Origin()
    if isinstance(source, Mapping):
        return _native(*legacy.in_memory(source, config), tokenizer, "state dict", dtype, device), Origin()
    if path is not None and path.suffix == ".gguf" and path.is_file():
        return _gguf(path, tokenizer, adapter, str(source), dtype, place)
    if path is not None and path.is_file() and not str(source).startswith(PREFIX):
        return _checkpoint(path, config, tokenizer, str(path), dtype, device)
    if config is not None:
        raise ArgumentError(
            "load takes 'config' for a legacy checkpoint only",
            got=described(source),
            fix="edit the model's config.json",
        )
    if isinstance(source, nn.Module):
        return _object(source, tokenizer, adapter, device, copy), Origin()
    if path is None:
        raise ModelError(
            "a model is a name, a path or a model object", got=described(source), fix='mc.load("organism:hiring")'
        )
    if str(source).startswith(PREFIX):
        folder = ORGANISMS[str(source).removeprefix(PREFIX)] / "weights"
        return _folder(folder, tokenizer, adapter, str(source), dtype, place)
    if path.exists():
        return _folder(path, tokenizer, adapter, str(path), dtype, place)
    return _hub(str(source), tokenizer, adapter, dtype, place, revision)


def _path_of(source: Any) -> Path | None:  # noqa: ANN401
    """Return the path that a source names: of a model in a wheel that of its file; None for what is no text."""
    if not isinstance(source, (str, Path)):
        return None
    path = path_of(source, ModelError)
    return file_of(str(source)) if str(source) in WHEELS and not path.exists() else path


def _gguf(
    path: Path,
    tokenizer: Any,  # noqa: ANN401
    adapter: Adapter | None,
    label: str,
    dtype: torch.dtype,
    place: Placement,
) -> tuple[Any, Origin]:
    folder, digest = converted(path)
    return _folder(folder, tokenizer, adapter, label, dtype, place, {path.name: digest})


def _object(
    source: nn.Module,
    tokenizer: Any,  # noqa: ANN401
    adapter: Adapter | None,
    device: torch.device | None,
    copy: bool,
) -> Any:  # noqa: ANN401
    if not hasattr(source, "config"):
        raise ModelError(
            "the model object has no config", got=type(source).__name__,
            fix="pass a transformers model, or state_dict() and config= of a legacy model",
        )  # fmt: skip
    if any(parameter.is_meta for parameter in source.parameters()):
        raise ModelError("the model object holds no weights", got="parameters on the meta device")
    label = str(getattr(source.config, "name_or_path", "") or "model")
    if copy:
        size = sum(value.numel() * value.element_size() for value in source.parameters())
        require_memory(size, f"a copy of {label}", next(source.parameters()).device, fix="pass copy=False")
    module: Any = copying.deepcopy(source) if copy else source
    refuse_kinds(module.config, label)
    if headless.is_base(module):
        module = headless.around(module)
    return _wrap(module, tokenizer, adapter, label, device)


def _folder(
    path: Path,
    tokenizer: Any,  # noqa: ANN401
    adapter: Adapter | None,
    label: str,
    dtype: torch.dtype,
    place: Placement,
    digests: Mapping[str, str] | None = None,
) -> tuple[Any, Origin]:
    if not (path / "config.json").exists() and (file := gguf_in(path)) is not None:
        return _gguf(file, tokenizer, adapter, label, dtype, place)
    if not (path / "config.json").exists():
        names = sorted(item.name for item in path.iterdir())[:5]
        raise ModelError(
            f"{name_of(path)} is not a model folder",
            got=names or "an empty folder",
            expected="a config.json and weights, or a .gguf file",
        )
    described_by = read_json(path / "config.json")
    if tokenizer is None and holds_tokenizer(path):
        tokenizer = tokenizer_from(path)
    if "model_type" not in described_by and "d_head" in described_by:
        weights = next((path / name for name in ("model.safetensors", "model.pt") if (path / name).exists()), None)
        if weights is None:
            raise ModelError(f"{name_of(path)} holds no weights", expected="model.safetensors or model.pt")
        if adapter is not None:
            raise ModelError(f"{name_of(path)} is a legacy checkpoint, which takes no adapter", fix="load it without")
        return _checkpoint(weights, described_by, tokenizer, label, dtype, place.device)
    module, origin = from_folder(path, dtype, label, place=place, digests=digests)
    return _wrap(module, tokenizer, adapter, label, place.device), origin


def _checkpoint(
    path: Path,
    config: Mapping[str, Any] | None,
    tokenizer: Any,  # noqa: ANN401
    label: str,
    dtype: torch.dtype,
    device: torch.device | None,
) -> tuple[Any, Origin]:
    if path.suffix not in (*TORCH, ".safetensors"):
        raise ModelError(
            f"{name_of(path)} is not a checkpoint", got=path.suffix or "no suffix", expected=".pt or .safetensors"
        )
    content = legacy.read_checkpoint(path, config)
    return _native(*content, tokenizer, label, dtype, device), Origin.of([path])


def _native(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    tokenizer: Any,  # noqa: ANN401
    label: str,
    dtype: torch.dtype,
    device: torch.device | None,
) -> Any:  # noqa: ANN401
    native_config, weights = legacy.to_native(config, state)
    _refuse_nan(weights.items())
    model = bridge.build_native(native_config, weights, tokenizer, label, dtype)
    return model if device is None else model.to(device)


def _hub(
    name: str,
    tokenizer: Any,  # noqa: ANN401
    adapter: Adapter | None,
    dtype: torch.dtype,
    place: Placement,
    revision: str | None,
) -> tuple[Any, Origin]:
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).suffix in (".pt", ".safetensors", ".gguf"):
        raise ModelError(f"there is nothing at {name_of(Path(name))}", fix="check the path")
    if name in ORGANISMS:
        raise ModelError(f"there is no model called {name!r}", fix=did_you_mean(PREFIX + name, [PREFIX + name]))
    module, origin = from_hub(name, dtype, revision, place=place)
    tokenizer = tokenizer or tokenizer_from(name, revision=revision)
    return _wrap(module, tokenizer, adapter, name, place.device), origin


def _wrap(
    module: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    adapter: Adapter | None,
    label: str,
    device: torch.device | None,
) -> Any:  # noqa: ANN401
    if adapter is not None:
        adapter.merge(module)
        label = adapter.label(label)
    if device is not None:
        module = module.to(device)
    require_one_device(module, label)
    module = module.eval()
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("eager")  # patterns exist only there
    if hasattr(module, "set_experts_implementation") and next(module.parameters()).dtype == torch.float64:
        module.set_experts_implementation("eager")  # torch multiplies groups of single precision and below only
    _refuse_nan(module.named_parameters())
    tokens = torch.arange(min(5, module.config.vocab_size), device=next(module.parameters()).device)[None]
    head = None
    with torch.no_grad():
        expected = module(tokens).logits
        if classifier.is_classifier(module):
            base, head = classifier.take_apart(module)
            module = headless.without_head(headless.around(base)) if headless.is_base(base) else base
    wrapped = bridge.build(module, type(module).__name__, tokenizer, label)
    with torch.no_grad():
        got = bridge.run(wrapped, tokens, torch.ones_like(tokens, dtype=torch.bool))
        if head is not None:
            classifier.keep(wrapped, head)
            got = head(got, PromptSet(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    tolerance = (1e-4 if expected.dtype == torch.float32 else 5e-2) * float(expected.abs().max().clamp(min=1.0))
    gap = float((got - expected).abs().max())
    if not gap <= tolerance:
        raise ModelError(
            f"the wrapped {label} does not reproduce its own logits",
            got=f"a gap of {gap:.2g}",
            expected=f"at most {tolerance:.2g}",
        )
    return wrapped


def _refuse_nan(parameters: Iterable[tuple[str, Tensor]]) -> None:
    for name, value in parameters:
        # The sum is read first, which is faster: it is finite only if all are; they may be finite where it is not.
        if not bool(value.detach().sum().isfinite()) and not bool(torch.isfinite(value.detach()).all()):
            raise NumericsError(f"the weights hold NaN or infinity, first in {name}", fix="load an intact checkpoint")
