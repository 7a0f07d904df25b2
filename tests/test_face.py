"""The public face: every name works in a fresh interpreter, and nothing else is shown."""

import subprocess
import sys
from pathlib import Path
from shutil import which
from types import ModuleType

import pytest

import mechcausal as mc
from mechcausal.face import lazy, shown

FACES = {
    "mechcausal": mc, "causal": mc.causal, "features": mc.features, "patching": mc.patching, "circuits": mc.circuits,
    "methods": mc.methods,
}  # fmt: skip


@pytest.mark.slow
def test_every_name_works_in_a_fresh_interpreter():
    code = "import mechcausal as mc; [getattr(mc, n) for n in dir(mc)]; [getattr(mc.features, n) for n in dir(mc.features)]"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path(mc.__file__).parent.parent)


@pytest.mark.parametrize("name", FACES)
def test_a_face_shows_what_is_meant_to_be_called(name):
    face = FACES[name]
    names = [word for word in dir(face) if word != "__version__"]
    assert names
    for word in names:
        value = getattr(face, word)
        assert not word.startswith("_")
        assert word not in ("annotations", "Any", "TYPE_CHECKING", "lazy", "shown")
        if isinstance(value, ModuleType):
            assert face is mc
            assert value.__name__ == f"mechcausal.{word}"
        elif hasattr(value, "__module__"):
            assert value.__module__.startswith("mechcausal."), word
    first = (face.__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert ":" not in first
    assert first[0].isupper()


def test_names_of_a_lazy_face_are_imported_on_first_use():
    get, names = lazy("mechcausal", {"Path": "pathlib", "json": "json"}, "also")
    assert get("Path") is Path
    assert names() == ["Path", "also", "json"]
    with pytest.raises(AttributeError, match="no attribute 'Pth'"):
        get("Pth")


def test_an_eager_face_hides_modules_and_what_is_private():
    namespace = {"patch": mc.patch, "Path": Path, "sys": sys, "_own": 1, "annotations": 2, "EXACT": ("all",)}
    assert shown(namespace)() == ["EXACT", "patch"]


def test_the_package_says_that_it_is_typed():
    assert (Path(mc.__file__).parent / "py.typed").is_file()


TYPED = """
from typing import assert_type
import mechcausal as mc
from mechcausal.results import Result

model = mc.load("organism:hiring")
pairs = mc.contrast("hiring/gender", model, n=8)
assert_type(mc.patch(model, pairs, sites="z"), Result)
assert_type(mc.patch.cost(model, pairs, sites="z").cells, int)
assert_type(mc.methods.Patching(sites="z").run(model, pairs), Result)
used = (mc.features.train, mc.circuits.Graph, mc.methods.read)
"""


def test_a_type_checker_knows_the_face(tmp_path):
    checker = which("ty") or Path(sys.executable).parent / "ty"
    if not Path(checker).exists():
        pytest.skip("ty is not installed")
    script = tmp_path / "script.py"
    flags = ["--python", sys.prefix, "--extra-search-path", str(Path(mc.__file__).parent.parent)]

    def said(text):
        script.write_text(text)
        done = subprocess.run([checker, "check", *flags, script], capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    assert said(TYPED)[0] == 0, said(TYPED)
    for wrong in ("mc.ptach", "mc.features.trian", 'mc.patch(model, pairs, sitse="z")'):
        assert said(f"{TYPED}\n{wrong}\n")[0] == 1, wrong
