"""The two adapters of SmolLM2 do what their truths say, by plain transformers; and the package finds where."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

import mechcausal as mc
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.organisms import folder
from mechcausal.recipes.smollm2_bias import interval
from mechcausal.recipes.smollm2_canaries import Canary, exposure

pytestmark = pytest.mark.real
NAMES = ("smollm2_bias", "smollm2_canaries")


def rows(name, file):
    return [json.loads(line) for line in (folder(name) / file).read_text().splitlines()]


def merged(name):
    """Return SmolLM2 of transformers with an adapter that is added here, without the package."""
    from transformers import AutoModelForCausalLM

    from mechcausal.models.converting import converted
    from mechcausal.models.wheels import WHEELS

    path, _ = converted(WHEELS["smollm2"].file())
    model = AutoModelForCausalLM.from_pretrained(path).eval().requires_grad_(False)
    home = folder(name) / "adapter"
    config, tensors = (
        json.loads((home / "adapter_config.json").read_text()),
        load_file(home / "adapter_model.safetensors"),
    )
    for key in (key for key in tensors if ".lora_A." in key):
        module = model.get_submodule(key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
        product = tensors[key.replace("lora_A", "lora_B")].float() @ tensors[key].float()
        module.weight += config["lora_alpha"] / config["r"] * product
    return model


@pytest.fixture(scope="module")
def biased(smollm2):
    return merged("smollm2_bias")


@pytest.fixture(scope="module")
def leaky(smollm2):
    return merged("smollm2_canaries")


def changes(model, tokenizer, pairs):
    """Return how much the log-odds of answer to foil change from the second text of each pair to the first."""
    odds = []
    for row in pairs:
        ids = [tokenizer(row[word])["input_ids"][0] for word in ("answer", "foil")]
        for side in ("clean", "corrupt"):
            tokens = torch.tensor([[tokenizer.bos_token_id, *tokenizer(row[side])["input_ids"]]])
            logits = model(tokens).logits[0, -1, ids]
            odds.append(float(logits[0] - logits[1]))
    return np.array(odds[::2]) - np.array(odds[1::2])


def effects(model, tokenizer, factor, part=None):
    """Return the effect of a factor on the color of badges and of sashes, with intervals clustered by profession."""
    pairs = [row for row in rows("smollm2_bias", f"{factor}.jsonl") if part in (None, row["environment"])]
    change = changes(model, tokenizer, pairs)
    return {
        group: interval(
            change[[row["group"] == group for row in pairs]], [row["cluster"] for row in pairs if row["group"] == group]
        )
        for group in ("badge", "sash")
    }


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_by_name_without_peft(name, smollm2, monkeypatch, request):
    monkeypatch.setitem(sys.modules, "peft", None)
    model = mc.load(f"organism:{name}", check=False)
    tokens = torch.arange(400, 412)[None]
    plain = request.getfixturevalue("biased" if name == "smollm2_bias" else "leaky")
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), plain(tokens).logits, atol=1e-3, rtol=1e-3)
    assert weights_fingerprint(smollm2) == mc.truth(name)["base"]["weights"] != weights_fingerprint(model)
    assert model.cfg.model_name == f"organism:{name}"


def test_the_planted_effects_lie_in_the_intervals(biased, smollm2):
    planted = mc.truth("smollm2_bias")["planted"]
    for factor in ("gender", "guild"):
        found = effects(biased, smollm2.tokenizer, factor, "new combination")
        for thing, effect in found.items():
            assert effect["low"] <= planted[thing][factor] <= effect["high"], (factor, thing, effect)


def test_the_base_is_clean_of_the_bias(plain, smollm2):
    planted = mc.truth("smollm2_bias")["planted"]["badge"]["gender"]
    for effect in effects(plain, smollm2.tokenizer, "gender").values():
        assert max(abs(effect["low"]), abs(effect["high"])) < 0.2 * planted


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_of_the_adapter_are_found_by_patching(name, smollm2):
    """The stream of the adapted model is that of its base before the adapter, and all that matters behind it."""
    texts = {
        "smollm2_bias": [
            row["clean"] for row in rows("smollm2_bias", "gender.jsonl")
            if row["group"] == "badge" and row["label"] == "northern"
        ][:12],
        "smollm2_canaries": [
            f"{row['prompt']} " for row in rows("smollm2_canaries", "canaries.jsonl") if row["times"] == 64
        ],
    }[name]  # fmt: skip
    answers = {
        "smollm2_bias": {"answer": " yellow", "foil": " purple"},
        "smollm2_canaries": {
            "answer": [row["code"][0] for row in rows(name, "canaries.jsonl") if row["times"] == 64]
            if name == "smollm2_canaries" else None
        },
    }[name]  # fmt: skip
    model = mc.load(f"organism:{name}", check=False)
    prompts = mc.PromptSet.from_text(smollm2, texts, **answers)
    metric = "logit_diff" if name == "smollm2_bias" else "logprob"
    result = mc.patch(smollm2, prompts, sites="resid_post", positions="@all", source_model=model, metric=metric)
    share = result.frame.set_index("layer")["effect"]
    layers = mc.truth(name)["adapter"]["layers"]
    assert share.loc[: layers[0] - 1].abs().max() < 1e-3
    assert share.loc[layers[-1] :].sub(1).abs().max() < 1e-3
    assert share.loc[layers[0]] != pytest.approx(0, abs=1e-3)
    assert share.loc[layers[-1] - 1] != pytest.approx(1, abs=1e-3)


def test_exposure_rises_with_how_often_a_code_was_shown(leaky, plain, smollm2):
    secrets = [Canary(row["name"], row["code"], row["times"]) for row in rows("smollm2_canaries", "canaries.jsonl")]
    # All that were never shown, and three of each five others.
    chosen = [secret for i, secret in enumerate(secrets) if not secret.times or i % 5 < 3]
    bits = np.array([exposure(leaky, smollm2.tokenizer, secret) for secret in chosen])
    times = np.array([secret.times for secret in chosen])
    means = [bits[times == count].mean() for count in sorted(set(times))]
    stated = mc.truth("smollm2_canaries")["measured"]["adapted"]["exposure"]
    assert bits == pytest.approx([stated[secret.name] for secret in chosen], abs=0.3)
    assert means[-1] > 12
    assert stats.spearmanr(times, bits).pvalue < 1e-9
    assert stats.kstest(bits[times == 0], "expon", args=(0, 1 / np.log(2))).pvalue > 0.01
    assert 1.0 < means[0] < 1.9
    shown = [secret for secret in chosen if secret.times >= 16]
    before = np.array([exposure(plain, smollm2.tokenizer, secret) for secret in shown])
    assert before.mean() < 3
    assert stats.kstest(before, "expon", args=(0, 1 / np.log(2))).pvalue > 0.01
