"""GGUF files: the weights that were written come out, once converted they are kept, and what is wrong is said at once."""

import time

import pytest
import torch
from tiny_gguf import TOKENS, llama, write_gguf

import mechcausal as mc
from mechcausal.errors import ModelError, UnsupportedError
from mechcausal.models import converting, room
from mechcausal.models.cache import cache_folder
from mechcausal.models.origin import origin_of

pytest.importorskip("gguf", reason="the package gguf is not installed")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path / "cache"))


def same_logits(model, reference):
    tokens = torch.arange(12).reshape(2, 6) + 3
    torch.testing.assert_close(model(tokens), reference(tokens).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_the_weights_are_those_written(tmp_path, tied):
    reference = llama(tied)
    path = write_gguf(tmp_path / "model.gguf", reference)
    model = mc.load(path)
    same_logits(model, reference)
    ours = dict(model.original_model.named_parameters())
    for name, value in reference.named_parameters():
        name = next(own for own in ours if own.replace("._original_component", "") == name)
        assert torch.equal(ours[name], value), name


def test_the_tokenizer_and_the_origin(file):
    model = mc.load(str(file))
    assert model.tokenizer.convert_ids_to_tokens(model.tokenizer("in the")["input_ids"]) == ["in", "Ġthe"]
    assert len(model.tokenizer) == len(TOKENS)
    assert list(origin_of(model).files) == ["tiny.gguf"]
    pairs = mc.Contrast.from_text(model, ["the a"], ["the the"], answer="t", foil="a")
    patched = mc.patch(model, pairs)
    assert list(patched.provenance.model["files"]) == ["tiny.gguf"]


def test_a_folder_with_one(file):
    same_logits(mc.load(file.parent), llama())


def test_a_folder_with_two(file, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.gguf").write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"holds 2 GGUF files .*a\.gguf, b\.gguf.*pass the path of one"):
        mc.load(tmp_path)


def test_the_second_load_converts_nothing(file, monkeypatch):
    mc.load(file, check=False)
    (folder,) = cache_folder("models").iterdir()
    monkeypatch.setattr(converting, "_convert", lambda *_: pytest.fail("it was converted again"))
    started = time.perf_counter()
    same_logits(mc.load(file, check=False), llama())
    assert time.perf_counter() - started < 3
    assert [path.name for path in cache_folder("models").iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["model.safetensors", "mechcausal.json", "config.json"])
def test_a_damaged_conversion_is_made_again(file, name):
    mc.load(file, check=False)
    (folder,) = cache_folder("models").iterdir()
    (folder / name).write_bytes((folder / name).read_bytes()[:-7])
    same_logits(mc.load(file, check=False), llama())


def test_another_version_converts_anew(file, monkeypatch):
    mc.load(file, check=False)
    calls = []
    real = converting._convert
    monkeypatch.setattr(converting, "versions", lambda *names: dict.fromkeys(names, "another"))
    monkeypatch.setattr(converting, "_convert", lambda *given: (calls.append(given), real(*given)))
    mc.load(file, check=False)
    assert len(calls) == 1


def test_a_conversion_that_fails_leaves_nothing(file, monkeypatch):
    def fail(path, folder):
        (folder / "half").write_text("half")
        raise ModelError("it failed")

    monkeypatch.setattr(converting, "_convert", fail)
    with pytest.raises(ModelError, match="it failed"):
        mc.load(file)
    assert list(cache_folder("models").iterdir()) == []


def test_half_precision_is_dequantized(tmp_path):
    reference = llama()
    for value in reference.parameters():
        if value.ndim > 1:
            value.copy_(value.half().float())
    same_logits(mc.load(write_gguf(tmp_path / "half.gguf", reference, half=True)), reference)


def test_one_without_a_vocabulary_has_no_tokenizer(tmp_path):
    assert mc.load(write_gguf(tmp_path / "bare.gguf", vocabulary=False)).tokenizer is None


def said(path, kind=ModelError):
    with pytest.raises(kind) as caught:
        mc.load(path)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.99])
def test_one_that_is_cut_off(file, tmp_path, share):
    content = file.read_bytes()
    path = tmp_path / "short.gguf"
    path.write_bytes(content[: int(share * len(content))])
    assert "is cut off or damaged" in said(path)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "an empty file"), (b"PK\x03\x04 something else", "other first bytes")]
)
def test_what_is_no_gguf(tmp_path, content, words):
    path = tmp_path / "no.gguf"
    path.write_bytes(content)
    assert words in said(path)


def test_a_file_that_is_not_there(tmp_path):
    assert "nothing at" in said(tmp_path / "no.gguf")


@pytest.mark.parametrize("architecture", ["rwkv7", "bert", "tokenizer"])
def test_an_architecture_that_cannot_be_converted(tmp_path, architecture):
    message = said(write_gguf(tmp_path / "other.gguf", architecture=architecture), UnsupportedError)
    assert "transformers cannot convert" in message
    assert f"the architecture '{architecture}'" in message


def test_an_encoder_decoder(tmp_path):
    assert "encoder-decoder" in said(write_gguf(tmp_path / "t5.gguf", architecture="t5"), UnsupportedError)


@pytest.mark.parametrize(
    ("architecture", "extra"), [("clip", {}), ("qwen2vl", {}), ("llama", {"general.type": "mmproj"})]
)
def test_a_vision_language_model(tmp_path, architecture, extra):
    path = write_gguf(tmp_path / "sees.gguf", architecture=architecture, extra=extra)
    assert "vision-language" in said(path, UnsupportedError)


def test_one_part_of_several(tmp_path):
    path = write_gguf(tmp_path / "m-00001-of-00002.gguf", extra={"split.count": 2})
    assert "one part of several" in said(path, UnsupportedError)


def test_missing_weights(tmp_path):
    path = write_gguf(tmp_path / "gap.gguf", leave_out=["blk.1.ffn_up.weight"])
    assert "lacks 1 weights" in said(path)


def test_one_too_large_for_memory(file, monkeypatch):
    monkeypatch.setattr(room, "available", lambda device: 50_000)
    monkeypatch.setattr(converting, "_convert", lambda *_: pytest.fail("it was read"))
    assert "too large for the memory of this machine" in said(file)


def test_a_full_disk(file, monkeypatch):
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    assert "no room for the converted model" in said(file)


def test_without_the_package(file, monkeypatch):
    monkeypatch.setattr(converting, "find_spec", lambda _: None)
    message = said(file, UnsupportedError)
    assert message.endswith("needs the package gguf: pip install gguf")
