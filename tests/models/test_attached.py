"""Which dictionaries a model has, and what each of them reads."""

import gc
import weakref

import pytest
import torch
from plain_dictionaries import TopK, attached_to
from zoo import build

import mechcausal as mc
from mechcausal.errors import InterventionError, SiteError
from mechcausal.models import bridge
from mechcausal.models.attached import with_dictionaries
from mechcausal.models.binding import attach, attached, bound, detach
from mechcausal.models.hooked import forward


def on(model, site, name="small", **options):
    return attached_to(model, TopK(32, **options), site, name)


@pytest.mark.slow
def test_a_dictionary_of_weights_that_have_changed_is_not_used(pairs):
    model = mc.load(build("gpt2"))
    small = attach(model, TopK(32), "L1.resid_post", name="small")
    listed = mc.sites(model).set_index("site").loc["L1.resid_post.sae:small.F0"]
    assert (listed["width"], listed["reads"], listed["writes"]) == (48, True, True)
    assert len(mc.ablate(model, pairs, sites=str(small.features), do="zero")) == 1
    with torch.no_grad():
        next(model.original_model.parameters())[0, 0] += 1e-3
    with pytest.raises(SiteError, match=r"have changed since the dictionary 'small' was attached.*attach it again"):
        mc.ablate(model, pairs, sites=str(small.features), do="zero")
    assert not mc.sites(model).set_index("site").loc["L1.resid_post.sae:small.F0"]["writes"]
    again = attach(model, small.dictionary, "L1.resid_post", name="small")
    assert len(mc.ablate(model, pairs, sites=str(again.features), do="zero")) == 1


def test_names(gpt2):
    with pytest.raises(SiteError, match="not the name of a dictionary"):
        attach(gpt2, TopK(32), "L1.resid_post", name="two words")
    with on(gpt2, "L1.resid_post", name="one") as one:
        again = attach(gpt2, TopK(32, seed=5), "L2.resid_post", name="one")
        assert attached(gpt2) == {"one": again}
        assert one.digest != again.digest
        assert detach(gpt2, "one") is again
        attach(gpt2, TopK(32), "L1.resid_post", name="one")
    with pytest.raises(SiteError, match="writes to what comes after"):
        attach(gpt2, TopK(32), "L1.mlp_out", name="back", site_out="L1.resid_mid")


def test_a_model_that_is_gone_takes_its_dictionaries_along():
    model = mc.load(build("gpt2"))
    made = TopK(32)
    alive = weakref.ref(made)
    attach(model, made, "L1.resid_post", name="small")
    del model, made
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("site", ["L1.resid_post", "L1.z"])
def test_features_and_error_are_those_of_the_dictionary(gpt2, pairs, site):
    with on(gpt2, site) as small:
        x = forward(gpt2, pairs.clean, read=[small.site]).read[small.site]
        flat = x.reshape(*x.shape[:2], -1)  # heads in one row
        features = small.dictionary.encode(flat)
        error = (flat - small.dictionary.decode(features)).reshape(x.shape)
        torch.testing.assert_close(small.read(small.features, x), features)
        torch.testing.assert_close(small.read(small.error, x), error)
        assert small.n_features == features.shape[-1]
        with pytest.raises(InterventionError, match="decoded another shape"):
            small.like(small.decode(features)[..., :-1], x)


def test_sites_of_a_dictionary_bear_its_name(gpt2):
    with on(gpt2, "L1.resid_post") as small:
        assert str(small.features) == "L1.resid_post.sae:small"
        assert str(small.feature(7)) == "L1.resid_post.sae:small.F7"
        assert str(small.error) == "L1.resid_post.sae:small.error"
        assert small.written == small.site
    with attached_to(gpt2, TopK(32), "L1.resid_mid", site_out="L1.mlp_out") as over:
        assert str(over.written) == "L1.mlp_out"


def test_the_sizes_of_a_model_say_which_dictionaries_are_stale(gpt2):
    plain = bridge.shape_of(gpt2)
    assert with_dictionaries(gpt2, plain) is plain
    with on(gpt2, "L1.resid_post") as small:
        sizes = {
            digest: with_dictionaries(gpt2, plain, digest).dictionaries["small"]
            for digest in (None, small.model_digest, "other")
        }
        assert {digest: size.stale for digest, size in sizes.items()} == {
            None: False, small.model_digest: False, "other": True,
        }  # fmt: skip
        assert all((size.site, size.n_features) == (small.site, small.n_features) for size in sizes.values())


def test_an_unknown_name_is_refused_with_the_nearest(gpt2):
    with on(gpt2, "L1.resid_post"), pytest.raises(SiteError, match=r"'smal' is attached.*did you mean 'small'"):
        bound(gpt2, "smal")
    with pytest.raises(SiteError, match="no dictionary called 'small'"):
        detach(gpt2, "small")
