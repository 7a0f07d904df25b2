"""Attribution without the dictionary in the graph is autograd through the splice, whatever the dictionary and the site."""

import numpy as np
import pytest
import torch
from random_dictionaries import Bent, Rectified, TopK, Turned
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.dictionaries.screening.attribution import attribute, fitting
from mechcausal.errors import ArgumentError, DataError, SiteError
from mechcausal.interventions import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models.attached import detach
from mechcausal.models.binding import attach
from mechcausal.models.hooked import forward

KINDS = {"rectified": Rectified, "sparse": TopK, "orthonormal": Turned, "bent": Bent}


@pytest.fixture
def bind():
    """Attach dictionaries, and detach them after the test: the models are shared."""
    made = []

    def make(model, dictionary, site, name="toy", **options):
        made.append((model, name))
        return attach(model, dictionary, site, name=name, **options)

    yield make
    for model, name in made:
        detach(model, name)


def through_the_splice(model, known, base, source=None, at="@all", name="logit_diff"):
    """Return (f' - f) times autograd's gradient by the features spliced in, summed over tokens, [example feature]."""
    run = forward(model, base, read=[known.features], grad=True)
    with torch.enable_grad():
        total = metric(name)(run.logits, base).sum()
    slope = torch.autograd.grad(total, run.read[known.features])[0]
    f = run.read[known.features].detach()
    new = torch.zeros_like(f) if source is None else forward(model, source, read=[known.features]).read[known.features]
    chosen = (base.select(at) & base.mask)[..., None]
    return ((new - f) * slope * chosen).double().sum(1).numpy()


@pytest.mark.parametrize("site", ["L1.resid_post", "L0.mlp_out", "L1.resid_mid", "L1.z", "L2.mlp_post"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_autograd_through_the_splice(kind, site, bind):
    model, pairs = loaded("gpt2"), make_pairs((7, 5, 7))
    width = 128 if site.endswith("mlp_post") else 32
    known = bind(model, KINDS[kind](width), site)
    assert known.linear == (kind != "bent")
    found = attribute(model, pairs, known)
    expected = through_the_splice(model, known, pairs.corrupt, pairs.clean).mean(0)
    np.testing.assert_allclose(found.scores[0], expected, rtol=1e-5, atol=1e-6 * max(1, np.abs(expected).max()))
    assert np.abs(expected).max() > 1e-3
    alone = attribute(model, pairs.clean, known)
    expected = through_the_splice(model, known, pairs.clean).mean(0)
    np.testing.assert_allclose(alone.scores[0], expected, rtol=1e-5, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_on_other_architectures_with_padding_at_a_position(name, side, bind):
    model, pairs = loaded(name), make_pairs((6, 8, 5, 8), side=side)
    known = bind(model, TopK(32), "L1.resid_post")
    for at in ("@-1", "@3", "@all"):
        found = attribute(model, pairs, known, at=at, metric="logprob", batch_size=3)
        rows = [
            through_the_splice(model, known, pairs.corrupt.take([i]), pairs.clean.take([i]), at, "logprob")
            for i in range(4)
        ]
        np.testing.assert_allclose(found.scores[0], np.concatenate(rows).mean(0), rtol=1e-4, atol=2e-6)


def test_neither_chunks_nor_batches_matter(gpt2, pairs, bind):
    known = bind(gpt2, TopK(32), "L1.resid_post")
    whole = attribute(gpt2, pairs, known)
    small = attribute(gpt2, pairs, known, batch_size=2, budget=96 * 4 * 4 * 3)  # three tokens at a time
    np.testing.assert_allclose(small.scores, whole.scores, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(small.active, whole.active)
    np.testing.assert_array_equal(small.moved, whole.moved)


def test_as_many_prompts_as_fit_with_all_their_features(gpt2, bind):
    small, large = (bind(gpt2, TopK(32, n=n), "L1.resid_post", f"d{n}") for n in (96, 60_000))
    assert fitting(64, 7, small) == 64
    assert fitting(64, 64, small, large) == fitting(64, 64, large) == 10  # 768 MiB / (5 arrays of 64 x 60,000 floats)
    assert fitting(64, 10**6, large) == 1


def test_gathering_and_multiplying_agree(gpt2, pairs, bind, monkeypatch):
    known = bind(gpt2, Rectified(32), "L1.resid_post")
    dense = attribute(gpt2, pairs, known, budget=4096)
    monkeypatch.setattr("mechcausal.dictionaries.screening.attribution._DENSE", 0)
    gathered = attribute(gpt2, pairs, known)
    np.testing.assert_allclose(gathered.scores, dense.scores, rtol=1e-5, atol=1e-6)


def test_what_is_counted(gpt2, pairs, bind):
    known = bind(gpt2, TopK(32), "L1.resid_post")
    found = attribute(gpt2, pairs, known, parts=[0, 1, 1, 0, 1, 1])
    here, there = (
        forward(gpt2, side, read=[known.features]).read[known.features] for side in (pairs.corrupt, pairs.clean)
    )
    np.testing.assert_array_equal(found.active, (here != 0).sum((0, 1)).numpy())
    np.testing.assert_array_equal(found.moved, (here != there).sum((0, 1)).numpy())
    assert found.tokens == int(pairs.corrupt.mask.sum())
    assert found.n == (2, 4)
    each = through_the_splice(gpt2, known, pairs.corrupt, pairs.clean)
    np.testing.assert_allclose(found.scores, [each[[0, 3]].mean(0), each[[1, 2, 4, 5]].mean(0)], rtol=1e-4, atol=2e-6)


def test_along_the_path_features_and_error_share_out_the_exact_effect(gpt2, bind):
    """The whole activation moves in a straight line, so what it does is the sum over features, and over the error."""
    pairs = make_pairs((7,) * 4)
    orthonormal = bind(gpt2, Turned(32), "L0.attn_out")  # its error is zero
    exact = mc.patch(gpt2, pairs, sites="L0.attn_out", at="all").frame["change"][0]
    for steps, gap in ((0, np.inf), (24, 5e-3)):
        total = attribute(gpt2, pairs, orthonormal, steps=steps).scores.sum()
        assert abs(total - exact) < gap
    assert abs(total - exact) < 0.2 * abs(attribute(gpt2, pairs, orthonormal).scores.sum() - exact)


def test_a_metric_that_is_linear_in_the_features_is_foretold_exactly(by_hand, bind):
    """Behind the last layer the log-odds is linear, so first order is exact, feature by feature."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=6)
    known = bind(by_hand, Turned(12), "L1.resid_post")
    found = attribute(by_hand, pairs, known)
    source = forward(by_hand, pairs.clean, read=[known.features]).read[known.features]
    logit_diff = metric("logit_diff")
    base = logit_diff(forward(by_hand, pairs.corrupt).logits, pairs.corrupt)
    for number in range(12):
        run = forward(by_hand, pairs.corrupt, [Edit(known.feature(number), Patch())], sources=[source])
        exact = (logit_diff(run.logits, pairs.corrupt) - base).mean()
        assert found.scores[0, number] == pytest.approx(float(exact), abs=1e-5)
    assert np.abs(found.scores).max() > 0.1


def test_a_transcoder_is_differentiated_where_it_writes(gpt2, pairs, bind):
    known = bind(gpt2, Rectified(32, seed=3), "L1.resid_mid", site_out="L1.mlp_out")
    found = attribute(gpt2, pairs, known)
    expected = through_the_splice(gpt2, known, pairs.corrupt, pairs.clean).mean(0)
    np.testing.assert_allclose(found.scores[0], expected, rtol=1e-5, atol=1e-6)


def test_bad_input(gpt2, llama, pairs, bind):
    known = bind(gpt2, Turned(32), "L1.resid_post")
    with pytest.raises(DataError, match="'accuracy' has no gradient"):
        attribute(gpt2, pairs, known, metric="accuracy")
    with pytest.raises(DataError, match="no slope"):
        attribute(gpt2, pairs, known, metric="kl", direction="noise")
    with pytest.raises(DataError, match="a path leads"):
        attribute(gpt2, pairs.clean, known, steps=4)
    with pytest.raises(DataError, match="one part"):
        attribute(gpt2, pairs, known, parts=[0, 1])
    with pytest.raises(SiteError, match="attached to another model"):
        attribute(llama, pairs, known)
    with pytest.raises(SiteError, match="no dictionary called 'toi'"):
        attribute(gpt2, pairs, "toi")
    with pytest.raises(ArgumentError, match="a Bound or a text"):
        attribute(gpt2, pairs, Turned(32))
