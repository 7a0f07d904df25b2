"""Small dictionaries with random weights: rectified, top-k, orthonormal, some whose decoder is not linear, a transcoder."""

from __future__ import annotations

import torch


class Rectified:
    """Features are rectified: about half of them are active on a random activation."""

    def __init__(self, width, n=48, seed=0, bias=0.0, width_out=None):
        draw = torch.Generator().manual_seed(seed)
        self.W_enc = torch.randn(width, n, generator=draw) / width**0.5
        self.W_dec = torch.randn(n, width_out or width, generator=draw) / n**0.5
        self.b_enc, self.b_dec = torch.full((n,), bias), torch.randn(width_out or width, generator=draw) * 0.1

    def encode(self, x):
        return (x @ self.W_enc + self.b_enc).relu()

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


class TopK(Rectified):
    """Only the k largest features are active."""

    def __init__(self, width, n=96, k=4, seed=0):
        super().__init__(width, n, seed)
        self.k = k

    def encode(self, x):
        f = super().encode(x)
        values, index = f.topk(self.k, dim=-1)
        return torch.zeros_like(f).scatter(-1, index, values)


class Turned:
    """Orthonormal directions: nothing is missed, and every change of the activation is one of the features."""

    def __init__(self, width, seed=0):
        self.W_dec = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]

    def encode(self, x):
        return x @ self.W_dec.T

    def decode(self, f):
        return f @ self.W_dec


class Bent(Rectified):
    """A decoder with a norm in it, which is not linear in the features."""

    def decode(self, f):
        plain = super().decode(f)
        return 3 * plain / (1 + plain.norm(dim=-1, keepdim=True))


class Remembering(Rectified):
    """Activations are brought to one length before they are encoded, and back when they are decoded."""

    def encode(self, x):
        self.size = x.norm(dim=-1, keepdim=True)
        return super().encode(3 * x / self.size)

    def decode(self, f):
        return super().decode(f) * self.size / 3
