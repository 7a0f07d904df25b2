"""A feature is a site: read and edited exactly, next to an error that is a site of its own."""

import numpy as np
import pytest
import torch
from plain_dictionaries import TopK, Turned, attached_to
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.errors import InterventionError, ModelError, NumericsError, SiteError, UnsupportedError
from mechcausal.interventions import Add, Edit, Patch, Resample, Scale, Set, Zero
from mechcausal.interventions.specs import Interpolate
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import attach, attached, bound
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward, gradients

SITES = ("embed", "L1.resid_pre", "L1.resid_mid", "L1.resid_post", "L1.attn_out", "L1.mlp_out", "L1.mlp_post", "L1.z")
WIDTHS = {"L1.mlp_post": 128}
SWEPT: list = [
    ("gpt2", site) for site in ("L1.resid_post", "L1.mlp_out", "L1.z", "L1.resid_mid", "L0.mlp_post", "embed")
]
SWEPT += [
    ("llama", "L1.z"),
    ("gemma2", "L1.resid_mid"),
    ("opt", "L1.z"),
    ("neox", "L1.resid_post"),
    ("bert", "L1.resid_post"),
]
SWEPT += [pytest.param(*case, marks=pytest.mark.slow) for case in (("gemma2", "L1.z"), ("opt", "L1.mlp_out"))]


def on(model, site, name="small", **options):
    return attached_to(model, TopK(WIDTHS.get(site, 32), **options), site, name)


def dense(bound, f):
    """Return what features decode to, from the weights themselves."""
    return f @ bound.dictionary.W_dec + bound.dictionary.b_dec


# One forward


@pytest.mark.parametrize("site", SITES)
def test_an_edit_that_changes_nothing_is_exactly_nothing(gpt2, pairs, site):
    plain = forward(gpt2, pairs.clean).logits
    with on(gpt2, site) as small:
        some = forward(gpt2, pairs.clean, read=[small.features]).read[small.features]
        assert 0 < (some > 0).float().mean() < 0.5
        for do, source in ((Scale(1.0), None), (Add(0.0), None), (Patch(), some)):
            assert torch.equal(forward(gpt2, pairs.clean, [Edit(small.features, do)], sources=[source]).logits, plain)
        assert torch.equal(forward(gpt2, pairs.clean, [Edit(small.error, Scale(1.0))]).logits, plain)


@pytest.mark.parametrize("site", SITES)
def test_one_feature_moves_the_activation_along_its_decoder_row(gpt2, pairs, site):
    with on(gpt2, site) as small:
        before = forward(gpt2, pairs.clean, read=[small.site, small.features, small.error]).read
        x, f, e = (before[place] for place in (small.site, small.features, small.error))
        torch.testing.assert_close((dense(small, f) + e.reshape(*e.shape[:2], -1)).reshape(x.shape), x)
        busiest = int(f.sum((0, 1)).argmax())
        edit = Edit(small.feature(busiest), Set(2.0), Selection.parse("2:5"))
        after = forward(gpt2, pairs.clean, [edit], read=[small.site, small.features]).read
        moved = torch.zeros_like(f)
        moved[:, 2:5, busiest] = 2.0 - f[:, 2:5, busiest]
        assert float(moved.abs().max()) > 0.5
        torch.testing.assert_close(after[small.site], x + (moved @ small.W_dec).reshape(x.shape), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(after[small.features], f + moved)


def test_reconstruction_and_error_together_are_the_activation(gpt2, pairs):
    plain = forward(gpt2, pairs.clean).logits
    with on(gpt2, "L1.resid_post") as small:
        read = forward(gpt2, pairs.clean, read=[small.features, small.error]).read
        whole = dense(small, read[small.features]) + read[small.error]
        rebuilt = forward(gpt2, pairs.clean, [Edit(small.site, Patch())], sources=[whole]).logits
        assert float((rebuilt - plain).abs().max()) <= 5e-6
        # Without features the error and the bias are left, which is something else.
        empty = forward(gpt2, pairs.clean, [Edit(small.features, Zero())], read=[small.site])
        torch.testing.assert_close(empty.read[small.site], read[small.error] + small.dictionary.b_dec)
        only = forward(gpt2, pairs.clean, [Edit(small.error, Zero())], read=[small.site])
        torch.testing.assert_close(only.read[small.site], dense(small, read[small.features]))


def test_dictionaries_at_one_site_add_up_and_across_layers_follow_each_other(gpt2, pairs):
    first, second = TopK(32, seed=1), TopK(32, seed=2)
    with (
        attached_to(gpt2, first, "L0.resid_post", "one") as one,
        attached_to(gpt2, second, "L0.resid_post", "two") as two,
    ):
        x = forward(gpt2, pairs.clean, read=[one.site]).read[one.site]
        edits = [Edit(one.features, Zero()), Edit(two.features, Scale(2.0))]
        together = forward(gpt2, pairs.clean, edits, read=[one.site, one.features, two.features]).read
        expected = x - first.encode(x) @ first.W_dec + second.encode(x) @ second.W_dec
        torch.testing.assert_close(together[one.site], expected)
        torch.testing.assert_close(together[two.features], 2 * second.encode(x))
        torch.testing.assert_close(forward(gpt2, pairs.clean, edits[::-1], read=[one.site]).read[one.site], expected)
        # A dictionary that only reads sees what the other did.
        seen = forward(gpt2, pairs.clean, edits[:1], read=[two.features]).read[two.features]
        torch.testing.assert_close(seen, second.encode(x - first.encode(x) @ first.W_dec))
        with attached_to(gpt2, TopK(32, seed=3), "L2.resid_pre", "late") as late:
            both = forward(
                gpt2, pairs.clean, [edits[0], Edit(late.error, Zero())], read=[late.site, late.features]
            ).read
            earlier = forward(gpt2, pairs.clean, edits[:1], read=[late.features]).read[late.features]
            torch.testing.assert_close(both[late.features], earlier)
            torch.testing.assert_close(both[late.site], dense(late, earlier))


def test_edits_of_features_and_of_the_activation_keep_their_order(gpt2, pairs):
    with on(gpt2, "L1.resid_post") as small:
        x = forward(gpt2, pairs.clean, read=[small.site]).read[small.site]
        after = forward(
            gpt2, pairs.clean, [Edit(small.site, Scale(0.5)), Edit(small.features, Zero())], read=[small.site]
        )
        f = small.dictionary.encode(0.5 * x)
        torch.testing.assert_close(after.read[small.site], 0.5 * x - f @ small.W_dec)
        before = forward(
            gpt2, pairs.clean, [Edit(small.features, Zero()), Edit(small.site, Scale(0.5))], read=[small.site]
        )
        torch.testing.assert_close(before.read[small.site], 0.5 * (x - small.dictionary.encode(x) @ small.W_dec))


def test_a_transcoder_reads_one_activation_and_writes_another(gpt2, pairs):
    coder = TopK(32, seed=4)
    plain = forward(gpt2, pairs.clean).logits
    with attached_to(gpt2, coder, "L1.resid_mid", "over", site_out="L1.mlp_out") as over:
        assert str(over.feature(3)) == "L1.resid_mid.sae:over.F3"
        read = [over.site, Site("mlp_out", 1), over.features, over.error]
        before = forward(gpt2, pairs.clean, read=read).read
        x, y, f, e = (before[place] for place in read)
        torch.testing.assert_close(f, coder.encode(x))
        torch.testing.assert_close(e, y - coder.decode(f))
        assert torch.equal(
            forward(gpt2, pairs.clean, [Edit(over.features, Scale(1.0)), Edit(over.error, Scale(1.0))]).logits, plain
        )
        after = forward(gpt2, pairs.clean, [Edit(over.features, Scale(3.0)), Edit(over.error, Zero())], read=read).read
        torch.testing.assert_close(after[over.site], x)
        torch.testing.assert_close(after[Site("mlp_out", 1)], coder.decode(3 * f))
        swept = mc.ablate(
            gpt2, pairs, sites=[str(over.feature(int(f.sum((0, 1)).argmax()))), str(over.error)], do="zero"
        )
        assert (swept.frame["change"].abs() > 1e-4).all()
        assert "transcoder" in str(swept.provenance.compute["naive_because"])


# Gradients


@pytest.mark.parametrize("site", ["L1.resid_post", "L1.resid_mid", "L1.z"])
def test_gradients_by_features_and_error_are_those_of_the_activation(gpt2, pairs, site):
    """With the error kept, d metric / d f is W_dec . d metric / d x, and by the error it is d metric / d x itself."""
    with on(gpt2, site) as small:
        places = [small.features, small.error]
        run = forward(gpt2, pairs.clean, read=places, grad=True)
        f, e = gradients(run.logits[:, -1].square().sum(), run, places).values()
        plain = forward(gpt2, pairs.clean, read=[small.site, Site("attn_out", 1)], grad=True)
        (x,) = gradients(plain.logits[:, -1].square().sum(), plain, [small.site]).values()
        torch.testing.assert_close(e, x, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(f, x.reshape(*x.shape[:2], -1) @ small.W_dec.T, atol=1e-5, rtol=1e-5)


def test_the_gradient_below_a_spliced_dictionary_is_that_of_the_model(gpt2, pairs):
    early = Site("resid_pre", 0)
    plain = forward(gpt2, pairs.clean, read=[early], grad=True)
    (expected,) = gradients(plain.logits[:, -1].square().sum(), plain, [early]).values()
    with on(gpt2, "L1.resid_post") as small:
        run = forward(gpt2, pairs.clean, read=[early, small.features, small.error], grad=True)
        (found,) = gradients(run.logits[:, -1].square().sum(), run, [early]).values()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_shares_along_the_path_add_up_to_the_effect_of_all_features(gpt2, pairs):
    with on(gpt2, "L1.resid_post") as small:
        options = {"at": "all", "direction": "noise"}
        shares = mc.attribute(gpt2, pairs, sites=f"{small.features}.F*", steps=32, **options)
        whole = mc.patch(gpt2, pairs, sites=str(small.features), **options).frame["change"].item()
        assert abs(whole) > 0.05
        assert shares.frame["change"].sum() == pytest.approx(whole, rel=1e-2)
        assert shares.frame["feature"].tolist() == list(range(small.n_features))


@pytest.mark.parametrize("options", [{}, {"steps": 3}, {"steps": 3, "path": "cell"}])
def test_features_beside_other_sites_are_attributed_alike(gpt2, pairs, options):
    with on(gpt2, "L1.resid_post") as small:
        sites = [str(small.feature(3)), "L1.resid_post", str(small.error), "L1.z.H0"]
        fast, slow = (
            mc.attribute(gpt2, pairs, sites=sites, at="all", exact=exact, **options) for exact in ("replay", "naive")
        )
    np.testing.assert_allclose(fast.examples, slow.examples, atol=2e-5)
    assert fast.provenance.compute["engine"] == "replay and naive"


# Every method, and the engine against the loop


@pytest.mark.parametrize(("name", "site"), SWEPT)
def test_the_engine_gives_the_numbers_of_the_loop(name, site):
    model, pairs = loaded(name), make_pairs(lengths=(7, 5, 7, 6), changed=(1,))
    able = abilities(model)
    place = Site.parse(site)
    with attached_to(model, TopK(int(np.prod(able.shape_at(place)))), site) as small:
        sites = [small.feature(number) for number in range(4)] + [small.features, small.error]
        for method, options in (
            (mc.patch, {"at": ["all", "-1"]}), (mc.ablate, {"do": "mean", "at": "2:4"}),
            (mc.ablate, {"do": Resample(1)}), (mc.ablate, {"do": Add(1.5)}),
        ):  # fmt: skip
            fast, slow = (method(model, pairs, sites=sites, exact=exact, **options) for exact in ("replay", "naive"))
            assert float(np.nanmax(np.abs(slow.examples - slow.baselines["base"]))) > 1e-2
            np.testing.assert_allclose(fast.examples, slow.examples, atol=2e-5)
            looped = name == "bert" or (name in ("gemma2", "opt") and site == "L1.z")
            assert fast.provenance.compute["engine"] == ("naive" if looped else "replay")


def test_several_features_of_a_cell_are_one_change(gpt2, pairs):
    from mechcausal.metrics import metric
    from mechcausal.models.engine import Plan, evaluate

    with on(gpt2, "L1.resid_post") as small:
        cells = [
            tuple(Edit(small.feature(number), Set(0.5)) for number in range(20)),
            (Edit(small.feature(1), Zero()), Edit(small.feature(2), Set(1.0), Selection.parse(-1))),
            (Edit(small.features, Zero()), Edit(small.site, Scale(0.5))),
        ]
        plan = Plan(pairs.clean, cells, metric("logit_diff"))
        fast, slow = (evaluate(gpt2, plan, batch_size=8, exact=exact) for exact in ("replay", "naive"))
    np.testing.assert_allclose(fast.values, slow.values, atol=2e-5)
    assert fast.compute["engine"] == "replay and naive"


def test_features_that_are_silent_cost_no_run(gpt2, pairs):
    with on(gpt2, "L1.resid_post", k=2) as small:
        found = mc.ablate(gpt2, pairs.clean, sites=f"{small.features}.F*", do="zero")
        active = (forward(gpt2, pairs.clean, read=[small.features]).read[small.features] > 0).any(1)
    told = found.provenance.compute
    assert told["skipped"] == int((~active).sum())
    silent = ~active.T.numpy()
    unedited = np.broadcast_to(found.baselines["base"], silent.shape)
    np.testing.assert_allclose(found.examples[silent], unedited[silent], atol=1e-5)
    assert np.abs(found.examples - unedited)[~silent].max() > 0.1


def test_a_name_that_comes_to_mean_another_dictionary_is_compared_anew(gpt2, pairs):
    with on(gpt2, "L1.resid_post", seed=1) as small:
        mc.ablate(gpt2, pairs, sites=str(small.features), do="zero")
    with on(gpt2, "L1.resid_post", seed=2) as small:
        fast, slow = (
            mc.ablate(gpt2, pairs, sites=str(small.features), do="zero", exact=e) for e in ("replay", "naive")
        )
    np.testing.assert_allclose(fast.examples, slow.examples, atol=2e-5)


def test_a_dictionary_that_does_not_decode_linearly_is_left_to_the_loop(gpt2, pairs):
    class Bent(TopK):
        def decode(self, f):
            return super().decode(f).tanh()

    with attached_to(gpt2, Bent(32), "L1.resid_post") as bent:
        assert not bent.linear
        found = mc.ablate(gpt2, pairs, sites=str(bent.features), do="zero")
        assert "linearly" in str(found.provenance.compute["naive_because"])
        assert torch.equal(
            forward(gpt2, pairs.clean, [Edit(bent.features, Scale(1.0))]).logits, forward(gpt2, pairs.clean).logits
        )


@pytest.mark.slow
def test_scrubbing_features_is_scrubbing_what_they_span(hiring):
    """A complete orthonormal dictionary holds the score as the activation does, and its error holds nothing."""
    from mechcausal.causal import Hypothesis, scrub

    told = mc.task("hiring")
    prompts = told.prompts(hiring, n=48, seed=0)
    site = Site("mlp_out", 2)
    written = forward(hiring, prompts, read=[site]).read[site][prompts.select("decision")]
    turned = Turned(written.shape[-1])
    turned.W_dec = torch.linalg.svd(written - written.mean(0)).Vh.contiguous()  # the directions along which it varies
    with attached_to(hiring, turned, site, "turned") as one:
        whole, features, first, last, error = (
            scrub(
                hiring, prompts, Hypothesis(told.scm, {"score": f"{place}@decision"}), seed=1, lonely="keep"
            ).recovered.estimate
            for place in (site, one.features, one.feature(0), one.feature(one.n_features - 1), one.error)
        )
    assert whole > 0.99
    assert features == pytest.approx(whole, abs=1e-5)
    assert last == pytest.approx(error, abs=1e-3)
    assert error < 0.2 < first < 0.95


# Sites


def test_the_language(gpt2):
    with on(gpt2, "L1.resid_post") as small:
        shape = abilities(gpt2).shape
        from mechcausal.address import expand

        assert len(expand("L1.resid_post.sae:small.F*", shape)) == small.n_features
        assert expand("L*.resid_post.sae:*", shape) == [small.features]
        assert expand("L*.resid_post.sae:small.error", shape) == [small.error]
        assert Site.parse("blocks.1.hook_resid_post.sae:small.F3") == small.feature(3)
        assert Site.parse(str(small.error)) == small.error
        assert small.feature(3).whole == small.features
        assert small.feature(3).activation == small.error.activation == small.site
        assert str(small.feature(3)) == "L1.resid_post.sae:small.F3"
        with pytest.raises(SiteError, match="matches nothing"):
            expand("L*.mlp_out.sae:*.F*", shape)
    assert "small" not in attached(gpt2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L1.resid_post.sae:smal.F3", "no dictionary called 'smal'.*did you mean 'small'"),
        ("L1.resid_post.sae:small.F48", "feature 48; expected 0 to 47"),
        ("L2.resid_post.sae:small.F3", "belongs to another site"),
        ("L1.resid_post.sae:small.G3", "is not a site"),
        ("L1.pattern.sae:small.F3", "not a pattern"),
        ("L1.resid_post.H1.sae:small", "is not a site"),
    ],
)
def test_a_wrong_feature_is_refused_before_any_compute(gpt2, pairs, text, words, monkeypatch):
    from mechcausal.models import bridge

    with on(gpt2, "L1.resid_post"):
        monkeypatch.setattr(bridge, "run", None)
        with pytest.raises(SiteError, match=words):
            mc.ablate(gpt2, pairs, sites=text)


def test_an_unknown_dictionary_of_a_forward_is_refused(gpt2, pairs):
    with pytest.raises(SiteError, match=r"no dictionary called 'other' is attached.*mc\.features\.load"):
        forward(gpt2, pairs.clean, read=[Site("resid_post", 1, dictionary="other")])
    with pytest.raises(SiteError, match="no dictionary called 'other'"):
        bound(gpt2, "other")


def test_vectors_and_shapes_that_do_not_fit(gpt2, pairs):
    with on(gpt2, "L1.resid_post") as small:
        with pytest.raises(InterventionError, match="vector to a single feature"):
            forward(gpt2, pairs.clean, [Edit(small.feature(2), Set((1.0, 2.0)))])
        with pytest.raises(InterventionError, match=r"wrong length.*expected 48"):
            forward(gpt2, pairs.clean, [Edit(small.features, Set((1.0,) * 32))])
        with pytest.raises(InterventionError, match="another shape"):
            forward(gpt2, pairs.clean, [Edit(small.features, Patch())], sources=[torch.zeros(6, 7, 32)])
        with pytest.raises(InterventionError, match="needs a source run"):
            forward(gpt2, pairs.clean, [Edit(small.features, Interpolate(0.5))])


# Attaching


def spoiled(**changed):
    made = TopK(32)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("made", "site", "error", "words"),
    [
        (TopK(24), "L1.resid_post", SiteError, "does not fit L1.resid_post .*writes 24 numbers; expected 32"),
        (TopK(24, width_out=32), "L1.resid_post", SiteError, "expected one that reads 32 numbers"),
        (TopK(32), "L1.z.H0", SiteError, "whole activation"),
        (TopK(32), "L9.resid_post", SiteError, "layer 9"),
        (TopK(32), "L1.pattern", SiteError, "not a pattern"),
        (object(), "L1.resid_post", UnsupportedError, "lacks encode, decode, W_dec"),
        (spoiled(W_dec=torch.full((48, 32), float("nan"))), "L1.resid_post", NumericsError, "W_dec .* NaN"),
        (spoiled(encode=lambda x: x @ torch.full((32, 48), 1e30) * 1e30), "L1.resid_post", NumericsError, "ordinary"),
        (spoiled(encode=lambda x: x), "L1.resid_post", SiteError, r"got \(4, 32\); expected \(4, 48\) features"),
    ],
)
def test_what_does_not_belong_is_refused(gpt2, made, site, error, words):
    with pytest.raises(error, match=words):
        attach(gpt2, made, site, name="wrong")
    assert "wrong" not in attached(gpt2)


def test_a_dictionary_of_another_model_is_refused(gpt2, llama):
    own = weights_fingerprint(gpt2)
    with attached_to(gpt2, TopK(32), "L1.resid_post", model_digest=own) as small:
        assert small.model_digest == own
    with pytest.raises(ModelError, match=r"belongs to another model.*mechcausal sae train"):
        attach(llama, TopK(32), "L1.resid_post", name="small", model_digest=own)


def test_a_complete_dictionary_has_no_error(gpt2, pairs):
    with attached_to(gpt2, Turned(32), "L1.resid_post") as turned:
        read = forward(gpt2, pairs.clean, read=[turned.error, turned.features, turned.site]).read
        assert float(read[turned.error].abs().max()) < 1e-5
        torch.testing.assert_close(read[turned.features] @ turned.W_dec, read[turned.site])


@pytest.mark.parametrize("out", ["L1.pattern", "logits", "L0.resid_pre", "L1.resid_mid", "embed"])
def test_a_transcoder_writes_to_a_later_activation_or_is_refused(gpt2, out):
    with pytest.raises((SiteError, UnsupportedError)):
        attach(gpt2, TopK(32), "L1.resid_mid", name="over", site_out=out)
