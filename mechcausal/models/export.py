"""Export a bridge: the parameters that are its weights, and files that `transformers` reads.

A bridge runs with parameters of its own. It splits joint query-key-value matrices (into views or into copies, depending
on the architecture) and adds a bias to an output layer that has none. This module writes what was trained through the
bridge back to the wrapped model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.errors import ModelError, UnsupportedError
from mechcausal.models import bridge

_WRAP = "_original_component."
_SPLIT = ("q", "k", "v")


def trainable(model: Any) -> dict[str, nn.Parameter]:  # noqa: ANN401 - a TransformerBridge
    """Return the parameters that the bridge runs with and that the wrapped model can hold, by name."""
    joint = {id(p) for attention in _joint_attentions(model) for p in attention.qkv.parameters()}
    split = {
        id(p) for attention in _joint_attentions(model) for s in _SPLIT for p in getattr(attention, s).parameters()
    }
    keys = _keys(model)
    parameters: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter in _named(model):
        if (
            parameter.requires_grad
            and id(parameter) not in joint
            and (keys is None or name in keys or id(parameter) in split)
        ):
            parameters.setdefault(id(parameter), (name, parameter))
    return dict(parameters.values())


def plain_weights(model: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the weights that the bridge runs with, under the names of the wrapped `transformers` model."""
    keys = _keys(model)
    if keys is None:
        raise UnsupportedError(
            "a native transformer-lens model has no transformers format", fix="save its state_dict with safetensors"
        )
    for attention in _joint_attentions(model):
        _write_back(attention)
    weights = bridge.underlying(model)
    named = {name: parameter.detach() for name, parameter in _named(model)}
    named |= {name.replace(_WRAP, ""): value for name, value in weights.named_buffers(remove_duplicate=False)}
    missing = sorted(keys - set(named))
    if missing:
        raise ModelError(f"the bridge no longer holds {missing[0]}", fix="load the model again")
    return {name: named[name] for name in keys}


def save(model: Any, folder: Path | str) -> Path:  # noqa: ANN401
    """Write configuration, weights and tokenizer, so that `mc.load(folder)` and `transformers` read them."""
    weights, wrapped = plain_weights(model), bridge.underlying(model)
    plain = bridge.skeleton(wrapped)
    plain.load_state_dict(weights, assign=True)
    if bridge.has_head(model):
        plain.tie_weights()
        plain.save_pretrained(folder)
    else:
        plain.base_model.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
    return Path(folder)


def _named(model: Any) -> Iterator[tuple[str, nn.Parameter]]:  # noqa: ANN401
    for name, parameter in bridge.underlying(model).named_parameters(remove_duplicate=False):
        yield name.replace(_WRAP, ""), parameter


def _keys(model: Any) -> set[str] | None:  # noqa: ANN401
    """Return the names of the weights in the format of `transformers`, or None for a native model."""
    wrapped = bridge.underlying(model)
    return set(bridge.skeleton(wrapped).state_dict()) if hasattr(wrapped, "save_pretrained") else None


def _joint_attentions(model: Any) -> list[Any]:  # noqa: ANN401
    """Return the attentions whose queries, keys and values the bridge has split."""
    attentions = (module for module in bridge.underlying(model).modules() if hasattr(module, "split_qkv_matrix"))
    return [module for module in attentions if "qkv" in module._modules]


def _write_back(attention: Any) -> None:  # noqa: ANN401
    """Put the split queries, keys and values back into the joint matrix.

    To find where each entry goes, the splitting function is applied to a matrix that holds the index of each entry.
    """
    joint, original = attention.qkv.original_component, attention.original_component
    places = copy.deepcopy(joint).double().requires_grad_(False)
    for parameter in places.parameters():
        parameter.copy_(torch.arange(parameter.numel(), dtype=torch.float64).view(parameter.shape))
    stand_in = copy.copy(original)
    stand_in._modules = {**original._modules, attention.qkv.name: places}
    for part, where in zip(_SPLIT, attention.split_qkv_matrix(stand_in), strict=True):
        current = dict(getattr(attention, part).original_component.named_parameters())
        for name, index in where.named_parameters():
            flat = joint.get_parameter(name).data.view(-1)
            # Write from a copy: the split parts may be views of the joint matrix.
            flat[index.detach().long().to(flat.device).flatten()] = current[name].detach().flatten().clone()
