"""Files from anywhere: whatever is wrong with them, the package's own error of one sentence, and nothing of theirs runs.

Each file is made here. A damaged file is either refused by a `MechcausalError` of less than 400 characters, or, where the
damage is one that no format can notice (a flipped bit of a number), it loads under another digest.
"""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load, save_file
from words import words_tokenizer
from zoo import VOCAB, build

import mechcausal as mc
from mechcausal.catalog import ORGANISMS
from mechcausal.errors import ArgumentError, DataError, MechcausalError, ModelError, NumericsError, UnsupportedError
from mechcausal.models.fingerprint import weights_fingerprint

RAN = []


class Payload:
    """A pickle of this runs code where it is unpickled without care."""

    def __reduce__(self):
        return (RAN.append, ("a payload ran",))


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    build("gpt2").save_pretrained(folder)
    words_tokenizer(folder)
    return folder


@pytest.fixture
def folder(intact, tmp_path):
    return shutil.copytree(intact, tmp_path / "model")


@pytest.fixture(scope="module")
def digest(intact):
    return weights_fingerprint(mc.load(intact, check=False))


@pytest.fixture(autouse=True)
def nothing_runs():
    RAN.clear()
    yield
    assert RAN == []


def refused(source, error=MechcausalError, said=None, **how):
    with pytest.raises(error, match=said) as caught:
        mc.load(source, check=False, **how)
    assert type(caught.value).__module__ == "mechcausal.errors"
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def accepted(source):
    """Return the model, or None where it is refused as it should be."""
    try:
        return mc.load(source, check=False)
    except MechcausalError as error:
        said = str(error)
    assert len(said) < 400
    assert "\n" not in said
    return None


def weights_in(folder):
    return load((folder / "model.safetensors").read_bytes())


# -- safetensors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.3, 0.9, 0.9999])
def test_truncated_weights(folder, share):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(folder, ModelError, "not a whole safetensors file")


@pytest.mark.parametrize("more", [1, 1000])
def test_oversized_weights(folder, more):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0" * more)
    refused(folder, ModelError, "not a whole safetensors file")


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"{}", b"\xff" * 8 + b"{}", b"[]" * 50, b"<html>not found</html>"])
def test_what_is_no_safetensors_file(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, ModelError)


@pytest.mark.parametrize("where", [0, 3, 7, 8, 12, 40, 100, 1500])
@pytest.mark.parametrize("bit", [0, 4])
def test_a_flipped_bit_in_the_header(folder, where, bit, digest):
    """The header has no checksum: a flip in the name of a comment is allowed to pass, with the very same weights."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[where] ^= 1 << bit
    path.write_bytes(content)
    model = accepted(folder)
    assert model is None or weights_fingerprint(model) == digest


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_a_flipped_bit_in_the_body_has_another_digest(folder, share, digest):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(content)
    assert weights_fingerprint(mc.load(folder, check=False)) != digest
    refused(folder, ModelError, "not the ones you expect", expect=digest)


def test_a_file_written_over_after_loading_changes_nothing(folder, digest):
    model = mc.load(folder, check=False)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0" * 5000)
    assert weights_fingerprint(model) == digest


def test_a_torch_file_called_safetensors_and_the_other_way_round(folder):
    weights = weights_in(folder)
    torch.save(weights, folder / "model.safetensors")
    refused(folder, ModelError, "a torch file, not safetensors")
    save_file(weights, folder / "weights.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    (folder / "weights.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, ModelError, "a safetensors file")


def changed(folder, change):
    weights = weights_in(folder)
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


NAME = "transformer.h.1.mlp.c_fc.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop(NAME), f"{NAME} is not there"),
        (lambda w: [w.pop(name) for name in list(w) if ".h.1." in name], "and 9 more is not there"),
        (lambda w: w.update({"transformer.h.3.ln_1.weight": torch.ones(32)}), r"h\.3\.ln_1\.weight has no place"),
        (lambda w: w.update({NAME: torch.zeros(32, 63)}), r"\[32, 63\] instead of \[32, 128\] has another shape"),
        (lambda w: w.update({NAME: w[NAME].T.contiguous()}), r"\[128, 32\] instead of \[32, 128\]"),
        (lambda w: w.update({NAME: torch.zeros(0)}), "has another shape"),
        (lambda w: (w.pop(NAME), w.update({"extra": torch.ones(1)})), "is not there; extra has no place"),
        (lambda w: w.clear(), "tensors of 0 numbers"),
        (lambda w: w.update({name: value * torch.inf for name, value in w.items()}), "NaN or infinity"),
    ],
)
def test_weights_that_are_not_the_configurations(folder, change, said):
    changed(folder, change)
    refused(folder, MechcausalError, said)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.complex64])
def test_weights_of_a_strange_type(folder, dtype):
    """Whatever a library makes of them, numbers are numbers, or the file is refused in one sentence."""
    changed(folder, lambda weights: weights.update({NAME: weights[NAME].to(dtype)}))
    model = accepted(folder)
    assert model is None or {value.dtype for value in model.original_model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "index",
    [
        "no json", "[]", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": 7}}',
        '{"weight_map": {"a": "../model.safetensors"}}', '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": "absent-00001-of-00002.safetensors"}}',
    ],
)  # fmt: skip
def test_an_index_of_several_files(folder, index):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder, ModelError)


# -- torch files and pickles -------------------------------------------------------------------------------------------


def test_a_folder_with_only_a_torch_file_loads_and_says_so(folder, digest, caplog, pairs):
    torch.save(weights_in(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = mc.load(folder)
    assert weights_fingerprint(model) == digest
    assert "pytorch_model.bin, a torch file, as plain tensors only" in caplog.text
    assert list(mc.patch(model, pairs, sites="L0.z").provenance.model["files"]) == ["pytorch_model.bin"]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("content", [Payload(), {"weights": Payload()}, [Payload()]], ids=["bare", "dict", "list"])
def test_a_pickle_with_a_payload(folder, protocol, content):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(content, protocol=protocol))
    refused(folder, ModelError, "a pickle is never run")
    refused(folder / "pytorch_model.bin", ModelError, "a pickle is never run", config={})


def test_a_torch_archive_with_a_payload(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": torch.zeros(2), "more": Payload()}, folder / "pytorch_model.bin")
    refused(folder, ModelError, "a pickle is never run")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_torch_file(folder, share):
    torch.save(weights_in(folder), folder / "pytorch_model.bin")
    content = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(content[: int(len(content) * share)])
    (folder / "model.safetensors").unlink()
    refused(folder, ModelError, "not a file of weights")


# -- configurations ----------------------------------------------------------------------------------------------------


def configured(folder, **change):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "7", '"gpt2"', "\xff\xfe", "{'model_type': 'gpt2'}", "[" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000, '{"n_layer": ' + "9" * 5000 + "}", "{}", '{"model_type": "gpt2"',
        '{"model_type": null}', '{"model_type": 7}', '{"model_type": "no_such_model"}', '{"model_type": ["gpt2"]}',
    ],
    ids=range(17),
)  # fmt: skip
def test_a_configuration_that_is_none(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, ModelError)


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 4}, {"n_layer": 2}, {"n_layer": 0}, {"n_layer": -1}, {"n_layer": 10**6}, {"n_layer": "three"},
        {"n_layer": None}, {"n_layer": 1e9}, {"n_embd": 10**7}, {"n_embd": 33}, {"n_embd": 0}, {"n_head": 5}, {"n_head": 0},
        {"vocab_size": 10**12}, {"vocab_size": VOCAB + 1}, {"vocab_size": -5}, {"n_positions": 16}, {"n_inner": 7},
        {"activation_function": "no_such"}, {"model_type": "bert"}, {"model_type": "t5"}, {"model_type": "llama"},
        {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, {"vision_config": {"a": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_is_not_of_these_weights(folder, change):
    configured(folder, **change)
    refused(folder)


def test_code_of_a_repository_is_not_run(folder):
    (folder / "modeling_evil.py").write_text("raise SystemExit('code of a repository ran')")
    configured(
        folder, auto_map={"AutoConfig": "modeling_evil.E", "AutoModelForCausalLM": "modeling_evil.E"}, model_type="evil"
    )
    refused(folder, ModelError)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "[" * 50_000, '{"d_head": "x"}', '{"d_head": 3, "n_layers": 10000000}']
)
def test_the_configuration_of_a_legacy_folder(tmp_path, text, by_hand):
    shutil.copytree(ORGANISMS["by_hand"] / "weights", tmp_path / "legacy")
    (tmp_path / "legacy" / "config.json").write_text(text)
    refused(tmp_path / "legacy", ModelError)


# -- tokenizers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"version": "1.0", "model": {"type": "No"}}', "[" * 100_000, "\xff\xfe\xfd"]
)
def test_a_tokenizer_that_is_none(folder, text):
    (folder / "tokenizer.json").write_bytes(text.encode("latin-1"))
    refused(folder, ModelError, "no readable tokenizer")


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", "[" * 100_000, '{"tokenizer_class": 7}', '{"tokenizer_class": "NoSuchTokenizer"}']
)
def test_a_tokenizer_configuration_that_is_none(folder, text):
    """One that names an unknown class may load by its tokenizer.json alone."""
    (folder / "tokenizer_config.json").write_text(text)
    accepted(folder)


def test_prompts_of_another_models_tokenizer(folder):
    model = mc.load(folder, tokenizer=larger_tokenizer())
    pairs = mc.Contrast.from_text(model, ["v5 v70"], ["v6 v70"], answer="v7", foil="v8")
    with pytest.raises(DataError, match="not in the model's vocabulary") as caught:
        mc.patch(model, pairs, sites="L0.z")
    assert len(str(caught.value)) < 400


def larger_tokenizer():
    from mechcausal.organisms.tokenizer import word_tokenizer

    return word_tokenizer(["<pad>", "<bos>", *(f"v{i}" for i in range(2 * VOCAB))], longest=16)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"dtype": "float23"}, ArgumentError, "did you mean 'float32'"),
        ({"dtype": torch.int8}, ArgumentError, "cannot take this 'dtype'"),
        ({"dtype": 16}, ArgumentError, "cannot take this 'dtype'"),
        ({"device": "cud"}, ArgumentError, "did you mean 'cuda'"),
        ({"device": "cpu:x"}, ArgumentError, "cannot take this 'device'"),
        ({"device": 1.5}, ArgumentError, "cannot take this 'device'"),
        ({"device": "meta"}, ArgumentError, "cannot take this 'device'"),
        ({"device": "cpu:3"}, UnsupportedError, "there is no device cpu:3"),
        ({"tokenizer": 7}, ArgumentError, "cannot take this 'tokenizer'"),
        ({"tokenizer": "/no/such/folder"}, ModelError, "no readable tokenizer"),
        ({"config": {"n_layers": 2}}, ArgumentError, "for a legacy checkpoint only"),
        ({"expect": "abc"}, ModelError, "a text of 8 characters or more"),
        ({"expect": "0" * 16}, ModelError, "not the ones you expect"),
    ],
    ids=str,
)
def test_names_that_are_none(intact, how, error, said):
    refused(intact, error, said, **how)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has such a device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_device_that_this_machine_has_not(intact, device):
    refused(intact, UnsupportedError, "no cuda device", device=device)


def test_names_that_are_some(intact):
    for dtype in ("bfloat16", torch.bfloat16, "torch.bfloat16"):
        model = mc.load(intact, dtype=dtype, device="cpu", check=False)
        assert {value.dtype for value in model.original_model.parameters()} == {torch.bfloat16}


def test_numerics_are_refused_as_such(folder):
    changed(folder, lambda weights: weights.update({NAME: torch.full((32, 128), torch.nan)}))
    refused(folder, NumericsError, NAME)
