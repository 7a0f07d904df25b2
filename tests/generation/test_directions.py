"""Files with one direction: what is written is read, and what is no direction is refused."""

import pytest
import torch
from safetensors.torch import save_file

from mechcausal.errors import DataError
from mechcausal.generation import load_direction, save_direction


def test_what_is_written_is_read(tmp_path):
    path = save_direction(torch.arange(4.0), tmp_path / "a.safetensors", {"site": "L1.resid_post"})
    assert load_direction(path).tolist() == [0, 1, 2, 3]
    save_file({"of_another_program": torch.ones(1, 3, dtype=torch.float16)}, tmp_path / "b.safetensors")
    assert load_direction(tmp_path / "b.safetensors").tolist() == [1, 1, 1]


def test_what_is_no_direction_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    for tensors, said in (
        ({"a": torch.ones(2), "b": torch.ones(2)}, "holds 2 tensors"), ({"a": torch.ones(2, 2)}, "not one vector"),
        ({"a": torch.tensor([float("nan")])}, "NaN"),
    ):  # fmt: skip
        save_file(tensors, path)
        with pytest.raises(DataError, match=said):
            load_direction(path)
    path.write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be read"):
        load_direction(path)
    for direction, name, said in (("x", "a.safetensors", "list of numbers"), ([1.0], "a.pt", "saved as safetensors")):
        with pytest.raises(DataError, match=said):
            save_direction(direction, tmp_path / name)
