"""What the model itself makes of its last stream: the final norm, the unembedding, and caps or scales after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.models import bridge
from mechcausal.models.hooked import forward

_CHUNK = 256  # vectors whose logits are held at once


class Unembedding:
    """The function from the stream after the last layer to the logits, compared with the model on a few tokens.

    Args:
        model: The bridge.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a TransformerBridge
        self.model = model
        if not bridge.has_head(model) or not hasattr(model, "ln_final"):
            raise UnsupportedError("this model has no final norm and language-model head", fix="read it with mc.probe")
        self.norm, head = model.ln_final, model.unembed
        head = head if isinstance(head, nn.Linear) else getattr(head, "original_component", head)
        if not isinstance(head, nn.Linear):
            raise UnsupportedError("its unembedding is no linear map", got=type(head).__name__)
        self.head = head
        config = getattr(bridge.underlying(model), "config", None)
        self.cap, self.scaling = (getattr(config, name, None) for name in ("final_logit_softcapping", "logits_scaling"))
        self._check()

    @torch.no_grad()
    def __call__(self, stream: Tensor) -> Tensor:
        """Return the logits of vectors of the stream, [vector model] to [vector vocab], in float32 at least."""
        return self.with_gradient(stream)

    def with_gradient(self, stream: Tensor) -> Tensor:
        """Return the same, through which gradients pass."""
        logits = self.head(self.normed(stream))
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        logits = logits if self.scaling is None else logits / self.scaling
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def normed(self, stream: Tensor) -> Tensor:
        """Return what the unembedding is given, [vector model]."""
        return self.norm(stream[:, None].to(self.head.weight.dtype))[:, 0]

    @torch.no_grad()
    def directions(self, tokens: Tensor) -> Tensor:
        """Return the direction of the stream along which each token's logit grows, up to the scale of the norm, [token model]."""
        width = self.head.weight.shape[1]
        like = self.head.weight.new_zeros(1, width)
        bias = self.normed(like)[0]
        centers = bool((self.normed(like + 1)[0] - bias).abs().max() < 1e-3 * (1 + bias.abs().max()))
        probe = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).to(like)
        probe = probe - probe.mean() if centers else like + 1
        rows = self.head.weight[tokens] * ((self.normed(probe)[0] - bias) / probe[0])
        return rows - rows.mean(-1, keepdim=True) if centers else rows

    def _check(self) -> None:
        """Refuse a model whose logits are something else."""
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, self.model.cfg.d_vocab, (1, 5), generator=draw).to(bridge.device_of(self.model))
        last = Site("resid_post", bridge.shape_of(self.model).n_layers - 1)
        run = forward(self.model, PromptSet(tokens, torch.ones_like(tokens, dtype=torch.bool)), read=[last])
        computed, stated = self(run.read[last][0]), run.logits[0].float()
        tolerance = 1e-4 if run.logits.dtype in (torch.float32, torch.float64) else 5e-2
        if not bool((computed - stated).abs().max() <= tolerance * (1 + stated.abs().max())):
            raise UnsupportedError(
                f"the logits of {bridge.architecture_of(self.model)} are not a norm and a linear map of its last stream",
                fix="read the stream with probes: mc.features.probe",
            )


def in_chunks(count: int) -> list[slice]:
    """Return slices of so many vectors that their logits can be held at once."""
    return [slice(low, low + _CHUNK) for low in range(0, count, _CHUNK)]
