"""Digests of weights and tokenizers, so that a number can be traced to the exact model that gave it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mechcausal.method import once
from mechcausal.models import bridge
from mechcausal.models.checksum import checksum
from mechcausal.models.condition import changed_buffers, lasting

_tokenizers: WeakKeyDictionary[Any, tuple[tuple[int, str], str]] = WeakKeyDictionary()
_digests: WeakKeyDictionary[Any, tuple[tuple[int, ...], str]] = WeakKeyDictionary()


def weights_fingerprint(model: Any) -> str:  # noqa: ANN401 - a TransformerBridge
    """Return a digest of all parameters; biases that are all zero are none, as in the same model without them.

    Buffers count where they were changed: since the first use of the model, or from what their module makes of its
    configuration. All others follow from the configuration, and a digest is the same with and without them. It is computed again only after one of them changed, in whatever way: the content is looked at in every run of a
    method, and at every call outside of one.
    """
    return once(model, "weights", lambda: _fingerprint(model))


def _fingerprint(model: Any) -> str:  # noqa: ANN401
    module = bridge.underlying(model)
    state = checksum(module.parameters())
    cached = _digests.get(model)
    if cached is None or cached[0] != state:
        _digests[model] = state, module_fingerprint(module)
    digest = _digests[model][1]
    buffers = dict(_plain(module.named_buffers()))
    changed = {name: buffers[name] for name in (*changed_buffers(model), *_set_by_hand(module)) if name in buffers}
    return _digest(changed, digest) if changed else digest


def module_fingerprint(module: nn.Module) -> str:
    """Return the digest of all parameters of a module, be it bare or wrapped by a bridge."""
    parameters = dict(_plain(module.named_parameters()))
    # Some versions of the bridge give the unembedding a bias of zeros that the model does not have.
    nothing = [name for name, value in parameters.items() if name.endswith(".bias") and not value.any()]
    return _digest({name: value for name, value in parameters.items() if name not in nothing})


def _plain(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    # The bridge inserts this segment into names; without it the digest is that of the bare model.
    return ((name.replace("_original_component.", ""), value) for name, value in named)


def _digest(tensors: Mapping[str, Tensor], beside: str = "") -> str:
    digest = hashlib.sha256(beside.encode())
    for name, value in sorted(tensors.items()):
        tensor = value.detach().to("cpu").contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _set_by_hand(module: nn.Module) -> Iterator[str]:
    """Yield the names of buffers that are not what their module makes of its configuration, such as rotary frequencies.

    Such a module is made again; one with weights, or one that takes more than a configuration, is not.
    """
    for owner, part in module.named_modules():
        if "config" not in vars(part) or not vars(part)["_buffers"] or next(part.parameters(), None) is not None:
            continue
        try:
            with torch.device("cpu"):
                made = dict(type(part)(vars(part)["config"]).named_buffers(recurse=False))
        except Exception:  # of whatever kind: classes of others are made here
            continue
        for name, buffer in lasting(part):
            here = buffer.detach().cpu()
            tolerance = 1e-5 if here.dtype in (torch.float32, torch.float64) else 1e-2  # graphics cards round otherwise
            if name in made and not _close(here, made[name], tolerance):
                yield f"{owner}.{name}".replace("_original_component.", "")


def _close(here: Tensor, made: Tensor, tolerance: float) -> bool:
    rounded = made.to(here.dtype).double()
    return here.shape == made.shape and torch.allclose(here.double(), rounded, rtol=tolerance, atol=0.0)


def tokenizer_fingerprint(tokenizer: Any) -> str | None:  # noqa: ANN401
    """Return a digest of a tokenizer's vocabulary and special tokens."""
    if tokenizer is None:
        return None
    specials = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    state = len(tokenizer), json.dumps(specials, sort_keys=True)  # what changes when tokens are added
    cached = _tokenizers.get(tokenizer)
    if cached is None or cached[0] != state:
        _tokenizers[tokenizer] = state, _digest_of(tokenizer, state[1])
    return _tokenizers[tokenizer][1]


def _digest_of(tokenizer: Any, special: str) -> str:  # noqa: ANN401
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    return hashlib.sha256((vocabulary + special).encode()).hexdigest()[:16]
