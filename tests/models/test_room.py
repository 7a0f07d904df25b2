"""Memory is estimated before anything is read."""

import pytest
import torch
from zoo import build

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.models import room


def test_what_this_machine_has():
    free = room.available()
    assert free is None or 2**20 < free < 2**50


def test_the_smaller_limit_counts(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:     50 kB\n")
    monkeypatch.setattr(room, "_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(room, "_GROUP", tmp_path)
    assert room.available() == 50 * 1024
    for name, text in {"max": "30000", "current": "20000", "stat": "anon 5\ninactive_file 4000"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert room.available() == 14_000
    (tmp_path / "memory.max").write_text("max")
    assert room.available() == 50 * 1024
    (tmp_path / "meminfo").unlink()
    assert room.available() is None
    room.require_memory(2**60, "anything")  # what cannot be known is not refused


def test_a_folder_that_does_not_fit(tmp_path, monkeypatch):
    model = build("llama")
    model.save_pretrained(tmp_path)
    size = sum(value.numel() for value in model.parameters())
    monkeypatch.setattr(room, "available", lambda device: 5 * size)
    mc.load(tmp_path)
    monkeypatch.setattr(room, "available", lambda device: 3 * size)
    monkeypatch.setattr("mechcausal.models.pretrained._read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelError, match=r"too large for the memory of this machine .* GB of weights.*bfloat16"):
        mc.load(tmp_path)
    with pytest.raises(pytest.fail.Exception, match="it was read"):
        mc.load(tmp_path, dtype="bfloat16")


def test_a_copy_that_does_not_fit(monkeypatch):
    model = build("gpt2")
    monkeypatch.setattr(room, "available", lambda device: 1000)
    with pytest.raises(ModelError, match=r"a copy of .* is too large.*pass copy=False"):
        mc.load(model)
    mc.load(model, copy=False)


def test_the_words_of_a_device(monkeypatch):
    monkeypatch.setattr(room, "available", lambda device: 10**9)
    with pytest.raises(ModelError, match=r"m does not fit on cuda:1 .*4\.2 GB.*1 GB"):
        room.require_memory(4 * 10**9, "m", torch.device("cuda:1"))
