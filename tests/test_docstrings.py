"""The examples of the docstrings do what they say."""

import doctest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import mechcausal as mc
from mechcausal.models.bridge import transformer_lens_version

ROOT = Path(mc.__file__).parent
SLOW = {
    "mechcausal.causal.alignment.das",
    "mechcausal.causal.alignment.masks",
    "mechcausal.causal.scrubbing.scrub",
    "mechcausal.links.linking",
    "mechcausal.patching.activation",
    "mechcausal.probes.answers",
    "mechcausal.probes.erasure.guardedness",
    "mechcausal.probes.probing",
    "mechcausal.probes.sparse",
    "mechcausal.probes.sweep",
}
NEED_SAE_LENS = {"mechcausal.dictionaries.training"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        if ">>>" in path.read_text() and path.name != "recipe.py":
            name = ".".join(("mechcausal", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
            yield pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.slow
@pytest.mark.parametrize("name", modules())
def test_examples(name):
    if name in NEED_SAE_LENS and (find_spec("sae_lens") is None or not transformer_lens_version().startswith("3.")):
        pytest.skip("sae-lens cannot be imported here")
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
