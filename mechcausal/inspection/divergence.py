"""How far what is read from a stream is from the model's own output, in nats.

Of the distribution that is read, the divergence needs its expected logit under the output and its log-sum-exp alone. Both
are taken from a few rows of logits at a time, which stay in the cache of the processor; no distribution is written down.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mechcausal.inspection.unembedding import Unembedding

_ROWS = 8  # of logits at a time


class Output:
    """What the model says after some tokens; `divergence` compares other readings with it.

    Args:
        unembed: The unembedding.
        last: The last stream at these tokens, [token model].
    """

    @torch.no_grad()
    def __init__(self, unembed: Unembedding, last: Tensor) -> None:
        self.unembed = unembed
        logprobs = unembed(last).log_softmax(-1)
        self.chances = logprobs.exp()
        self.entropy = -torch.linalg.vecdot(self.chances, logprobs)

    @torch.no_grad()
    def divergence(self, stream: Tensor) -> Tensor:
        """Return the KL divergence from the output to what is read from a stream at the same tokens, [token]."""
        logits = self.unembed(stream)
        parts = zip(logits.split(_ROWS), self.chances.split(_ROWS), strict=True)
        crossed = [_cross_entropy(*part) for part in parts]
        return (torch.cat(crossed) - self.entropy).clamp(min=0) if crossed else self.entropy


def _cross_entropy(logits: Tensor, chances: Tensor) -> Tensor:
    """Return the cross entropy of rows; their logits are written over."""
    expected, highest = torch.linalg.vecdot(chances, logits), logits.amax(-1, keepdim=True)
    return logits.sub_(highest).exp_().sum(-1).log() + highest[:, 0] - expected
