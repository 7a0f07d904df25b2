"""Digests of weights and tokenizers, so that a number can be traced to the exact model that gave it."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mechcausal.method import once
from mechcausal.models import bridge
from mechcausal.models.checksum import checksum

_tokenizers: WeakKeyDictionary[Any, tuple[tuple[int, str], str]] = WeakKeyDictionary()
_digests: WeakKeyDictionary[Any, tuple[tuple[int, ...], str]] = WeakKeyDictionary()


def weights_fingerprint(model: Any) -> str:  # noqa: ANN401 - a TransformerBridge
    """Return a digest of all parameters; biases that are all zero are none, as in the same model without them.

    It is computed again only after one of them changed, in whatever way: the content is looked at in every run of a
    method, and at every call outside of one.
    """
    return once(model, "weights", lambda: _fingerprint(model))


def _fingerprint(model: Any) -> str:  # noqa: ANN401
    module = bridge.underlying(model)
    state = checksum(module.parameters())
    cached = _digests.get(model)
    if cached is None or cached[0] != state:
        _digests[model] = state, module_fingerprint(module)
    return _digests[model][1]


def module_fingerprint(module: nn.Module) -> str:
    """Return the digest of all parameters of a module, be it bare or wrapped by a bridge."""
    # The bridge inserts this segment into names; without it the digest is that of the bare model.
    plain = ((name.replace("_original_component.", ""), value) for name, value in module.named_parameters())
    digest = hashlib.sha256()
    for name, parameter in sorted(plain, key=lambda item: item[0]):
        tensor = parameter.detach().to("cpu").contiguous()
        # Some versions of the bridge give the unembedding a bias of zeros that the model does not have.
        if name.endswith(".bias") and not tensor.any():
            continue
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


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
