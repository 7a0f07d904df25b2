"""Small dictionaries whose numbers can be worked out by hand."""

from __future__ import annotations

from contextlib import contextmanager

import torch

from mechcausal.models.binding import attach, detach


class TopK:
    """A random TopK dictionary: it reconstructs badly, so that the error is large."""

    def __init__(self, width, n_features=48, k=4, seed=0, width_out=None):
        draw = torch.Generator().manual_seed(seed)
        self.W_enc = torch.randn(width, n_features, generator=draw) / width**0.5
        self.W_dec = torch.randn(n_features, width_out or width, generator=draw) / width**0.5
        self.b_dec = 0.1 * torch.randn(width_out or width, generator=draw)
        self.k = k

    def encode(self, x):
        found = torch.relu(x @ self.W_enc)
        values, index = found.topk(self.k, -1)
        return torch.zeros_like(found).scatter(-1, index, values)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


class Turned:
    """A complete orthonormal dictionary: every activation is reconstructed exactly, and each feature is a direction."""

    def __init__(self, width, seed=0):
        draw = torch.Generator().manual_seed(seed)
        self.W_dec = torch.linalg.qr(torch.randn(width, width, generator=draw)).Q

    def encode(self, x):
        return x @ self.W_dec.T

    def decode(self, f):
        return f @ self.W_dec


@contextmanager
def attached_to(model, dictionary, site, name="small", **options):
    """Attach a dictionary for a while, because models are shared between tests."""
    try:
        yield attach(model, dictionary, site, name=name, **options)
    finally:
        detach(model, name)
