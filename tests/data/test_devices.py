"""Names of devices."""

import pytest
import torch

import mechcausal as mc
from mechcausal.data.devices import device_called
from mechcausal.errors import ArgumentError, UnsupportedError


def test_a_device_of_this_machine():
    assert device_called(None) is None
    assert device_called("cpu") == device_called(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpuu", True, 1.5, "meta", 10**18])
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


@pytest.mark.parametrize("device", [3.5, None, "nowhere"])
def test_prompts_go_to_a_device(device):
    prompts = mc.PromptSet(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool))
    assert prompts.to("cpu").hash == prompts.hash
    with pytest.raises(ArgumentError, match=r"PromptSet.to cannot take this 'device'"):
        prompts.to(device)
