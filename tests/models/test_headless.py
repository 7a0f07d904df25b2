"""Models without a language-model head: everything inside works as in plain transformers, and logits are refused."""

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from random_dictionaries import Turned
from zoo import GQA, SIZES, build, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data import PromptSet
from mechcausal.errors import ModelError, UnsupportedError
from mechcausal.models import bridge
from mechcausal.models.binding import attach
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward


def encoder():
    torch.manual_seed(0)
    return hf.BertModel(hf.BertConfig(**SIZES)).eval()


def untied():
    torch.manual_seed(0)
    return hf.LlamaModel(hf.LlamaConfig(**SIZES, **GQA, tie_word_embeddings=False)).eval()


@pytest.fixture(scope="module", params=[encoder, untied], ids=["encoder", "decoder"])
def base(request):
    return request.param()


@pytest.fixture(scope="module", params=["object", "folder"])
def model(request, base, tmp_path_factory):
    if request.param == "object":
        return mc.load(base)
    folder = tmp_path_factory.mktemp("base")
    base.save_pretrained(folder)
    return mc.load(folder)


def likeness(states, batch):
    """Return the cosine of the first and the last token's last hidden states."""
    return F.cosine_similarity(states[:, 0], states[:, -1], dim=-1)


def test_two_loads_are_one_model(base, model):
    tokens = make_pairs().clean.tokens
    assert weights_fingerprint(model) == weights_fingerprint(mc.load(base))
    with torch.no_grad():
        torch.testing.assert_close(
            forward(model, make_pairs().clean).output, base(tokens).last_hidden_state, atol=1e-5, rtol=1e-5
        )


def test_the_object_stays_as_it_was(base):
    before = [type(module) for module in base.modules()]
    mc.load(base)
    assert [type(module) for module in base.modules()] == before


def test_a_patched_stream_against_a_hook_written_here(base, model, pairs):
    """Denoise the stream before layer 1 at position 3, and measure by a function of hidden states."""
    swept = mc.patch(model, pairs, sites="L1.resid_pre", at="@3", metric=likeness)
    layers = base.encoder.layer if isinstance(base, hf.BertModel) else base.layers
    with torch.no_grad():
        clean = base(pairs.clean.tokens, output_hidden_states=True).hidden_states[1][:, 3]

        def put(module, args, kwargs):
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            hidden[:, 3] = clean
            return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

        handle = layers[1].register_forward_pre_hook(put, with_kwargs=True)
        expected = likeness(base(pairs.corrupt.tokens).last_hidden_state, pairs.corrupt)
        handle.remove()
    assert swept.frame["value"].item() == pytest.approx(float(expected.mean()), abs=1e-5)


@pytest.mark.slow
def test_attribution_of_a_function_of_states(model, pairs):
    """Along the path of each cell, integrated gradients converge to the exact effect."""
    how = {"sites": "L1.resid_pre", "direction": "denoise", "metric": likeness}
    exact = mc.patch(model, pairs, **how).frame.set_index("at")["change"]
    estimate = mc.attribute(model, pairs, **how, steps=32, path="cell").frame.set_index("at")["change"]
    assert exact.abs().max() > 5e-3
    assert estimate[exact.index].to_numpy() == pytest.approx(exact.to_numpy(), abs=0.03 * exact.abs().max())


@pytest.mark.parametrize("metric", ["logit_diff", "loss", "kl"])
def test_logits_are_refused(model, pairs, metric):
    with pytest.raises(UnsupportedError, match="no language-model head, so it gives no logits") as caught:
        mc.patch(model, pairs, sites="L1.resid_pre", metric=metric)
    assert len(str(caught.value)) < 400


def test_what_can_be_read(model):
    table = mc.sites(model).set_index("component")
    assert not table.loc["logits", "reads"]
    assert table.loc[["resid_pre", "resid_post", "z", "mlp_out"], "writes"].all()
    assert not bridge.has_head(model)


def test_what_is_saved_is_the_base_model_again(base, model, tmp_path):
    from mechcausal.models.export import save

    save(model, tmp_path)
    again = type(base).from_pretrained(tmp_path)
    tokens = make_pairs().clean.tokens
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).last_hidden_state, base(tokens).last_hidden_state)
    assert weights_fingerprint(mc.load(tmp_path)) == weights_fingerprint(model)


def test_a_base_model_whose_head_is_its_embedding_has_one():
    whole = build("gpt2")
    model = mc.load(whole.transformer)
    tokens = make_pairs().clean.tokens
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), whole(tokens).logits, atol=1e-5, rtol=1e-5)


def test_a_head_of_which_a_part_is_missing_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    build("bert").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["cls.predictions.transform.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"cls\.predictions\.transform\.dense\.weight is not there"):
        mc.load(tmp_path)


def test_a_head_for_another_task_is_left_out_and_said(tmp_path, pairs):
    torch.manual_seed(0)
    classifier = hf.BertForTokenClassification(hf.BertConfig(**SIZES)).eval()
    classifier.save_pretrained(tmp_path)
    model = mc.load(tmp_path)
    assert not bridge.has_head(model)
    tokens = pairs.clean.tokens
    with torch.no_grad():
        torch.testing.assert_close(
            forward(model, pairs.clean, read=[Site("resid_post", 2)]).read[Site("resid_post", 2)],
            classifier.bert(tokens).last_hidden_state, atol=1e-5, rtol=1e-5,
        )  # fmt: skip
    swept = mc.patch(model, pairs, sites="L1.resid_pre", at="all", metric=likeness)
    assert {"classifier.weight", "classifier.bias"} <= set(swept.provenance.model["unread"])


def test_what_is_no_language_model_is_refused():
    vision = hf.ViTModel(
        hf.ViTConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4
        )
    )
    with pytest.raises(UnsupportedError, match="ViTModel is no language model"):
        mc.load(vision)


def test_a_probe_reads_it(model):
    """Which of two tokens comes first can be read where it stands; a label that is a coin cannot."""
    prompts = make_pairs((7,) * 48).clean
    tokens = prompts.tokens.clone()
    tokens[:, 0] = torch.arange(48) % 2 + 5
    labels = [f"{token}" for token in tokens[:, 0].tolist()]
    probe = mc.features.probe(model, PromptSet(tokens, prompts.mask), labels, "L0.resid_post", at="@0", folds=4)
    assert probe.report.accuracy.estimate > 0.95


def test_a_dictionary_reads_and_moves_it(base):
    """Features of a dictionary that misses nothing carry all of the difference at their site."""
    model, pairs = mc.load(base), make_pairs()
    attach(model, Turned(SIZES["hidden_size"]), "L1.resid_post", name="turned")
    features = mc.patch(model, pairs, sites="L1.resid_post.sae:turned", at="all", metric=likeness)
    whole = mc.patch(model, pairs, sites="L1.resid_post", at="all", metric=likeness)
    assert features.frame["value"].item() == pytest.approx(whole.frame["value"].item(), abs=1e-5)
    with pytest.raises(UnsupportedError, match="no language-model head"):
        mc.features.health(model, pairs.clean, "turned")
