"""The real model: as this package loads it, and as plain transformers does."""

import pytest
from ioi_prompts import ioi_pairs

import mechcausal as mc
from mechcausal.models.wheels import WHEELS


@pytest.fixture(scope="session")
def smollm2():
    if WHEELS["smollm2"].file() is None:
        pytest.skip(f"smollm2 is not installed: {WHEELS['smollm2'].command}")
    pytest.importorskip("gguf", reason="the package gguf is not installed: pip install gguf")
    return mc.load("smollm2")


@pytest.fixture(scope="session")
def plain(smollm2):
    """Return the model of transformers, read from the converted folder, with its own attention."""
    from transformers import AutoModelForCausalLM

    from mechcausal.models.converting import converted

    folder, _ = converted(WHEELS["smollm2"].file())
    return AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def pairs(smollm2):
    """Four pairs of one length."""
    return ioi_pairs(smollm2, 4)
