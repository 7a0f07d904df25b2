"""Models in the format of transformers: every weight is accounted for, or refused by name."""

import json

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from words import words_tokenizer
from zoo import build

from mechcausal.errors import ModelError, UnsupportedError
from mechcausal.models.bridge import NoHead
from mechcausal.models.pretrained import (
    accounted,
    from_folder,
    holds_tokenizer,
    refuse_kinds,
    tokenizer_from,
)  # fmt: skip

NOTHING = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}


@pytest.fixture
def folder(tmp_path):
    build("gpt2").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_weights_of_a_folder_are_those_of_its_files(folder):
    module, origin = from_folder(folder, torch.float64, "it")
    saved = load_file(folder / "model.safetensors")
    for name, value in module.state_dict().items():
        if name in saved:
            torch.testing.assert_close(value, saved[name].double())
    assert list(origin.files) == ["model.safetensors"]
    assert origin.unread == ()
    assert next(module.parameters()).dtype == torch.float64


def test_a_head_for_another_task_is_left_out_and_named():
    module, unread = accounted(build("gpt2"), {**NOTHING, "unexpected_keys": ["score.weight", "h.0.attn.bias"]})
    assert unread == ["h.0.attn.bias", "score.weight"]
    assert not any(isinstance(child, NoHead) for child in module.children())


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"missing_keys": ["transformer.h.1.ln_1.weight"]}, "transformer.h.1.ln_1.weight is not there"),
        ({"unexpected_keys": ["transformer.h.9.ln_1.weight"]}, "has no place in the configuration"),
        ({"mismatched_keys": [("wte", torch.Size([3, 2]), torch.Size([4, 2]))]}, r"wte \[3, 2\] instead of \[4, 2\]"),
        ({"error_msgs": ["broken"]}, "broken cannot be read"),
        ({"missing_keys": [f"w{i}" for i in range(7)]}, "w0, w1, w2 and 4 more is not there"),
    ],
)
def test_weights_that_do_not_fit_are_named(report, said):
    with pytest.raises(ModelError, match=said):
        accounted(build("gpt2"), {**NOTHING, **report})


def test_a_model_of_which_only_the_head_is_missing_has_none():
    config = hf.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, tie_word_embeddings=False)
    module, _ = accounted(hf.GPT2LMHeadModel(config), {**NOTHING, "missing_keys": ["lm_head.weight"]})
    assert any(isinstance(child, NoHead) for child in module.children())


def test_a_configuration_that_asks_for_more_than_there_is(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for change in ({"n_layer": 10_000}, {"n_embd": 4096}):
        path.write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match="asks for more than its files hold"):
            from_folder(folder, torch.float32, "it")


def test_what_is_no_folder_of_a_model(folder):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(ModelError, match="holds no weights"):
        from_folder(folder, torch.float32, "it")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not say which model it is"):
        from_folder(folder, torch.float32, "it")


def test_an_encoder_decoder_is_refused():
    refuse_kinds(hf.GPT2Config(), "it")
    with pytest.raises(UnsupportedError, match="it is an encoder-decoder model"):
        refuse_kinds(hf.T5Config(), "it")


def test_a_tokenizer_is_read_or_refused(folder):
    assert not holds_tokenizer(folder)
    tokenizer = words_tokenizer(folder)
    assert holds_tokenizer(folder)
    assert tokenizer_from(folder).get_vocab() == tokenizer.get_vocab()
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="holds no readable tokenizer"):
        tokenizer_from(folder)


def test_a_missing_tensor_is_found_in_the_file_itself(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["transformer.h.1.mlp.c_fc.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"h\.1\.mlp\.c_fc\.bias is not there"):
        from_folder(folder, torch.float32, "it")
