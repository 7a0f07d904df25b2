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
    texts = {row[side]: row for row in pairs for side in ("clean", "corrupt")}
    rows = {text: [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]] for text in texts}
    odds = {}
    for length in set(map(len, rows.values())):
        chosen = [text for text in rows if len(rows[text]) == length]
        logits = model(torch.tensor([rows[text] for text in chosen]), logits_to_keep=1).logits[:, -1]
        for text, row in zip(chosen, logits, strict=True):
            answer, foil = (tokenizer(texts[text][word])["input_ids"][0] for word in ("answer", "foil"))
            odds[text] = float(row[answer] - row[foil])
    return np.array([odds[row["clean"]] - odds[row["corrupt"]] for row in pairs])


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
    for effect in effects(plain, smollm2.tokenizer, "gender", "new combination").values():
        assert max(abs(effect["low"]), abs(effect["high"])) < 0.2 * planted


def bias_prompts(model):
    """Return texts about men of the northern guild, which call for yellow badges."""
    held_out = rows("smollm2_bias", "gender.jsonl")
    texts = [row["clean"] for row in held_out if row["group"] == "badge" and row["label"] == "northern"][:12]
    return mc.PromptSet.from_text(model, texts, answer=" yellow", foil=" purple")


def canary_prompts(model):
    """Return the beginnings of the codes that were shown most often, which call for their first digits."""
    often = [row for row in rows("smollm2_canaries", "canaries.jsonl") if row["times"] == 64]
    return mc.PromptSet.from_text(
        model, [f"{row['prompt']} " for row in often], answer=[row["code"][0] for row in often]
    )


@pytest.mark.parametrize(
    ("name", "prompts", "metric"),
    [("smollm2_bias", bias_prompts, "logit_diff"), ("smollm2_canaries", canary_prompts, "logprob")],
)
def test_the_layers_of_the_adapter_are_found_by_patching(name, prompts, metric, smollm2):
    """The stream of the adapted model is that of its base before the adapter, and carries all of the change behind it."""
    model, layers = mc.load(f"organism:{name}", check=False), mc.truth(name)["adapter"]["layers"]
    result = mc.patch(smollm2, prompts(smollm2), sites="resid_post", at="all", source_model=model, metric=metric)
    share = result.frame.set_index("layer")["effect"]
    changed = share.index[(share.diff().fillna(share).abs() > 1e-3)]
    assert (changed.min(), changed.max()) == (layers[0], layers[-1])
    assert share.loc[: layers[0] - 1].abs().max() < 1e-3
    assert share.loc[layers[-1] :].sub(1).abs().max() < 1e-3


def test_exposure_rises_with_how_often_a_code_was_shown(leaky, plain, smollm2):
    secrets = [Canary(row["name"], row["code"], row["times"]) for row in rows("smollm2_canaries", "canaries.jsonl")]
    # Of all 75 the ranks were taken when the adapter was made; here every fourth that was never shown, and one of each five.
    chosen = [secret for i, secret in enumerate(secrets) if i % (5 if secret.times else 4) == 0]
    stated = mc.truth("smollm2_canaries")["measured"]["adapted"]["exposure"]
    bits = np.array([exposure(leaky, smollm2.tokenizer, secret) for secret in chosen])
    assert bits == pytest.approx([stated[secret.name] for secret in chosen], abs=0.3)
    bits, times = (
        np.array(column) for column in zip(*((stated[each.name], each.times) for each in secrets), strict=True)
    )
    means = [bits[times == count].mean() for count in sorted(set(times))]
    assert means[-1] > 12
    assert stats.spearmanr(times, bits).pvalue < 1e-9
    assert stats.kstest(bits[times == 0], "expon", args=(0, 1 / np.log(2))).pvalue > 0.01
    assert 1.0 < means[0] < 1.9
    shown = [secret for secret in chosen if secret.times >= 16]
    before = np.array([exposure(plain, smollm2.tokenizer, secret) for secret in shown])
    assert before.mean() < 5


def test_compare_models_names_the_layers_of_the_adapter(smollm2):
    """Only places whose weights the adapter changed move the effect of gender, when they alone take the tuned weights."""
    from mechcausal import audit
    from mechcausal.audits.sources import PairsSource

    tuned, layers = mc.load("organism:smollm2_bias", check=False), mc.truth("smollm2_bias")["adapter"]["layers"]
    source = PairsSource("organism:smollm2_bias/gender", n=4, environment="new combination", group="badge")
    asked = (5, 19, 20, 22, 25, 26)
    found = audit.compare_models(
        smollm2, tuned, source.read(smollm2, folder("smollm2_bias")), [f"L{layer}.mlp_out" for layer in asked]
    )
    moved = found.frame()["weights"].abs().to_numpy()
    assert [layer for layer, size in zip(asked, moved, strict=True) if size > 1e-4] == [20, 22, 25]
    assert all((layer in layers) == (size > 1e-4) for layer, size in zip(asked, moved, strict=True))


def test_an_audit_names_layers_of_the_adapter_that_hold_the_codes(smollm2):
    """Given the weights of the base in these layers, codes of other people are no likelier than any, and neutral text stays."""
    from mechcausal import audit
    from mechcausal.audits.privacy.canaries import SHIPPED
    from mechcausal.audits.privacy.exposures import exposures, null_mean_p

    codes, layers = SHIPPED["smollm2_canaries"](0), mc.truth("smollm2_canaries")["adapter"]["layers"]
    counts = np.array(codes.counts)
    few = codes.take(np.flatnonzero((counts >= 16) | (np.cumsum(counts == 0) * (counts == 0) % 14 == 1)))
    assert (np.array(few.counts) == 0).sum() == 3
    question = audit.Restoration(few, base=smollm2, measure="log_odds")
    tuned = mc.load("organism:smollm2_canaries", check=False)
    found, clean = (
        audit.Plan([question], batch_size=32).run(model, quiet=True).findings[0] for model in (tuned, smollm2)
    )
    assert not found.error, found.error
    parts = found.answer.table.query("measure == 'part'").set_index("parts")
    assert [int(part.removeprefix("L")) for part in parts.index] == layers  # no other layer has other weights
    chosen = set(parts.index[parts["chosen"] == True])  # noqa: E712 - a column of objects
    assert {"L22", "L23"} <= chosen
    rows = found.answer.table.set_index("measure")
    assert rows.loc["restored: none", "value"] > 8
    assert abs(rows.loc["restored: found", "value"]) < 1.5
    assert rows.loc["restored: found", "loss_high"] < 0.2
    assert {control.kind: control.holds for control in found.answer.controls}["random"]
    assert clean.estimate.value == 0
    assert "no weights differ" in clean.answer.says
    assert "part" not in set(clean.answer.table["measure"])
    seldom = few.take(np.flatnonzero(np.array(few.counts) >= 16)[::4])
    assert null_mean_p(exposures(smollm2, seldom)["exposure"]) > 0.01
