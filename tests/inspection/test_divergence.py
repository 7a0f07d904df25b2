"""The divergence of a reading from the output: as written out in the definition, and none from itself."""

import torch
from zoo import loaded, make_pairs

from mechcausal.address import Site
from mechcausal.inspection.divergence import Output
from mechcausal.inspection.unembedding import Unembedding
from mechcausal.models.hooked import readings


def test_it_is_that_of_the_distributions():
    model, sites = loaded("gemma2"), [Site("resid_post", layer) for layer in (0, 2)]  # which caps its logits
    streams = [values.flatten(0, 1) for values in readings(model, make_pairs().clean, sites).values()]
    unembed = Unembedding(model)
    read, final = (unembed(stream).double().log_softmax(-1) for stream in streams)
    output = Output(unembed, streams[1])
    assert len(read) % 8  # the last rows are fewer
    assert torch.allclose(output.divergence(streams[0]).double(), (final.exp() * (final - read)).sum(-1), atol=1e-5)
    assert output.divergence(streams[1]).max() < 1e-5
    assert len(Output(unembed, streams[1][:0]).divergence(streams[0][:0])) == 0
