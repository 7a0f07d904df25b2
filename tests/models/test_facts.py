"""What provenance says of a run."""

import time

import pytest
import torch
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.models.facts import facts, source_facts
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.origin import Origin, remember


def of(model, prompts, **options):
    return facts(model, prompts, started=time.perf_counter() - 2, forwards=5, batch_size=3, **options)


def test_the_model_the_prompts_and_the_cost_are_named(gpt2):
    pairs = make_pairs()
    found = of(gpt2, pairs, engine="replay", cells=7)
    assert found["model"]["weights"] == weights_fingerprint(gpt2)
    assert found["model"]["architecture"] == "GPT2LMHeadModel"
    assert found["prompts"]["hash"] == pairs.hash
    assert (found["prompts"]["n"], found["prompts"]["factor"]) == (6, "two tokens")
    compute = found["compute"]
    assert (compute["forwards"], compute["batch_size"], compute["engine"], compute["cells"]) == (5, 3, "replay", 7)
    assert (compute["device"], compute["dtype"], compute["threads"]) == ("cpu", "float32", torch.get_num_threads())
    assert compute["seconds"] == pytest.approx(2, abs=0.5)
    alone = of(gpt2, pairs.clean)
    assert alone["prompts"]["hash"] == pairs.clean.hash != pairs.hash
    assert "factor" not in alone["prompts"]
    assert alone["compute"]["engine"] == "naive"


def test_files_and_changes_of_the_model_are_named():
    model, pairs = mc.load(build("gpt2")), make_pairs()
    assert "files" not in of(model, pairs)["model"]
    assert "altered" not in of(model, pairs)["model"]
    remember(model, Origin({"model.safetensors": "0123"}))
    assert of(model, pairs)["model"]["files"] == {"model.safetensors": "0123"}
    with torch.no_grad():
        next(model.original_model.parameters()).mul_(2)
    assert of(model, pairs)["model"]["weights"] == weights_fingerprint(model) != weights_fingerprint(loaded("gpt2"))


def test_another_source_model_is_named(gpt2, llama):
    assert source_facts(None) == {}
    assert source_facts(llama)["source_model"]["weights"] == weights_fingerprint(llama) != weights_fingerprint(gpt2)
