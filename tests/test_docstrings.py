"""The examples of the docstrings do what they say."""

import doctest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import mechcausal as mc
from mechcausal.models.bridge import transformer_lens_version

ROOT = Path(mc.__file__).parent
NEED_SAE_LENS = {"mechcausal.dictionaries.training"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        if ">>>" in path.read_text() and path.name != "recipe.py":
            yield ".".join(("mechcausal", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    if name in NEED_SAE_LENS and (find_spec("sae_lens") is None or not transformer_lens_version().startswith("3.")):
        pytest.skip("sae-lens cannot be imported here")
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
