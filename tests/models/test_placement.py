"""Names of precisions and devices."""

from types import SimpleNamespace

import pytest
import torch

from mechcausal.errors import ArgumentError, UnsupportedError
from mechcausal.models.placement import DTYPES, device_called, dtype_called, require_one_device


@pytest.mark.parametrize("name", DTYPES)
def test_a_precision_by_any_of_its_names(name):
    assert dtype_called(name) is dtype_called(f"torch.{name}") is dtype_called(getattr(torch, name))


@pytest.mark.parametrize("dtype", ["float33", torch.int64, None, 32])
def test_what_is_no_precision(dtype):
    with pytest.raises(ArgumentError, match="load cannot take this 'dtype'"):
        dtype_called(dtype)


def test_a_device_of_this_machine():
    assert device_called(None) is None
    assert device_called("cpu") == device_called(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpuu", True, 1.5, "meta"])
def test_what_is_no_device(device):
    with pytest.raises(ArgumentError, match="load cannot take this 'device'"):
        device_called(device)


def test_a_device_that_is_not_here(monkeypatch):
    with pytest.raises(UnsupportedError, match="there is no device cpu:1"):
        device_called("cpu:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="torch finds no cuda device"):
        device_called("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_called("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UnsupportedError, match=r"there is no device cuda:2 .got 2 cuda devices"):
        device_called("cuda:2")


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
