"""A native model of transformer-lens whose layers can be called with keys and values of earlier columns.

Native models (organisms made by hand, legacy checkpoints) compute attention over all columns at once. Here the same
weights are run by a block that is called as a decoder layer of `transformers` is called: with hidden states, a mask of
what is hidden, positions, and a cache. So the engine runs both kinds of models in one way.
"""

from __future__ import annotations

from types import MethodType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


def with_cache(model: Any) -> nn.Module:  # noqa: ANN401 - a native model
    """Let a native model and its layers be called like a model of `transformers`, in place."""
    cap = float(getattr(model, "output_logits_soft_cap", -1.0))
    model.config = SimpleNamespace(final_logit_softcapping=cap if cap > 0 else None)
    for number, block in enumerate(model.layers):
        block.attn.layer_idx = number
        block.attn.forward = MethodType(_attend, block.attn)
        block.forward = MethodType(_layer, block)
    model.forward = MethodType(_model, model)
    return model


def _model(
    self: Any,  # noqa: ANN401
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    past_key_values: Any = None,  # noqa: ANN401 - a cache of transformers
    use_cache: bool = True,
) -> Tensor:
    """Return the final hidden states."""
    n, width = input_ids.shape
    device = input_ids.device
    columns = torch.arange(width, device=device)
    positions = columns.expand(n, width) if position_ids is None else position_ids
    hidden = self.tok_embed(input_ids)
    if self.pos is not None:
        hidden = hidden + self.pos(positions)
    hide = columns[None, :] > columns[:, None] if self.layers[0].attn.causal else hidden.new_zeros(width, width).bool()
    hide = hide[None, None].expand(n, 1, width, width)
    if attention_mask is not None:
        hide = hide | ~attention_mask.bool()[:, None, None, :]
    for block in self.layers:
        (hidden,) = block(hidden, attention_mask=hide, position_ids=positions, past_key_values=past_key_values)
    return self.ln_out(hidden)


def _layer(
    self: Any,  # noqa: ANN401
    hidden_states: Tensor,
    *,
    attention_mask: Tensor,
    position_ids: Tensor,
    past_key_values: Any,  # noqa: ANN401
) -> tuple[Tensor]:
    given = {"attention_mask": attention_mask, "position_ids": position_ids, "past_key_values": past_key_values}
    stream = hidden_states + self.attn(self.ln1(hidden_states), **given)[0]
    if not self.cfg.attn_only:
        stream = stream + self.mlp(self.ln2(stream))
    return (stream,)


def _attend(
    self: Any,  # noqa: ANN401
    hidden_states: Tensor,
    *,
    attention_mask: Tensor,
    position_ids: Tensor,
    past_key_values: Any,  # noqa: ANN401
) -> tuple[Tensor, Tensor]:
    n, width, _ = hidden_states.shape

    def split(values: Tensor) -> Tensor:
        return values.view(n, width, -1, self.d_head).transpose(1, 2)

    q, k, v = split(self.q(hidden_states)), split(self.k(hidden_states)), split(self.v(hidden_states))
    if self.rotary is not None:
        q, k = self.rotary.apply_rope(q, k, position_ids=position_ids)
    k, v = past_key_values.update(k, v, self.layer_idx)
    k, v = (part.repeat_interleave(self.kv_repeats, dim=1) for part in (k, v))
    scores = q @ k.transpose(-2, -1) / self.scale
    if self.attn_scores_soft_cap > 0:
        scores = torch.tanh(scores / self.attn_scores_soft_cap) * self.attn_scores_soft_cap
    # A padding token may see nothing at all; its pattern is zero.
    pattern = scores.masked_fill(attention_mask, -torch.inf).softmax(-1).masked_fill(attention_mask, 0.0)
    return self.o((pattern @ v).transpose(1, 2).reshape(n, width, -1)), pattern
