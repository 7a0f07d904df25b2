"""A network in which one direction is used and another is not, though both go with the concept; and dictionaries for it.

The network is `linear.py`'s: the answer reads `a` and `c`, nothing reads the features of the word `e`. In the pairs here
`a` is high in the clean prompt and low in the corrupt one, and `e` goes along: its first feature is high where `a` is.
So the direction of `a` carries the concept and all of the effect, the first direction of `e` the concept and no effect.
The network is linear behind its one layer, so the effect of any feature can be written down.
"""

from __future__ import annotations

import linear
import numpy as np
import torch

from mechcausal.address import Site
from mechcausal.data import Contrast

E0 = linear.TURN[linear.END["e"][0]]
A, C = (linear.TURN[linear.END[v][0]] for v in "ac")
SITE = Site("resid_post", 0)


def pairs(model, n=96, seed=0):
    """Return pairs in which `a` and the first feature of `e` fall together."""
    draw = np.random.default_rng(seed)
    first = torch.randn(linear.WORDS, linear.FEATURES, generator=torch.Generator().manual_seed(8))[:, 0].numpy()
    words = np.argsort(first)
    high, low = draw.integers(3, 5, n), draw.integers(0, 2, n)
    c = draw.integers(0, linear.SIZE, n)
    up, down = words[draw.integers(24, 40, n)], words[draw.integers(0, 16, n)]
    texts = [
        [f"a{a} c{k} e{e} ask" for a, k, e in zip(side, c, word, strict=True)]
        for side, word in ((high, up), (low, down))
    ]
    return Contrast.from_text(
        model, *texts, answer=[f"s{i}" for i in high + c], foil=[f"s{i}" for i in low + c], factor="a",
        positions={"end": 3}, variables={"high": np.ones(n, int)}, corrupt_variables={"high": np.zeros(n, int)},
    )  # fmt: skip


def effects(dictionary, clean, corrupt, told):
    """Return what taking each feature from the corrupt run changes in each pair, in closed form, [feature pair].

    Args:
        dictionary: The dictionary at the end of the layer.
        clean: The stream at the last token of the clean prompts, [pair model].
        corrupt: That of the corrupt prompts.
        told: The pairs.
    """
    unembed = linear.state()["unembed.W_U"].double()
    reads = (unembed[:, told.clean.answer] - unembed[:, told.clean.foil]).T
    moved = (dictionary.encode(corrupt) - dictionary.encode(clean)).double()
    return (moved * (reads @ dictionary.W_dec.double().T)).T.numpy()


class Split:
    """A dictionary that holds the planted directions among others, each as two features: above the mean and below it.

    The other directions and the order of the features are another draw for every seed; nothing is left out.
    """

    def __init__(self, x, seed=0):
        draw = torch.Generator().manual_seed(seed)
        planted = torch.stack([A, E0])
        noise = torch.randn(46, 48, generator=draw)
        rest = torch.linalg.qr((noise - noise @ planted.T @ planted).T).Q.T
        rows = torch.cat([planted, rest, -planted, -rest])
        order = torch.randperm(96, generator=draw)
        self.W_dec, self.b_dec = rows[order], x.mean(0)
        place = order.argsort()
        self.used, self.idle = {int(place[i]) for i in (0, 48)}, {int(place[i]) for i in (1, 49)}

    def encode(self, x):
        return torch.relu((x - self.b_dec) @ self.W_dec.T)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


class TopK:
    """A sparse autoencoder trained in a second: the k largest of rectified features."""

    def __init__(self, x, n_features=96, k=6, steps=400, seed=0):
        draw = torch.Generator().manual_seed(seed)
        self.k, self.b_dec = k, x.mean(0)
        weight = torch.randn(n_features, x.shape[1], generator=draw)
        self.W_dec = (weight / weight.norm(dim=1, keepdim=True)).requires_grad_()
        self.W_enc = self.W_dec.detach().T.clone().requires_grad_()
        self.b_enc = torch.zeros(n_features, requires_grad=True)
        learned = [self.W_enc, self.W_dec, self.b_enc]
        with torch.enable_grad():
            optimizer = torch.optim.Adam(learned, lr=1e-2)
            for _ in range(steps):
                some = x[torch.randint(len(x), (256,), generator=draw)]
                loss = (self.decode(self.encode(some)) - some).square().sum(-1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        for value in learned:
            value.requires_grad_(False)

    def encode(self, x):
        f = torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)
        values, index = f.topk(self.k, dim=-1)
        return torch.zeros_like(f).scatter(-1, index, values)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec
