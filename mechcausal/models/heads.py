"""What each head adds to the output of attention: `L9.result.H6` is its `z` times its rows of the output matrix.

    attn_out = result.sum(over heads) + bias

No hook point carries it. It is computed where `z` enters the output matrix, and an edit of it is written as the
difference it makes at `attn_out`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from mechcausal.address import Site
from mechcausal.errors import UnsupportedError
from mechcausal.models import bridge


def results(model: Any, layer: int, z: Tensor) -> Tensor:  # noqa: ANN401 - a TransformerBridge
    """Return what the heads of a layer add to the output of attention, [batch pos head model], from their `z`."""
    return torch.einsum("...hd,hdm->...hm", z, output_matrix(model, layer, z.shape[-2]).to(z.dtype))


def output_matrix(model: Any, layer: int, n_heads: int) -> Tensor:  # noqa: ANN401 - a TransformerBridge
    """Return the output matrix of a layer's attention by head, [head d_head model]."""
    module = _output_module(model, layer)
    if module is None:
        raise UnsupportedError(f"z does not enter an output matrix at layer {layer}, so heads have no result")
    if isinstance(module, nn.Linear):
        matrix = module.weight.T
    elif isinstance(module, Conv1D):
        matrix = module.weight
    else:
        raise UnsupportedError(f"the output of attention is no linear map but a {type(module).__name__}")
    return matrix.reshape(n_heads, -1, matrix.shape[-1])


def _output_module(model: Any, layer: int) -> nn.Module | None:  # noqa: ANN401
    """Return the module that `z` enters, without the bridge around it."""
    point = bridge.hook_point(model, Site("z", layer))
    path, _, end = (getattr(point, "name", None) or "").rpartition(".")
    if end != "hook_in" or not path:
        return None
    module = model.get_submodule(path)
    return getattr(module, "original_component", module)
