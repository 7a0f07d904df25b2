"""Direct logit attribution: the parts add up to the whole, and are those of hand-written projections."""

import numpy as np
import pytest
import torch
from unequal import unequal
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError

ADDITIVE = ("gpt2", "neox", "llama", "mistral", "qwen3", "gemma2", "opt")


def logits_before_the_cap(name, prompts):
    """Return answer minus foil of the bare model, [prompt]; of Gemma 2 from before its soft cap."""
    rows = []
    for number, tokens in enumerate(prompts.real_tokens):
        logits = bare(name)(torch.tensor([tokens])).logits[0, -1].double()
        cap = getattr(bare(name).config, "final_logit_softcapping", None)
        logits = cap * torch.atanh(logits / cap) if cap else logits
        rows.append(float(logits[prompts.answer[number]] - logits[prompts.foil[number]]))
    return np.array(rows)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ADDITIVE)
def test_the_parts_add_up_to_the_log_odds(name, side):
    prompts = make_pairs((5, 7, 6), side=side).clean
    found = mc.direct_logit_attribution(loaded(name), prompts, batch_size=2)
    np.testing.assert_allclose(found.examples.sum(0), logits_before_the_cap(name, prompts), atol=1e-4)
    assert len(found) == 1 + 3 * (4 + 1 + 1) + 1
    heads = found.frame["component"] == "z"
    assert found.frame["change"][heads].abs().min() > 0
    assert found.frame["label"].iloc[[0, -1]].tolist() == ["embedding", "bias"]


@pytest.mark.parametrize("name", ["hiring", "by_hand"])
def test_the_parts_of_organisms_add_up(name):
    model = mc.load(f"organism:{name}")
    pairs = mc.contrast(f"{name}/gender", model, n=8)
    found = mc.direct_logit_attribution(model, pairs.clean)
    whole = mc.measure(model, pairs.clean, "logit_diff").examples[0]
    np.testing.assert_allclose(found.examples.sum(0), whole, atol=1e-3)


def activations(tokens):
    """Return what the heads hold and the MLPs write in the bare GPT-2, and the last stream, at the last token."""
    model, kept, handles = bare("gpt2"), {}, []
    for layer, block in enumerate(model.transformer.h):
        handles += [
            block.attn.c_proj.register_forward_pre_hook(lambda _, args, n=layer: kept.__setitem__(("z", n), args[0])),
            block.mlp.register_forward_hook(lambda _m, _a, out, n=layer: kept.__setitem__(("mlp", n), out)),
        ]
    handles.append(model.transformer.ln_f.register_forward_pre_hook(lambda _, args: kept.__setitem__("x", args[0])))
    model(tokens)
    for handle in handles:
        handle.remove()
    return {name: value[0, -1].double() for name, value in kept.items()}


def parts_by_hand(tokens, answer, foil, frozen=None):
    """Project heads and MLPs of the bare GPT-2 with a layer norm that is written out, its scale that of other tokens if given."""
    model, kept = bare("gpt2"), activations(tokens)
    norm, stream = model.transformer.ln_f, (kept if frozen is None else activations(frozen))["x"]
    deviation = (stream.var(correction=0) + norm.eps).sqrt()
    toward = (model.lm_head.weight[answer] - model.lm_head.weight[foil]).double()

    def project(part):
        return float(((part - part.mean()) / deviation * norm.weight.double()) @ toward)

    found = {}
    for layer, block in enumerate(model.transformer.h):
        for head in range(4):
            own = slice(8 * head, 8 * head + 8)
            found[f"L{layer}.z.H{head}"] = project(kept["z", layer][own] @ block.attn.c_proj.weight[own].double())
        found[f"L{layer}.mlp_out"] = project(kept["mlp", layer])
    return found


def test_each_part_by_hand():
    prompts = make_pairs((7,) * 3).clean
    found = mc.direct_logit_attribution(loaded("gpt2"), prompts)
    for number in range(3):
        expected = parts_by_hand(prompts.tokens[[number]], prompts.answer[number], prompts.foil[number])
        for site, value in expected.items():
            row = int(np.flatnonzero(found.frame["site"] == site)[0])
            assert found.examples[row, number] == pytest.approx(value, abs=1e-5), site


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_without_a_norm_it_is_the_path_effect(linear, direction):
    pairs = make_pairs((7, 5, 7), vocab=60)
    parts = mc.direct_logit_attribution(linear, pairs, direction=direction)
    paths = mc.path_patch(linear, pairs, senders="z", receivers="logits", direction=direction)
    heads = (parts.frame["component"] == "z").to_numpy()
    np.testing.assert_allclose(parts.examples[heads], paths.examples, atol=1e-5)
    np.testing.assert_allclose(parts.frame["effect"][heads], paths.frame["effect"], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "neox"])
def test_a_small_difference_is_that_of_the_path(name):
    """Frozen and reacting norms differ only where the stream itself moves."""
    pairs = make_pairs((7,) * 6)
    parts = mc.direct_logit_attribution(loaded(name), pairs).frame
    paths = mc.path_patch(loaded(name), pairs, senders="z", receivers="logits").frame
    heads = parts[parts["component"] == "z"]
    assert np.corrcoef(heads["change"], paths["change"])[0, 1] > 0.9
    assert np.abs(heads["change"].to_numpy() - paths["change"].to_numpy()).max() > 1e-4


def test_pairs_add_up_to_the_frozen_difference(gpt2, pairs):
    """With nothing between to react, all parts together move the log-odds along the frozen norm; biases cancel."""
    found = mc.direct_logit_attribution(gpt2, pairs)
    change = found.examples - found.baselines["base"]
    np.testing.assert_allclose(change[-1], 0, atol=1e-9)
    rest = (found.frame["label"] == "rest").to_numpy()
    np.testing.assert_allclose(change[rest], 0, atol=1e-5)
    np.testing.assert_allclose(found.baselines["clean"], mc.patch(gpt2, pairs).baselines["clean"], atol=1e-5)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_sides_of_different_length_are_projected_each_at_its_end(direction):
    """The parts of the source less those of the base, the norm frozen at the base run: by hand, one prompt at a time."""
    pairs = unequal()
    found = mc.direct_logit_attribution(loaded("gpt2"), pairs, direction=direction)
    base, source = (pairs.corrupt, pairs.clean) if direction == "denoise" else (pairs.clean, pairs.corrupt)
    for number in range(len(pairs)):
        tokens = [torch.tensor([side.real_tokens[number]]) for side in (base, source)]
        answers = pairs.clean.answer[number], pairs.clean.foil[number]
        unedited = parts_by_hand(tokens[0], *answers)
        other = parts_by_hand(tokens[1], *answers, frozen=tokens[0])
        for site, value in unedited.items():
            row = int(np.flatnonzero(found.frame["site"] == site)[0])
            change = found.examples[row, number] - found.baselines["base"][number]
            assert change == pytest.approx(other[site] - value, abs=1e-5), site


def test_it_costs_the_unedited_runs(gpt2, pairs):
    assert mc.direct_logit_attribution.cost(gpt2, pairs).forwards == 12
    assert mc.direct_logit_attribution.cost(gpt2, pairs.clean).forwards == 6


def test_what_has_no_direct_parts_is_refused(pairs):
    with pytest.raises(MechcausalError, match="no direct parts"):
        mc.direct_logit_attribution(loaded("bert"), pairs)


def test_a_model_whose_logits_are_something_else_is_refused(pairs, monkeypatch):
    from mechcausal.patching.projection import _Parts

    original = _Parts._norm

    def wrong(self, stream):
        weight, bias, centers = original(self, stream)
        return weight * torch.linspace(-1, 1, len(weight)).to(weight), bias, centers

    monkeypatch.setattr(_Parts, "_norm", wrong)
    with pytest.raises(MechcausalError, match="not a norm and a linear map"):
        mc.direct_logit_attribution(loaded("gpt2"), pairs)
