"""Where a model came from, and the digest that a caller expects."""

import hashlib

import pytest
from zoo import build, loaded

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.origin import Origin, origin_of, remember, require_digest


def test_files_are_named_with_their_sha256(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"some weights")
    origin = Origin.of([path], revision="abc", unread=["score.weight"])
    assert origin.files == {"model.safetensors": hashlib.sha256(b"some weights").hexdigest()}
    assert origin.to_json() == {"files": origin.files, "revision": "abc", "unread": ["score.weight"]}
    assert Origin().to_json() == {}


def test_an_origin_is_remembered_with_the_model():
    model = mc.load(build("gpt2"))
    assert origin_of(model) == Origin()
    remember(model, Origin({"weights.bin": "0123456789abcdef"}))
    assert origin_of(model).files == {"weights.bin": "0123456789abcdef"}
    assert origin_of(loaded("gpt2")) == Origin()
    require_digest(model, "01234567")  # of the file
    require_digest(model, weights_fingerprint(model))
    require_digest(model, weights_fingerprint(model)[:8].upper())


@pytest.mark.parametrize("expect", ["1234567", None, 12345678])
def test_a_digest_has_eight_characters_or_more(gpt2, expect):
    with pytest.raises(ModelError, match="a text of 8 characters or more"):
        require_digest(gpt2, expect)


def test_other_weights_are_refused_with_both_digests(gpt2):
    with pytest.raises(ModelError, match=f"weights {weights_fingerprint(gpt2)}; expected ffffffff") as caught:
        require_digest(gpt2, "f" * 8)
    assert len(str(caught.value)) < 400
