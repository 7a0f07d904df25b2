"""Health: each measure against its definition, on dictionaries whose worth is known."""

import json
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from plain_dictionaries import TopK, Turned, attached_to
from zoo import make_pairs

import mechcausal as mc
from mechcausal.dictionaries import quality
from mechcausal.dictionaries.quality import health
from mechcausal.errors import DataError, ResultError, SiteError
from mechcausal.interventions import Edit, Patch
from mechcausal.models.hooked import forward

SITE = "L1.resid_post"


@pytest.fixture
def prompts():
    return make_pairs(lengths=(7, 5, 6, 7, 4, 7, 5, 6)).clean


class Constant(TopK):
    """A dictionary that says nothing: no feature is ever active, and its bias is the mean of the activations."""

    def __init__(self, mean):
        super().__init__(len(mean))
        self.b_dec = mean

    def encode(self, x):
        return torch.zeros(*x.shape[:-1], len(self.W_dec))


def test_a_dictionary_that_reconstructs_everything(gpt2, prompts):
    with attached_to(gpt2, Turned(32), SITE) as one:
        found = health(gpt2, prompts, one)
    assert found["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert found["kl_recovered"] == pytest.approx(1, abs=1e-5)
    assert found["loss_recovered"] == pytest.approx(1, abs=1e-2)
    assert (found["l0"], found["dead"]) == (32, 0)


def test_a_dictionary_that_says_nothing(gpt2, prompts):
    from mechcausal.address import Site

    x = forward(gpt2, prompts, read=[Site.parse(SITE)]).read[Site.parse(SITE)][prompts.mask]
    with attached_to(gpt2, Constant(x.mean(0)), SITE) as one:
        found = health(gpt2, prompts, one, batch_size=3)
    assert found["explained_variance"] == pytest.approx(0, abs=1e-5)
    assert found["kl_recovered"] == pytest.approx(0, abs=1e-4)
    assert (found["l0"], found["dead"]) == (0, 1)
    assert np.isnan(found.size).all()


@pytest.mark.parametrize("answers", [True, False])
def test_every_measure_is_what_it_says(gpt2, prompts, answers):
    """Against numbers taken apart: features, reconstruction and two edited runs, prompt by prompt."""
    if not answers:
        prompts = mc.PromptSet(tokens=prompts.tokens, mask=prompts.mask, side=prompts.side)
    with attached_to(gpt2, TopK(32, k=5), SITE) as one:
        found = health(gpt2, prompts, one, batch_size=3)
        x = forward(gpt2, prompts, read=[one.site]).read[one.site]
        f = one.encode(x)
        whole, mean = one.decode(f), x[prompts.mask].mean(0).expand_as(x)
        plain, spliced, ablated = (
            forward(gpt2, prompts, [Edit(one.site, Patch())], sources=[value]).logits.log_softmax(-1)
            for value in (x, whole, mean)
        )
    real = prompts.mask
    assert found.n_tokens == int(real.sum())
    assert found["l0"] == pytest.approx(float((f[real] > 0).sum(-1).float().mean()))
    assert found["dead"] == pytest.approx(float((f[real] == 0).all(0).float().mean()))
    np.testing.assert_allclose(found.frequency, (f[real] > 0).float().mean(0), atol=1e-6)
    active = (f[real] > 0).any(0).numpy()
    np.testing.assert_allclose(found.size[active], (f[real].sum(0) / (f[real] > 0).sum(0)).numpy()[active], rtol=1e-5)
    lost = ((x - whole)[real].square().sum(-1), (x - mean)[real].square().sum(-1))
    assert found["explained_variance"] == pytest.approx(1 - float(lost[0].sum() / lost[1].sum()), abs=1e-5)
    apart = [(plain.exp() * (plain - other)).sum(-1) for other in (spliced, ablated)]
    if answers:
        assert found.where == "answer"
        rows = torch.arange(len(prompts))
        at = rows, prompts.read_columns
        kl = [part[at].mean() for part in apart]
        loss = [-out[at][rows, prompts.answer].mean() for out in (plain, spliced, ablated)]
    else:
        assert found.where == "tokens"
        kl = [((part * real).sum(1) / real.sum(1)).mean() for part in apart]
        counted = (real[:, 1:] & real[:, :-1]).float()
        nll = [-out[:, :-1].gather(2, prompts.tokens[:, 1:, None])[..., 0] for out in (plain, spliced, ablated)]
        loss = [((part * counted).sum(1) / counted.sum(1)).mean() for part in nll]
    assert found["kl_spliced"] == pytest.approx(float(kl[0]), rel=1e-4)
    assert found["kl_recovered"] == pytest.approx(1 - float(kl[0] / kl[1]), abs=1e-4)
    for name, value in zip(("loss_clean", "loss_spliced", "loss_ablated"), loss, strict=True):
        assert found[name] == pytest.approx(float(value), rel=1e-4)
    recovered = float((loss[2] - loss[1]) / (loss[2] - loss[0]))
    assert found["loss_recovered"] == pytest.approx(recovered, rel=1e-2)


def test_the_share_of_the_error_is_its_effect(gpt2):
    pairs = make_pairs(lengths=(7,) * 12)
    with attached_to(gpt2, TopK(32), SITE) as one:
        found = health(gpt2, pairs, one)
        error, whole = mc.patch(
            gpt2, pairs, sites=[str(one.error), SITE], at="all", direction="noise", exact="naive"
        ).frame["change"]
    assert abs(whole) > 0.1
    assert found["error_share"] == pytest.approx(error / whole, abs=1e-4)
    assert any("fifth" in text for text in found.warnings) == (abs(error / whole) > 0.2)
    with attached_to(gpt2, Turned(32), SITE) as one:
        assert health(gpt2, pairs.clean, one, pairs=pairs)["error_share"] == pytest.approx(0, abs=1e-4)


def test_the_first_token_is_left_as_it_is(hiring):
    """A begin-of-text token is like no other: a dictionary that was not trained on it is not measured on it."""
    prompts = mc.task("hiring").prompts(hiring, n=32, seed=5)
    one = mc.features.load(hiring, "organism:hiring")
    try:
        without, within = (health(hiring, prompts, one, skip_first=skip) for skip in (None, False))
    finally:
        mc.features.detach(hiring, "hiring")
    assert without.n_tokens == within.n_tokens - 32
    assert without["explained_variance"] > within["explained_variance"] + 0.005


def test_the_order_and_the_batches_do_not_matter(gpt2, prompts):
    with attached_to(gpt2, TopK(32), SITE) as one:
        first, other = (
            health(gpt2, prompts, one, batch_size=8),
            health(gpt2, prompts.take([3, 1, 7, 0, 5, 2, 6, 4]), one, batch_size=3),
        )
    pd.testing.assert_frame_equal(first.frame, other.frame, atol=1e-4, rtol=1e-4)


def test_what_is_shown_and_saved(gpt2, prompts, tmp_path):
    with attached_to(gpt2, TopK(32), SITE) as one:
        found = health(gpt2, prompts, "small")
        assert found.site == str(one.features)
        with pytest.raises(DataError, match="'ev' was not measured"):
            found["ev"]
    assert "explained_variance" in str(found)
    assert "<table" in found._repr_html_()
    assert len(found.features) == 48
    told = json.loads(found.save(tmp_path / "health.json").read_text())
    assert told["measures"]["l0"]["estimate"] == found["l0"]
    assert told["measures"]["dead"]["low"] is None
    assert told["provenance"]["prompts"]["hash"] == prompts.hash
    with attached_to(gpt2, TopK(32, seed=1), SITE), pytest.raises(SiteError, match="or no longer to this one"):
        health(gpt2, prompts, one)


@pytest.mark.parametrize("skip_first", [True, False])
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("site", ["L1.resid_post", "L1.mlp_out", "L0.resid_pre"])
def test_the_layers_above_alone_give_the_same(llama, prompts, monkeypatch, site, answers, skip_first):
    if not answers:
        prompts = mc.PromptSet(tokens=prompts.tokens, mask=prompts.mask, side=prompts.side)
    with attached_to(llama, TopK(32, k=5), site) as one:
        assert quality._twin(llama, one) is not None
        fast, cost = health(llama, prompts, one, skip_first=skip_first), health.cost(llama, prompts, one)
        monkeypatch.setattr(quality, "_twin", lambda *_: None)
        slow, more = health(llama, prompts, one, skip_first=skip_first), health.cost(llama, prompts, one)
    for name, interval in slow.measures.items():
        assert fast[name] == pytest.approx(interval.estimate, rel=1e-4, abs=1e-5), name
    assert cost.forwards <= more.forwards <= 4 * len(prompts)
    assert (cost.forwards < more.forwards) == (site != "L0.resid_pre")


def test_batches_hold_little_padding(llama, monkeypatch):
    """Of 40 prompts of 3 to 30 tokens: less than a tenth of all that is computed."""
    prompts = make_pairs(lengths=tuple(3 + (7 * number) % 28 for number in range(40))).clean
    computed = []
    real = quality._Counts.of
    monkeypatch.setattr(quality._Counts, "of", lambda self, batch: (computed.append(batch.mask), real(self, batch))[1])
    with attached_to(llama, TopK(32, k=5), "L1.resid_post") as one:
        health(llama, prompts, one)
    assert sum(int(mask.sum()) for mask in computed) == int(prompts.lengths.sum())
    assert 1 - int(prompts.lengths.sum()) / sum(mask.numel() for mask in computed) < 0.1


def test_a_place_that_cannot_be_written_is_one_sentence(gpt2, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with attached_to(gpt2, TopK(32), SITE):
        found = health(gpt2, prompts, "small")
    with pytest.raises(ResultError, match=r"could not be written.*nothing is lost"):
        found.save("/proc/nothing/health.json")
