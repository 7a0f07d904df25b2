"""Facts of SmolLM2-135M-Instruct, measured before this code was written, come out again over seeds and templates."""

import numpy as np
import pytest
import torch
from ioi_prompts import TEMPLATES, ioi_pairs
from plain_llama import run

import mechcausal as mc
from mechcausal.metrics import METRICS
from mechcausal.models.engine import measure

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def heads(smollm2):
    """Return the effect of denoising each head, 8 pairs of one template."""
    return mc.patch(smollm2, ioi_pairs(smollm2, 8, seed=2), sites="z").frame.set_index("site")["effect"]


def test_what_it_completes(plain, smollm2):
    begin = smollm2.tokenizer.bos_token_id
    tokens = [begin, *smollm2.tokenizer("The capital of France is")["input_ids"]]
    logits, _ = run(plain, torch.tensor([tokens]))
    assert smollm2.tokenizer.decode([int(logits.argmax())]) == " Paris"


def test_indirect_objects(smollm2):
    """Accuracy is that of the answer against the other name."""
    odds = [
        measure(
            smollm2, ioi_pairs(smollm2, 60, seed=seed, templates=TEMPLATES[:2]).clean, METRICS["logit_diff"],
            batch_size=60,
        ).values[0]
        for seed in range(3)
    ]  # fmt: skip
    assert min((values > 0).mean() for values in odds) >= 0.97
    assert 4.5 <= np.mean(odds) <= 5.5


def test_the_heads_that_name(heads):
    order = heads.sort_values(ascending=False)
    assert list(order.index[:1]) == ["L23.z.H3"]
    assert set(order.index[:4]) >= {"L23.z.H3", "L20.z.H0", "L29.z.H1"}
    assert heads["L23.z.H3"] == pytest.approx(0.47, abs=0.12)


def test_the_negative_head(heads):
    assert heads.idxmin() == "L29.z.H0"
    assert heads["L29.z.H0"] == pytest.approx(-0.25, abs=0.08)


def test_the_head_upstream(smollm2, heads):
    """L17.H4 acts through later values, which are moved to the end: to the logits it has no path of its own."""
    assert heads["L17.z.H4"] > 0.15
    pairs = ioi_pairs(smollm2, 4, seed=2)
    direct, through = (
        mc.path_patch(smollm2, pairs, senders="L17.z.H4", receivers=receivers).frame["effect"].item()
        for receivers in ("logits", "L20.v.H*")
    )
    assert abs(direct) < 0.01
    assert through > 0.05


def test_where_the_stream_carries_it(smollm2):
    """At the second subject's token from L15 to L19, later at the end."""
    pairs = ioi_pairs(smollm2, 8, seed=3)
    second = pairs.clean.real_tokens[0].index(pairs.clean.foil[0].item(), 6)
    sweep = mc.patch(smollm2, pairs, sites=["L15.resid_pre", "L26.resid_pre"], at=[second, -1]).frame["effect"]
    assert np.allclose(sweep, [1, 0, 0, 1], atol=0.15)
