"""The unembedding: the model's own, with caps, and refused where the output is something else."""

import pytest
import torch
from zoo import ARCHITECTURES, loaded, make_pairs

from mechcausal.address import Site
from mechcausal.errors import UnsupportedError
from mechcausal.inspection.unembedding import Unembedding, in_chunks
from mechcausal.models.hooked import forward


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "bert"])
def test_it_is_what_the_model_does(name):
    model, last = loaded(name), Site("resid_post", 2)
    run = forward(model, make_pairs().clean, read=[last])
    unembed = Unembedding(model)
    assert torch.allclose(unembed(run.read[last].flatten(0, 1)), run.logits.flatten(0, 1), atol=1e-3)
    # Along the direction of a token its logit grows, against that of others.
    stream = run.read[last][0, -1:]
    toward = unembed.directions(torch.tensor([7, 8]))
    step = 1e-2 * (toward[0] - toward[1])
    before, after = unembed(stream)[0], unembed(stream + step)[0]
    assert after[7] - after[8] > before[7] - before[8]


def test_another_output_is_refused():
    with pytest.raises(UnsupportedError):
        Unembedding(loaded("bert"))


def test_chunks():
    assert [part.start for part in in_chunks(600)] == [0, 256, 512]
