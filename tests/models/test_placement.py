"""Names of precisions, and one device for a model."""

from types import SimpleNamespace

import pytest
import torch

from mechcausal.errors import ArgumentError, UnsupportedError
from mechcausal.models.placement import DTYPES, dtype_called, require_one_device


@pytest.mark.parametrize("name", DTYPES)
def test_a_precision_by_any_of_its_names(name):
    assert dtype_called(name) is dtype_called(f"torch.{name}") is dtype_called(getattr(torch, name))


@pytest.mark.parametrize("dtype", ["float33", torch.int64, None, 32])
def test_what_is_no_precision(dtype):
    with pytest.raises(ArgumentError, match="load cannot take this 'dtype'"):
        dtype_called(dtype)


def test_a_model_is_on_one_device():
    def on(*devices):
        parameters = [SimpleNamespace(device=torch.device(device)) for device in devices]
        return SimpleNamespace(parameters=lambda: parameters)

    require_one_device(on("cuda:0", "cuda:0"), "it")
    with pytest.raises(
        UnsupportedError, match=r"it was spread over several devices.*got cpu, cuda:1.*device=\"cuda:1\""
    ):
        require_one_device(on("cpu", "cuda:1"), "it")
    with pytest.raises(UnsupportedError, match=r"it does not fit into memory.*on the disk"):
        require_one_device(on("cpu", "meta"), "it")
