"""sae-lens: its objects splice exactly, its folders are read alike with and without it, its absence is one sentence."""

import sys
import warnings

import pytest
import torch
from plain_dictionaries import attached_to
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.dictionaries import folder, saelens
from mechcausal.dictionaries.loading import load
from mechcausal.errors import DataError, ModelError, SiteError, UnsupportedError
from mechcausal.interventions import Edit, Patch, Scale, Zero
from mechcausal.models.hooked import forward

try:
    sae_lens = saelens.sae_lens()
except UnsupportedError as error:
    sae_lens = None
    MISSING = str(error)

needs_sae_lens = pytest.mark.skipif(sae_lens is None, reason="sae-lens cannot be imported beside transformer-lens 4")
SITE = "L1.resid_post"
KINDS = ("standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka", "layer_norm", "constant_norm", "z")


def made(kind, width=32):
    """Return an untrained SAE of sae-lens with weights of any size."""
    sizes = {"d_in": width, "d_sae": 48}
    known = {"standard": "Standard", "topk": "TopK", "jumprelu": "JumpReLU", "gated": "Gated"}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        if kind in ("batchtopk", "matryoshka"):
            name = {"batchtopk": "BatchTopK", "matryoshka": "MatryoshkaBatchTopK"}[kind]
            own = {"matryoshka_widths": [12, 24, 48]} if kind == "matryoshka" else {}
            config = getattr(sae_lens, f"{name}TrainingSAEConfig")(**sizes, k=4, **own)
            sae = sae_lens.TrainingSAE.from_dict(config.to_dict())
        else:
            own = {"layer_norm": "layer_norm", "constant_norm": "constant_norm_rescale"}.get(kind, "none")
            more = {"k": 4, "rescale_acts_by_decoder_norm": True} if kind == "topk" else {}
            config = getattr(sae_lens, f"{known.get(kind, 'Standard')}SAEConfig")(
                **sizes, normalize_activations=own, reshape_activations="hook_z" if kind == "z" else "none", **more
            )
            sae = sae_lens.SAE.from_dict(config.to_dict())
        for name, parameter in sae.named_parameters():
            # Decoder rows of any length, thresholds above zero.
            parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim == 2 else 0.1)
            if name == "threshold":
                parameter.data = parameter.data.abs()
    return saelens._usable(sae)


@needs_sae_lens
@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_edit_of_every_kind_is_exactly_zero(kind):
    model, pairs = loaded("gpt2"), make_pairs()
    plain = forward(model, pairs.clean).logits
    site = "L1.z" if kind == "z" else SITE
    with attached_to(model, made(kind), site) as one:
        read = forward(model, pairs.clean, read=[one.site, one.features, one.error]).read
        x, f, e = (read[place] for place in (one.site, one.features, one.error))
        assert 0.01 < float((f != 0).float().mean()) < 0.9
        assert float(e.abs().max()) > 0.1
        for edits, sources in (
            ([Edit(one.features, Scale(1.0))], [None]),
            ([Edit(one.features, Patch()), Edit(one.error, Patch())], [f, e]),
        ):
            assert torch.equal(forward(model, pairs.clean, edits, sources=sources).logits, plain)
        with torch.no_grad():
            rebuilt = one.like(one.decode(one.encode(x)), x) + e
        again = forward(model, pairs.clean, [Edit(one.site, Patch())], sources=[rebuilt]).logits
        assert float((again - plain).abs().max()) <= 5e-6
        moved = forward(model, pairs.clean, [Edit(one.features, Zero())]).logits
        assert float((moved - plain).abs().max()) > 1e-2
        assert one.linear == (kind not in ("layer_norm", "constant_norm", "topk", "batchtopk", "matryoshka"))


@needs_sae_lens
@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated"])
def test_a_folder_of_sae_lens_is_read_alike_without_it(kind, tmp_path, monkeypatch):
    model, pairs = loaded("gpt2"), make_pairs()
    sae = made(kind)
    sae.cfg.metadata.hook_name, sae.cfg.metadata.model_name = "blocks.1.hook_resid_post", "any"
    sae.save_model(tmp_path / "own-1")
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path / "own-1"), fold_W_dec_norm=True)
    monkeypatch.setitem(sys.modules, "sae_lens", None)  # as if it could not be imported
    try:
        one = load(model, tmp_path / "own-1")
        assert str(one.features) == "L1.resid_post.sae:own-1"
        x = forward(model, pairs.clean, read=[one.site]).read[one.site]
        with torch.no_grad():
            f = theirs.encode(x)
            torch.testing.assert_close(one.encode(x), f, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(one.decode(one.encode(x)), sae.decode(sae.encode(x)), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.W_dec.norm(dim=-1), torch.ones(48))
        assert one.linear
    finally:
        mc.features.detach(model, "own-1")


@needs_sae_lens
def test_what_only_sae_lens_knows_is_left_to_it(tmp_path):
    model = loaded("gpt2")
    sae = made("layer_norm").dictionary
    sae.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    sae.save_model(tmp_path / "own")
    one = load(model, tmp_path / "own")
    try:
        assert isinstance(one.dictionary, saelens.Renormalised)
        assert not one.linear
    finally:
        mc.features.detach(model, "own")


@needs_sae_lens
def test_a_transcoder_of_sae_lens(tmp_path):
    model, pairs = loaded("gpt2"), make_pairs()
    config = sae_lens.TranscoderConfig(d_in=32, d_out=32, d_sae=48, apply_b_dec_to_input=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        coder = sae_lens.Transcoder(config)
    coder.cfg.metadata.hook_name, coder.cfg.metadata.hook_name_out = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    coder.save_model(tmp_path / "over")
    one = load(model, tmp_path / "over")
    try:
        assert (str(one.site), str(one.site_out)) == ("L1.resid_mid", "L1.mlp_out")
        read = forward(model, pairs.clean, read=[one.site, one.features, one.error, Site("mlp_out", 1)]).read
        with torch.no_grad():
            found = coder.decode(coder.encode(read[one.site]))
        torch.testing.assert_close(read[one.error], read[Site("mlp_out", 1)] - found, atol=1e-5, rtol=1e-4)
    finally:
        mc.features.detach(model, "over")


# Loading


@pytest.fixture
def small(tmp_path):
    """Return a folder of a small dictionary of L1.resid_post, that says so."""
    draw = torch.Generator().manual_seed(0)
    weights = {"W_enc": torch.randn(32, 40, generator=draw), "W_dec": torch.randn(40, 32, generator=draw)}
    weights |= {"b_enc": torch.zeros(40), "b_dec": torch.zeros(32)}
    config = {
        "architecture": "standard",
        "d_in": 32,
        "d_sae": 40,
        "metadata": {"hook_name": "blocks.1.hook_resid_post"},
    }
    return folder.write(tmp_path / "small", config, weights, {})


def test_where_a_dictionary_belongs(gpt2, small):
    one = load(gpt2, small, name="other")
    try:
        assert str(one.features) == "L1.resid_post.sae:other"
        with pytest.raises(DataError, match=r"belongs to another site \(got L2.resid_post; expected L1.resid_post\)"):
            load(gpt2, small, site="L2.resid_post")
        assert load(gpt2, small, name="other", fold=False).W_dec.norm(dim=-1).std() > 0.1
    finally:
        mc.features.detach(gpt2, "other")


def test_a_dictionary_that_does_not_say_where_it_belongs(gpt2, small):
    found = folder.read(small)
    folder.write(small, found.config | {"metadata": {}}, found.weights, {})
    with pytest.raises(DataError, match="does not say which site it reads: pass site="):
        load(gpt2, small)
    one = load(gpt2, small, site="L0.resid_post")
    assert str(mc.features.detach(gpt2, one.name).site) == "L0.resid_post"
    folder.write(small, found.config | {"metadata": {"hook_name": "blocks.1.ln2.hook_normalized"}}, found.weights, {})
    with pytest.raises(DataError, match=r"does not say which site.*got blocks\.1\.ln2\.hook_normalized"):
        load(gpt2, small)


def test_a_dictionary_of_another_model(gpt2, llama, hiring, small):
    from mechcausal.models.fingerprint import weights_fingerprint

    found = folder.read(small)
    folder.write(small, found.config, found.weights, {"model_digest": weights_fingerprint(gpt2)})
    assert load(gpt2, small).n_features == 40
    mc.features.detach(gpt2, "small")
    with pytest.raises(ModelError, match="belongs to another model"):
        load(llama, small)
    folder.write(small, found.config, found.weights, {})
    with pytest.raises(SiteError, match="writes 32 numbers; expected 48"):
        load(hiring, small)


def test_what_is_nowhere(gpt2, tmp_path):
    with pytest.raises(ModelError, match="is not a folder, so it holds no dictionary"):
        load(gpt2, tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no dictionary ships with organism:by_hand"):
        load(gpt2, "organism:by_hand")
    with pytest.raises(ModelError, match="no organism called 'hirin'"):
        load(gpt2, "organism:hirin")


@needs_sae_lens
def test_releases(gpt2):
    with pytest.raises(ModelError, match=r"neither a folder nor a release.*did you mean 'gpt2-small-res-jb'"):
        load(gpt2, "gpt2-small-res-j")
    with pytest.raises(ModelError, match=r"holds 13 dictionaries.*blocks\.0\.hook_resid_pre"):
        load(gpt2, "gpt2-small-res-jb")
    with pytest.raises(ModelError, match=r"could not be fetched.*check the network"):
        load(gpt2, "gpt2-small-res-jb", sae_id="blocks.0.hook_resid_pre")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a way to put an SAE into the cache of the hub, as if it had been fetched before."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(repository, where, sae, hook):
        known, commit = tmp_path / f"models--{repository.replace('/', '--')}", "0" * 40
        (known / "refs").mkdir(parents=True)
        (known / "refs" / "main").write_text(commit)
        there = known / "snapshots" / commit / where
        there.mkdir(parents=True)
        sae.cfg.metadata.hook_name = hook
        sae.save_model(there)

    return put


@needs_sae_lens
@pytest.mark.parametrize(
    ("release", "sae_id", "repository"),
    [
        ("gpt2-small-res-jb", "blocks.1.hook_resid_pre", "jbloom/GPT2-Small-SAEs-Reformatted"),
        ("somebody/dictionaries", "layer 1", "somebody/dictionaries"),
    ],
)
def test_a_release_is_read_from_the_hub(gpt2, hub, release, sae_id, repository):
    sae = made("standard")
    hub(repository, sae_id, sae, "blocks.1.hook_resid_pre")
    found = load(gpt2, release, sae_id=sae_id, name="released")
    assert str(found.features) == "L1.resid_pre.sae:released"
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    lengths = sae.W_dec.norm(dim=-1)  # decoder rows are made one unit long
    torch.testing.assert_close(found.dictionary.encode(x), sae.encode(x) * lengths, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.dictionary.decode(found.dictionary.encode(x)), sae(x), atol=1e-6, rtol=1e-5)
    mc.features.detach(gpt2, "released")


def test_without_sae_lens_it_is_one_sentence(gpt2, pairs, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    for act in (
        lambda: load(gpt2, "gpt2-small-res-jb"),
        lambda: mc.features.train(gpt2, pairs, SITE, width=16, k=2, tokens=64, batch_size=32),
    ):
        with pytest.raises(UnsupportedError, match=r"needs sae-lens, .*: pip install 'mechcausal\[sae\]'") as raised:
            act()
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(sae_lens is not None, reason="sae-lens can be imported here")
def test_transformer_lens_4_is_named():
    assert "transformer-lens 4" in MISSING or "not installed" in MISSING
