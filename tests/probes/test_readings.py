"""Readings: what a forward holds at a place, pooled without the padding."""

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Place, Selection, Site
from mechcausal.data import PromptSet
from mechcausal.models.hooked import forward
from mechcausal.probes.readings import readings


@pytest.fixture(scope="module")
def task():
    return mc.task("hiring")


@pytest.fixture(scope="module")
def prompts(hiring, task):
    return task.prompts(hiring, 20)


def test_readings_are_what_a_forward_holds(hiring, prompts):
    part = prompts.take(slice(0, 10))
    sites = [Site.parse(text) for text in ("L1.resid_post", "L2.z.H1", "L2.z", "L3.mlp_post.N5")]
    held = forward(hiring, part, read=[site.whole for site in sites]).read
    at = Selection.parse("@decision")
    found = readings(hiring, part, [Place(site, at) for site in sites], batch_size=3)
    np.testing.assert_allclose(found[0].x, held[sites[0]][:, 7], atol=1e-6)
    np.testing.assert_allclose(found[1].x, held[sites[1].whole][:, 7, 1], atol=1e-6)
    np.testing.assert_allclose(found[2].x, held[sites[2]][:, 7].flatten(1), atol=1e-6)
    np.testing.assert_allclose(found[3].x, held[sites[3].whole][:, 7, [5]], atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_leaves_the_padding_out(hiring, side):
    texts = ["<id> adam <key>", "<id> adam <key> 4 0 7"]
    padded = PromptSet.from_text(hiring, texts, side=side)
    place = [Place(Site("resid_post", 2), Selection())]
    alone = [
        forward(hiring, one, read=[place[0].site]).read[place[0].site][0]
        for one in (PromptSet.from_text(hiring, [text]) for text in texts)
    ]
    mean, most = (readings(hiring, padded, place, pool=pool)[0].x for pool in ("mean", "max"))
    np.testing.assert_allclose(mean, torch.stack([x.mean(0) for x in alone]), atol=1e-5)
    np.testing.assert_allclose(most, torch.stack([x.amax(0) for x in alone]), atol=1e-5)
    each = readings(hiring, padded, place, pool="each")[0]
    np.testing.assert_allclose(each.x, torch.cat(alone), atol=1e-5)
    assert each.rows.tolist() == [0] * 4 + [1] * 7
    short = readings(hiring, padded, [Place(Site("resid_post", 2), Selection.parse("@5"))])[0]
    assert short.rows.tolist() == [1]
