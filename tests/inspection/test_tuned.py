"""Translators: a plain affine relation is found, and where there is nothing to translate the lens stays the logit lens."""

import torch

from mechcausal.address import Site
from mechcausal.inspection.tuned import Translators, _ridge


def test_an_affine_relation_is_found():
    draw = torch.Generator().manual_seed(0)
    stream = torch.randn(400, 6, generator=draw)
    matrix, shift = torch.randn(6, 6, generator=draw), torch.randn(6, generator=draw)
    found = _ridge(stream, stream + stream @ matrix + shift)
    assert torch.allclose(found[1e-3][0], matrix, atol=2e-2)
    assert torch.allclose(found[1e-3][1], shift, atol=2e-2)
    lens = Translators({Site("resid_post", 0): found[1e-3]})
    assert torch.allclose(lens(Site("resid_post", 0), stream), stream + stream @ matrix + shift, atol=0.1)
    assert lens(Site("resid_post", 1), stream) is stream
    strong = _ridge(stream, stream + stream @ matrix + shift)[1.0][0]
    assert strong.norm() < found[1e-3][0].norm()
