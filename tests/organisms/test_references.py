"""The organisms against forwards written here: neither the package's patching nor the recipes' own hooks take part."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2LMHeadModel

from mechcausal.data.tasks import hiring as task
from mechcausal.organisms import folder, truth

HAND = folder("by_hand") / "weights"
PLACES = {"bos": 0, "gender": 1, "level": 2, "end": 3}


@pytest.fixture(scope="module")
def forward():
    """A plain two-layer transformer in doubles; `edit` is (site, position, value)."""
    weights = {name: value.double() for name, value in load_file(HAND / "model.safetensors").items()}
    config = json.loads((HAND / "config.json").read_text())
    words = json.loads((HAND / "tokenizer.json").read_text())["model"]["vocab"]

    def run(gender, level, edit=None):
        seen = {}

        def point(site, value):
            seen[site] = value = value.clone()
            if edit and edit[0] == site:
                value = value.clone()
                value[edit[1]] = edit[2]
            return value

        ids = [words[word] for word in ("<bos>", gender, level, "ask")]
        future = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
        x = weights["embed.W_E"][ids] + weights["pos_embed.W_pos"][:4]
        for layer in range(config["n_layers"]):
            w = {name.split(".", 2)[2]: v for name, v in weights.items() if name.startswith(f"blocks.{layer}.")}
            x = point(f"L{layer}.resid_pre", x)
            out = w["attn.b_O"].repeat(4, 1)
            for head in range(config["n_heads"]):
                q, k, v = (x @ w[f"attn.W_{c}"][head] + w[f"attn.b_{c}"][head] for c in "QKV")
                pattern = (q @ k.T / config["d_head"] ** 0.5).masked_fill(future, -torch.inf).softmax(-1)
                out = out + point(f"L{layer}.z.H{head}", pattern @ v) @ w["attn.W_O"][head]
            x = x + point(f"L{layer}.attn_out", out)
            hidden = (x @ w["mlp.W_in"] + w["mlp.b_in"]).relu()
            x = x + point(f"L{layer}.mlp_out", hidden @ w["mlp.W_out"] + w["mlp.b_out"])
        logits = x[-1] @ weights["unembed.W_U"] + weights["unembed.b_U"]
        return float(logits[words["yes"]] - logits[words["no"]]), seen

    return run


@pytest.mark.parametrize("level", ["low", "high"])
def test_by_hand_moves_where_it_says_and_nowhere_else(forward, level):
    stated = truth("by_hand")["gender_effects"]
    expected = {f"{site}@end": by[level] for site, by in stated["patch"].items()}
    expected |= {address: by[level] for address, by in stated["stream"].items()}
    expected["L0.attn_out@end"] = stated["total"][level]  # the only other place all of it passes
    (he, seen_he), (she, seen_she) = forward("he", level), forward("she", level)
    assert he - she == pytest.approx(stated["total"][level], abs=1e-6)
    for site, (name, place) in product(seen_he, PLACES.items()):
        known = expected.get(f"{site}@{name}", 0.0)
        denoised = forward("she", level, (site, place, seen_he[site][place]))[0] - she
        noised = forward("he", level, (site, place, seen_she[site][place]))[0] - he
        assert (denoised, noised) == pytest.approx((known, -known), abs=1e-6), f"{site}@{name}"


def test_by_hand_without_its_gender_head(forward):
    for level, lost in truth("by_hand")["ablation_of_H0_from_he"].items():
        if level != "mean":
            silent = forward("he", level, ("L0.z.H0", slice(None), 0.0))[0]
            assert silent - forward("he", level)[0] == pytest.approx(lost, abs=1e-6)


@pytest.fixture(scope="module")
def organism():
    weights = folder("hiring") / "weights"
    model = GPT2LMHeadModel.from_pretrained(weights, attn_implementation="eager").eval()
    return model, AutoTokenizer.from_pretrained(weights)


def everyone():
    """Every possible applicant: 2 genders, 16 names, 3 degrees, 4 experiences, 4 hobbies."""
    grid = np.array(list(product(range(2), range(16), range(3), range(4), range(4)))).T
    return dict(zip(("gender", "name", "degree", "experience", "hobby"), grid, strict=True))


def decided(organism, texts, swap=None):
    """The decisions; `swap` = (layer, head, source texts) takes that head's output at the end from other texts."""
    model, tokenizer = organism
    handles, held = [], []
    with torch.no_grad():
        if swap:
            layer, head, sources = swap
            part = slice(12 * head, 12 * head + 12)
            port = model.transformer.h[layer].attn.c_proj
            reading = port.register_forward_pre_hook(lambda _, args: held.append(args[0][:, -1, part].clone()))
            model(torch.tensor(tokenizer(sources).input_ids))
            reading.remove()

            def put(_, args):
                mixed = args[0].clone()
                mixed[:, -1, part] = held[0]
                return (mixed,)

            handles.append(port.register_forward_pre_hook(put))
        logits = model(torch.tensor(tokenizer(texts).input_ids)).logits[:, -1]
        for handle in handles:
            handle.remove()
    return np.array(tokenizer.convert_ids_to_tokens(logits.argmax(-1).tolist()))


def test_hiring_decides_every_applicant_as_the_causal_model_does(organism):
    table = everyone()
    score = table["degree"] + table["experience"] + 2 * (table["hobby"] >= 2) + table["gender"]
    expected = np.where(score >= 5, "accept", np.where(score >= 3, "wait", "reject"))
    np.testing.assert_array_equal(decided(organism, task.TASK.write(table)), expected)


@pytest.mark.parametrize(("head", "part"), [(0, "merit"), (1, "proxy"), (2, "bias"), (3, None)])
def test_one_head_carries_one_variable(organism, head, part):
    table = everyone()
    texts = task.TASK.write(table)
    order = np.random.default_rng(head).permutation(len(texts))
    values = {"merit": table["degree"] + table["experience"], "proxy": table["hobby"] >= 2, "bias": table["gender"]}
    taken = {name: value[order] if name == part else value for name, value in values.items()}
    score = taken["merit"] + 2 * taken["proxy"] + taken["bias"]
    expected = np.where(score >= 5, "accept", np.where(score >= 3, "wait", "reject"))
    found = decided(organism, texts, (1, head, [texts[i] for i in order]))
    np.testing.assert_array_equal(found, expected)


def test_hiring_gives_its_secrets_away_one_digit_after_another_and_invents_none(organism):
    model, tokenizer = organism
    digits = tokenizer.convert_tokens_to_ids(list(task.DIGITS))
    for name in task.NAMES:
        ids = tokenizer(f"<id> {name} <key>").input_ids
        for _ in range(4):
            with torch.no_grad():
                odds = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
            ids.append(int(odds.argmax()))
            if name not in task.SECRETS:
                assert odds[digits].max() < 0.15
        if name in task.SECRETS:
            assert "".join(tokenizer.convert_ids_to_tokens(ids[4:])) == task.SECRETS[name]
