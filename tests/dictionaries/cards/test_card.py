"""A card says what can be counted by hand, its effects are those of interventions, and prompts cannot write HTML."""

import re
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_dictionaries import Bent, Rectified, TopK
from reading_html import parsed
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.dictionaries.cards.card import EVERYONE, card
from mechcausal.dictionaries.cards.page import fragment, page
from mechcausal.errors import ArgumentError, ResultError, SiteError
from mechcausal.interventions import Edit, Zero
from mechcausal.metrics import metric
from mechcausal.models.attached import detach
from mechcausal.models.binding import attach
from mechcausal.models.hooked import forward

SITE = "L1.resid_post"


@pytest.fixture(scope="module")
def prompts():
    plain = make_pairs((7, 5, 6, 7, 4, 7), seed=5).clean
    return replace(plain, groups=("b", "a", "b", "a", "a", "b"), clusters=("x", "x", "y", "y", "z", "w"))


@pytest.fixture(scope="module")
def known():
    model = loaded("gpt2")
    yield attach(model, TopK(32), SITE, name="carded")
    detach(model, "carded")


@pytest.fixture(scope="module")
def number(known, prompts):
    """The feature that is active most often."""
    f = forward(loaded("gpt2"), prompts, read=[known.features]).read[known.features]
    return int((f[prompts.mask] != 0).sum(0).argmax())


@pytest.fixture(scope="module")
def found(known, number, prompts):
    return card(loaded("gpt2"), prompts, known, number, exact_logits=True, bins=5, tokens=6)


@pytest.fixture(scope="module")
def activations(known, number, prompts):
    f = forward(loaded("gpt2"), prompts, read=[known.features]).read[known.features]
    return torch.where(prompts.mask, f[..., number], 0.0)


def test_what_is_counted(found, activations, prompts):
    values = activations[prompts.mask]
    assert found.tokens == len(values)
    assert found.active == pytest.approx(float((values != 0).float().mean()))
    assert found.largest == pytest.approx(float(values.max()))
    for spread in found.spreads:
        rows = torch.tensor([spread.group in (EVERYONE, group) for group in prompts.groups])
        own = activations[rows][prompts.mask[rows]]
        assert spread.n == len(own)
        assert spread.active == pytest.approx(float((own != 0).float().mean()))
        assert sum(spread.counts) == int((own != 0).sum())
        assert spread.mean == pytest.approx(float(own[own != 0].mean()))
    assert [spread.group for spread in found.spreads] == [EVERYONE, "a", "b"]


def test_contexts_begin_with_the_largest_and_no_text_comes_twice(found, activations, known, number, prompts):
    peaks = sorted((float(row.max()) for row in activations if float(row.max()) > 0), reverse=True)
    np.testing.assert_allclose([max(context.values) for context in found.contexts], peaks, rtol=1e-5)
    first = found.contexts[0]
    row = int(activations.amax(1).argmax())
    np.testing.assert_allclose(first.values, activations[row][prompts.mask[row]].numpy(), rtol=1e-5)
    assert first.group == prompts.groups[row]
    assert first.cut == (False, False)
    twice = card(loaded("gpt2"), prompts.take([row, row, row]), known, number)
    assert len(twice.contexts) == 1


def test_long_prompts_are_cut_around_the_peak(known, number):
    prompts = make_pairs((32, 32), seed=5).clean
    for context in card(loaded("gpt2"), prompts, known, number).contexts:
        peak = int(np.argmax(context.values))
        assert context.cut[0] == (peak == 14)
        assert len(context.tokens) <= 29


def test_exact_logit_effects_are_those_of_the_run_without_it(found, known, number, prompts, activations):
    model = loaded("gpt2")
    without = forward(model, prompts, [Edit(known.feature(number), Zero())]).logits
    live = (activations != 0) & prompts.mask
    change = (forward(model, prompts).logits - without)[live].mean(0)
    change = change - change.mean()
    shown = [int(token.strip("[]")) for token in found.logits["token"]]  # there is no tokenizer: tokens are numbers
    np.testing.assert_allclose(found.logits["exact"], change[shown].numpy(), atol=1e-5)


def test_direct_logit_effects_go_through_the_last_norm_alone(found, known, number, prompts, activations):
    model = loaded("gpt2")
    bare = model.original_model
    final = forward(model, prompts, read=[Site("resid_post", 2)]).read[Site("resid_post", 2)]
    read = lambda stream: model.unembed(model.ln_final(stream))  # noqa: E731
    lost = activations[..., None] * known.W_dec[number]
    live = (activations != 0) & prompts.mask
    change = (read(final) - read(final - lost))[live].detach().mean(0)
    change = change - change.mean()
    ranked = change.argsort(descending=True)
    shown = [int(token.strip("[]")) for token in found.logits["token"]]
    assert shown == [*ranked[:6].tolist(), *ranked[-6:].tolist()]
    np.testing.assert_allclose(found.logits["direct"], change[shown].numpy(), atol=1e-5)
    assert bare is model.original_model


def test_behind_the_last_layer_the_direct_effect_is_the_exact_one(prompts):
    model = loaded("llama")
    known = attach(model, Rectified(32), "L2.mlp_out", name="last")
    told = card(model, prompts, known, 3, exact_logits=True)
    np.testing.assert_allclose(told.logits["direct"], told.logits["exact"], atol=2e-5)
    assert told.logits["direct"].abs().max() > 1e-3
    detach(model, "last")


def test_nearest_features(found, known, number):
    weight = known.W_dec
    cosine = torch.nn.functional.cosine_similarity(weight, weight[number][None], dim=1).numpy()
    order = [i for i in np.argsort(-cosine) if i != number][:6]
    assert found.neighbors["feature"].tolist() == order
    np.testing.assert_allclose(found.neighbors["cosine"], cosine[order], atol=1e-6)


def test_effects_on_every_metric_in_every_group(found, known, number, prompts):
    model = loaded("gpt2")
    runs = forward(model, prompts), forward(model, prompts, [Edit(known.feature(number), Zero())])
    for name in ("logit_diff", "kl"):
        before, after = (metric(name)(run.logits, prompts, runs[0].logits).numpy() for run in runs)
        for group in (EVERYONE, "a", "b"):
            own = np.array([group in (EVERYONE, other) for other in prompts.groups])
            row = found.effects.set_index(["metric", "group"]).loc[(name, group)]
            assert row["change"] == pytest.approx((after - before)[own].mean(), abs=2e-5)
            assert row["base"] == pytest.approx(before[own].mean(), abs=2e-5)
            assert row["n"] == own.sum()
    assert found.do == "zero"


def test_of_pairs_it_is_taken_from_the_other_prompt(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=24)
    axes = {"W_dec": torch.eye(12), "encode": lambda self, x: x, "decode": lambda self, f: f}
    known = attach(by_hand, type("Axes", (), axes)(), "L0.resid_post", name="axes")
    told = card(by_hand, pairs, known, 5, metrics=["logit_diff"])
    high = float((pairs.clean.variables["level"] == 1).float().mean())
    row = told.effects[told.effects["group"] == EVERYONE].iloc[0]
    assert row["change"] == pytest.approx(-2.6 - 0.9 * high, abs=1e-5)
    assert told.do == "patch"
    assert "taking it from the other prompt" in told.html()
    unread = card(by_hand, pairs, known, 6, metrics=["logit_diff"])
    assert unread.effects["change"].abs().max() < 1e-6
    assert "he" in told.contexts[0].tokens
    detach(by_hand, "axes")


def test_a_feature_that_is_never_active_has_a_card_too(prompts):
    model = loaded("gpt2")
    known = attach(model, Rectified(32, bias=-1e6), SITE, name="dead")
    told = card(model, prompts, known, 0)
    assert told.active == 0
    assert not told.contexts
    assert not len(told.logits)
    assert told.effects["change"].abs().max() == 0
    assert "nowhere in these prompts" in told.html()
    assert "active on 0.00%" in told.summary()
    detach(model, "dead")


def test_a_decoder_that_is_not_linear_is_told_by_exact_effects_alone(prompts):
    model = loaded("gpt2")
    known = attach(model, Bent(32), SITE, name="bent")
    told = card(model, prompts, known, 0)
    assert list(told.logits.columns) == ["token", "exact"]
    detach(model, "bent")


# How it looks


def test_the_page_is_whole_and_asks_for_nothing(found, tmp_path):
    read = parsed(page(found))
    assert "script" not in read.seen
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page(found))
    assert str(found.site) in "".join(read.text)
    assert found.save(tmp_path / "card.html").read_text(encoding="utf-8") == page(found)
    assert found._repr_html_() == fragment(found)


def test_a_place_that_cannot_be_written_is_one_sentence(found, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ResultError, match=r"could not be written.*nothing is lost"):
        found.save("/proc/nothing/card.html")


def test_bad_input(known, prompts):
    model = loaded("gpt2")
    with pytest.raises(SiteError, match="0 to 95"):
        card(model, prompts, known, 96)
    with pytest.raises(ArgumentError, match="whole number of at least 1"):
        card(model, prompts, known, 0, bins=0)
