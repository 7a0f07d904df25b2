"""Files of a model, looked at before anything is loaded."""

import hashlib
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mechcausal.errors import ModelError
from mechcausal.models.files import (
    first_line,
    name_of,
    read_json,
    read_safetensors,
    read_torch,
    sha256,
    shapes_of,
    tensors_in,
    weight_files,
)  # fmt: skip

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4)}
RAN = []
SHAPES = {"a": (2, 3), "b": (4,)}


def test_tensors_of_either_format_have_their_shapes(tmp_path):
    safe, plain = tmp_path / "model.safetensors", tmp_path / "model.bin"
    save_file(TENSORS, safe)
    torch.save({**TENSORS, "steps": 3}, plain)
    assert shapes_of([safe]) == shapes_of([plain]) == SHAPES
    for content in (read_safetensors(safe), tensors_in(read_torch(plain))):
        assert {name: value.tolist() for name, value in content.items()} == {k: v.tolist() for k, v in TENSORS.items()}
    assert tensors_in([1, 2]) == {}
    assert sha256(safe) == hashlib.sha256(safe.read_bytes()).hexdigest()


def test_the_index_says_which_files_hold_the_weights(tmp_path):
    assert weight_files(tmp_path) == []
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {"a": "two.safetensors", "b": "one.safetensors", "c": "one.safetensors"}})
    )
    with pytest.raises(ModelError, match=r"2 of 2 files of weights are missing.*no one.safetensors"):
        weight_files(tmp_path)
    for name in ("one", "two"):
        save_file({name: torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    assert [path.name for path in weight_files(tmp_path)] == ["one.safetensors", "two.safetensors"]
    save_file(TENSORS, tmp_path / "model.safetensors")  # what transformers reads first
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"a": "../elsewhere.safetensors"}, "points outside its folder"),
        ({}, "does not say which file"),
        ({"a": 3}, "weight_map"),
    ],
)
def test_an_index_that_leads_astray(tmp_path, places, said):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ModelError, match=said):
        weight_files(tmp_path)


@pytest.mark.parametrize(("text", "said"), [("{", "is not readable JSON"), ("[1]", "holds no JSON object")])
def test_json_that_is_no_object(tmp_path, text, said):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=said):
        read_json(path)


def test_a_file_with_a_wrong_suffix_is_called_what_it_is(tmp_path):
    empty, torch_file, safe = (tmp_path / name for name in ("empty.safetensors", "torch.safetensors", "safe.bin"))
    empty.write_bytes(b"")
    torch.save(TENSORS, torch_file)
    save_file(TENSORS, safe)
    for path, said in (
        (empty, "an empty file"),
        (torch_file, "a torch file, not safetensors"),
        (safe, "a safetensors file"),
    ):
        with pytest.raises(ModelError, match=said):
            shapes_of([path])


class Payload:
    """A pickle of this runs code where it is unpickled without care."""

    def __reduce__(self):
        return RAN.append, ("a payload ran",)


def test_a_pickle_is_not_run(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelError, match="a pickle is never run"):
        read_torch(path)
    assert RAN == []


def test_long_names_and_errors_fit_into_a_message(tmp_path):
    assert name_of(tmp_path / "short") == str(tmp_path / "short")
    long = tmp_path / ("x" * 200)
    assert len(name_of(long)) == 90
    assert name_of(long).endswith("x" * 87)
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
