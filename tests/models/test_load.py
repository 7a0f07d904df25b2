"""Loading: every kind of source, no network, nothing executed, nothing taken over."""

import json
import pickle
import socket

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, T5Config, T5ForConditionalGeneration
from words import words_tokenizer
from zoo import VOCAB, bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import ArgumentError, DataError, ModelError, NumericsError, UnsupportedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    build("gpt2").save_pretrained(path)
    words_tokenizer(path)
    return path


def same_logits(model, name="gpt2"):
    tokens = torch.arange(12).reshape(2, 6) + 3
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), bare(name)(tokens).logits, atol=1e-5, rtol=1e-5)


def test_a_local_folder(folder):
    model = mc.load(folder)
    same_logits(model)
    pairs = mc.Contrast.from_text(model, ["w5 w6 w7"], ["w5 w9 w7"], answer="w3", foil="w4")
    assert pairs.clean.real_tokens == [[1, 5, 6, 7]]
    assert mc.load(str(folder)).cfg.n_layers == 3


def test_a_model_object_is_copied_unless_told(folder):
    mine = build("gpt2")
    kinds = [type(module) for module in mine.modules()]
    same_logits(mc.load(mine))
    assert [type(module) for module in mine.modules()] == kinds
    mc.load(mine, copy=False)
    assert [type(module) for module in mine.modules()] != kinds


def test_what_the_caller_holds_stays_as_it_was():
    mine, tokenizer = build("llama").train(), words_tokenizer()
    mine.set_attn_implementation("sdpa")
    tokenizer.pad_token = None
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    model = mc.load(mine, tokenizer=tokenizer)
    mc.patch(model, make_pairs((7, 7)))
    assert mine.training
    assert mine.config._attn_implementation == "sdpa"
    assert tokenizer.pad_token is None
    assert model.tokenizer.pad_token == "<eos>"
    assert mine.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in mine.modules())
    assert not model.training


def test_a_tokenizer_held_in_memory():
    model = mc.load(build("gpt2"), tokenizer=words_tokenizer())
    pairs = mc.Contrast.from_text(model, ["w5 w6"], ["w7 w6"], answer="w3", foil="w4")
    assert len(mc.patch(model, pairs)) == 9


def test_a_tokenizer_from_another_folder(folder):
    assert mc.load(build("gpt2"), tokenizer=folder).tokenizer.bos_token == "<bos>"


def test_no_tokenizer_is_fine_until_text_is_read():
    with pytest.raises(DataError, match="no tokenizer"):
        mc.Contrast.from_text(loaded("gpt2"), ["a"], ["b"], answer="c", foil="d")


def test_a_bridge_is_returned_as_it_is():
    assert mc.load(loaded("gpt2")) is loaded("gpt2")


def test_bfloat16(folder):
    model = mc.load(folder, dtype=torch.bfloat16)
    pairs = mc.Contrast.from_text(model, ["w5 w6 w7"], ["w5 w9 w7"], answer="w3", foil="w4")
    sweep = mc.patch(model, pairs, sites=["L0.resid_pre", "L1.resid_mid"], at="all")
    assert sweep.provenance.compute["dtype"] == "bfloat16"
    assert abs(sweep.frame["effect"][0] - 1) < 0.05


def test_the_precision_of_a_legacy_checkpoint(by_hand):
    model = mc.load("organism:by_hand", dtype=torch.bfloat16)
    assert {value.dtype for value in model.original_model.parameters()} == {torch.bfloat16}
    sweep = mc.ablate(model, mc.contrast("by_hand/gender", model, n=8), sites="L0.z.H0", do="mean")
    exact = mc.ablate(by_hand, mc.contrast("by_hand/gender", by_hand, n=8), sites="L0.z.H0", do="mean")
    assert sweep.provenance.compute["dtype"] == "bfloat16"
    assert sweep.frame["change"].item() == pytest.approx(exact.frame["change"].item(), abs=0.03)


def test_the_fingerprint_is_of_the_weights(folder):
    from mechcausal.models.fingerprint import tokenizer_fingerprint, weights_fingerprint

    one, two = mc.load(folder), mc.load(build("gpt2"))
    assert weights_fingerprint(one) == weights_fingerprint(two)
    with torch.no_grad():
        next(two.original_model.parameters()).add_(1.0)
    assert weights_fingerprint(one) != weights_fingerprint(two)
    assert tokenizer_fingerprint(one.tokenizer) == tokenizer_fingerprint(words_tokenizer())
    assert tokenizer_fingerprint(one.tokenizer) != tokenizer_fingerprint(words_tokenizer(bos=False))


class Bomb:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_pickle_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"weights": Bomb()}))
    with pytest.raises(ModelError, match="not a file of weights, and a pickle is never run"):
        mc.load(path, config={"n_layers": 1})
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("organism:hirng", "did you mean 'hiring'"),
        ("hiring", "did you mean 'organism:hiring'"),
        ("./no/such/folder", "nothing at"),
        ("/no/such/model.pt", "nothing at"),
        (7, "a name, a path or a model object"),
        (torch.nn.Linear(2, 2), "no config"),
    ],
)
def test_what_is_no_model(source, said):
    with pytest.raises(ModelError, match=said):
        mc.load(source)


def test_a_hub_name_offline_is_one_sentence():
    with pytest.raises(ModelError, match=r"no loadable model called 'nobody/nothing' on the hub") as caught:
        mc.load("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"not a model folder.*an empty folder"):
        mc.load(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"not a model folder.*notes\.txt"):
        mc.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ModelError, match="holds no weights"):
        mc.load(tmp_path)


def test_nan_in_the_weights_names_the_parameter():
    broken = build("gpt2")
    with torch.no_grad():
        broken.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match=r"first in transformer\.h\.1\.mlp\.c_fc\.weight"):
        mc.load(broken)


def test_nan_in_the_activations_names_the_site(pairs):
    model = mc.load(build("gpt2"))
    with torch.no_grad():
        named = {name.replace("_original_component.", ""): p for name, p in model.original_model.named_parameters()}
        named["transformer.h.1.mlp.c_proj.bias"][0] = float("inf")
    with pytest.raises(NumericsError, match=r"first in L1\.mlp_out"):
        mc.patch(model, pairs)


def test_an_unknown_architecture():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = build("gpt2").config
            self.weight = torch.nn.Parameter(torch.zeros(3))

        def forward(self, tokens):
            return type("Output", (), {"logits": torch.zeros(*tokens.shape, VOCAB)})

    with pytest.raises(UnsupportedError, match="no adapter for Odd"):
        mc.load(Odd())


def test_an_encoder_decoder_is_refused_by_name():
    sizes = {"vocab_size": VOCAB, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 16}
    with pytest.raises(UnsupportedError, match="encoder-decoder"):
        mc.load(T5ForConditionalGeneration(T5Config(**sizes)))


def test_a_model_without_attention_keeps_its_stream(pairs):
    mamba = MambaForCausalLM(MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=8))
    model = mc.load(mamba.eval())
    sweep = mc.patch(model, pairs, sites="L0.resid_pre", at="all")
    assert sweep.frame["effect"].item() == pytest.approx(1, abs=1e-4)
    for sites in ("z", "resid_mid"):
        with pytest.raises(UnsupportedError, match="no such hook point"):
            mc.patch(model, pairs, sites=sites)


def test_the_suite_has_no_network():
    with socket.socket() as line, pytest.raises(AssertionError, match="a test tried to reach"):
        line.connect(("127.0.0.1", 9))


def test_a_vision_language_model_is_refused_by_name(tmp_path):
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    text = LlamaConfig(vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlavaConfig(vision_config=vision, text_config=text).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(UnsupportedError, match=r"is a vision-language model \(llava\).*load its language model"):
        mc.load(tmp_path)


def test_a_vision_language_object_is_refused_too():
    import transformers as hf

    text = {"vocab_size": VOCAB, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = hf.LlavaConfig(vision_config=hf.CLIPVisionConfig(**vision), text_config=hf.LlamaConfig(**text, **heads))
    with pytest.raises(UnsupportedError, match="vision-language model"):
        mc.load(hf.LlavaForConditionalGeneration(config))


def test_a_device_map(folder):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    for device_map in ("auto", {"": "cpu"}):
        same_logits(mc.load(folder, device_map=device_map))
    parts = {"transformer.wte": "cpu", "transformer.wpe": "cpu", "transformer.h": "cpu", "transformer.ln_f": "cpu"}
    same_logits(mc.load(folder, device_map={**parts, "lm_head": "cpu"}))


def test_weights_that_are_left_on_the_disk_are_refused(folder, monkeypatch):
    """Accelerate is told that there are only a few kilobytes of memory."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from transformers.integrations import accelerate

    monkeypatch.setattr(accelerate, "get_max_memory", lambda *_: {"cpu": 30_000})
    with pytest.raises(UnsupportedError, match=r"does not fit into memory.*on the disk"):
        mc.load(folder, device_map="auto")


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("folder", {"device_map": "atuo"}, "cannot take this 'device_map'.*auto, balanced"),
        ("folder", {"device_map": 3}, "cannot take this 'device_map'"),
        ("folder", {"device_map": {"": "disk"}}, "devices in memory"),
        ("folder", {"device_map": {"": "cup"}}, "did you mean 'cpu'"),
        ("folder", {"device_map": "auto", "device": "cpu"}, "'device' or 'device_map' .got both"),
        ("organism:by_hand", {"device_map": "auto"}, "read from files"),
        ("object", {"device_map": "auto"}, "read from files"),
    ],
)
def test_a_wrong_device_map(folder, source, options, words):
    with pytest.raises(ArgumentError, match=words):
        mc.load({"folder": folder, "object": build("gpt2")}.get(source, source), **options)


def test_a_device_map_needs_accelerate(folder, monkeypatch):
    from mechcausal.models import placement

    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedError, match="pip install accelerate"):
        mc.load(folder, device_map="auto")
