"""Adapters: they alone are trained, merging changes no output, and what is merged is of low rank."""

import sys

import pytest
import torch
import zoo
from adding import bridge, lesson, network

import mechcausal as mc
from mechcausal.causal.training.lora import Adapters
from mechcausal.causal.training.train import assess, train
from mechcausal.errors import DataError, MechcausalError
from mechcausal.models.export import plain_weights, save

pytest.importorskip("peft")
TOKENS = torch.arange(3, 51).view(6, 8)


def fresh(name):
    module = zoo.build(name)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    return mc.load(module, copy=False)


def shaken(adapters, seed=0):
    """Give every adapter random weights, so that it does something."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapters.parameters.values():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


def snapshot(model):
    return {name: value.clone() for name, value in plain_weights(model).items()}


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "gemma2", "opt"])
def test_merged_weights_give_the_outputs_of_the_adapters(name, tmp_path):
    model = fresh(name)
    with torch.no_grad():
        plain, before = model(TOKENS), snapshot(model)
        adapters = Adapters.attach(model, r=3)
        torch.testing.assert_close(model(TOKENS), plain, atol=1e-5, rtol=1e-5)  # at first they change nothing
        shaken(adapters)
        adapted = model(TOKENS)
        assert (adapted - plain).abs().max() > 0.1
        adapters.merge()
        torch.testing.assert_close(model(TOKENS), adapted, atol=2e-4, rtol=2e-4)
        after = snapshot(model)
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert changed
        assert all(before[key].ndim == 2 and "embed" not in key and "wte" not in key for key in changed)
        # A joint query-key-value matrix holds three changes of rank 3.
        ranks = {key: int(torch.linalg.matrix_rank(after[key] - before[key], atol=1e-4)) for key in changed}
        assert set(ranks.values()) <= {3, 9}
        save(model, tmp_path)
        again = type(zoo.bare(name)).from_pretrained(tmp_path).eval()
        torch.testing.assert_close(again(TOKENS).logits, adapted, atol=2e-4, rtol=2e-4)


def test_taking_them_off_leaves_the_model_as_it_was():
    model = fresh("gpt2")
    before = snapshot(model)
    wanted = {name: parameter.requires_grad for name, parameter in model.original_model.named_parameters()}
    with torch.no_grad():
        plain = model(TOKENS)
        adapters = Adapters.attach(model)
        shaken(adapters)
        adapters.remove()
        assert torch.equal(model(TOKENS), plain)
    after = snapshot(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert wanted == {name: parameter.requires_grad for name, parameter in model.original_model.named_parameters()}


def test_only_adapters_are_trained_and_only_where_asked():
    model = bridge(network())
    before = snapshot(model)
    train(
        model, lesson(model), steps=10, every=10, batch_size=32, rate=3e-2, progress=False,
        lora={"r": 2, "alpha": 4, "targets": ["q", "out"]},
    )  # fmt: skip
    after = snapshot(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = [f"transformer.h.{layer}." for layer in (0, 1)]
    assert changed == {at + what for at in layers for what in ("attn.c_attn.weight", "mlp.c_proj.weight")}
    for at in layers:
        joint = after[f"{at}attn.c_attn.weight"] - before[f"{at}attn.c_attn.weight"]
        assert not joint[:, 16:].any()  # keys and values
        for change in (joint[:, :16], after[f"{at}mlp.c_proj.weight"] - before[f"{at}mlp.c_proj.weight"]):
            assert torch.linalg.matrix_rank(change, atol=1e-5) == 2
    assert not any("lora" in name for name, _ in model.original_model.named_parameters())


@pytest.mark.slow
def test_adapters_are_enough_to_put_variables_in_their_places():
    model = bridge(network(initializer_range=0.4))
    own = lesson(model)
    before = assess(model, own, strict=False)
    trained = train(model, own, steps=100, every=100, batch_size=48, rate=3e-2, progress=False, lora={"r": 4})
    after = assess(model, own, strict=False)  # of the merged weights
    lowest = [found.loc[found["measure"] == "iia_changed", "value"].min() for found in (before, after)]
    assert lowest[0] < 0.4
    assert lowest[1] > 0.95
    told = trained.final[trained.final["measure"] == "iia_changed"]
    assert told["value"].min() == pytest.approx(lowest[1], abs=0.05)


def test_an_interrupted_training_goes_on_from_its_adapters(tmp_path):
    lora = {"r": 2}
    options = {"steps": 8, "every": 4, "batch_size": 16, "progress": False, "lora": lora}
    whole = bridge(network())
    train(whole, lesson(whole), checkpoint=tmp_path / "one", **options)
    again = bridge(network())
    train(again, lesson(again), checkpoint=tmp_path / "one", **options)  # all steps are made; the merge is not
    first, second = snapshot(whole), snapshot(again)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_failed_training_leaves_the_weights_alone(monkeypatch):
    model = bridge(network())
    before = snapshot(model)

    def fails(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("mechcausal.causal.training.train._step", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(model, lesson(model), steps=3, batch_size=16, progress=False, lora={"r": 2})
    after = snapshot(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any("lora" in name for name, _ in model.original_model.named_parameters())


def test_a_checkpoint_that_is_refused_leaves_no_adapters(tmp_path):
    model = bridge(network())
    options = {"steps": 2, "batch_size": 16, "progress": False, "checkpoint": tmp_path / "one"}
    train(model, lesson(model), **options)
    with pytest.raises(DataError, match="checkpoint of another training: lora"):
        train(model, lesson(model), lora={"r": 2}, **options)
    assert not any("lora" in name for name, _ in model.original_model.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["qq"]}, "no map called 'qq'"),
        ({"targets": ["gate"]}, "has none of these maps"),
        ({"targets": []}, "has none of these maps"),
        ({"r": 0}, "rank of an adapter must be at least 1"),
    ],
)
def test_adapters_that_cannot_be(options, message):
    with pytest.raises(DataError, match=message):
        Adapters.attach(bridge(network()), **options)


def test_options_that_are_not_known_and_a_library_that_is_missing(monkeypatch):
    model = bridge(network())
    with pytest.raises(DataError, match="LoRA has no option 'rank'"):
        train(model, lesson(model), steps=1, progress=False, lora={"rank": 2})
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MechcausalError, match=r"LoRA needs peft.*pip install mechcausal\[lora\]"):
        train(model, lesson(model), steps=1, progress=False, lora={"r": 2})
    assert not any("lora" in name for name, _ in model.original_model.named_parameters())
