"""The loop: memory, sources that do not match, and what it counts."""

import logging

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.errors import DataError, MechcausalError
from mechcausal.interventions import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models import bridge, engine
from mechcausal.models.engine import Plan, evaluate, mean_activations
from mechcausal.models.replay import verify


def test_out_of_memory_halves_the_batch_and_says_so_once(gpt2, monkeypatch, caplog):
    pairs = make_pairs((7,) * 12)
    expected = mc.patch(gpt2, pairs, sites="z")
    original = engine.forward

    def tight(model, batch, *args, **kwargs):
        if len(batch) > 3:
            raise torch.OutOfMemoryError("no room")
        return original(model, batch, *args, **kwargs)

    monkeypatch.setattr(engine, "forward", tight)
    plan = Plan(pairs.corrupt, [(Edit(Site("z", 1, head=2), Patch()),)], metric("logit_diff"), rows=pairs.clean)
    with caplog.at_level(logging.WARNING, logger="mechcausal"):
        found = evaluate(gpt2, plan, batch_size=12, exact="naive")
    assert found.batch_size == 3
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with batches of 12: went on with batches of 3",
    ]
    cell = expected.frame.index[expected.frame["site"] == "L1.z.H2"].item()
    np.testing.assert_allclose(found.values[0], expected.examples[cell], atol=1e-5)


@pytest.mark.parametrize("exact", ["naive", "replay"])
def test_memory_that_runs_out_inside_the_engine(gpt2, monkeypatch, exact):
    pairs = make_pairs((7,) * 10)
    expected = mc.patch(gpt2, pairs)
    twin, run = verify.replayer(gpt2).twin, bridge.run
    record = twin.record

    def tight(batch, *args):
        if len(batch) > 3:
            raise torch.OutOfMemoryError("no room")
        return record(batch, *args)

    def tight_run(model, tokens, mask):
        if len(tokens) > 3:
            raise torch.OutOfMemoryError("no room")
        return run(model, tokens, mask)

    monkeypatch.setattr(twin, "record", tight)
    monkeypatch.setattr(bridge, "run", tight_run)
    found = mc.patch(gpt2, pairs, batch_size=10, exact=exact)
    np.testing.assert_allclose(found.examples, expected.examples, atol=1e-5, rtol=1e-5)
    assert found.provenance.compute["batch_size"] == 2
    if exact == "replay":
        assert found.provenance.compute["token_layers"] == expected.provenance.compute["token_layers"]


@pytest.mark.parametrize("method", ["ablate", "attribute", "path_patch"])
def test_every_method_survives_a_batch_that_is_too_large(gpt2, monkeypatch, method):
    pairs = make_pairs((7,) * 10)
    expected = getattr(mc, method)(gpt2, pairs).examples
    twin, largest = verify.replayer(gpt2).twin, []

    def tight(original, tokens_at):
        def run(*args):
            largest.append(len(args[tokens_at]))
            if largest[-1] > 3:
                raise torch.OutOfMemoryError("no room")
            return original(*args)

        return run

    monkeypatch.setattr(bridge, "run", tight(bridge.run, 1))
    monkeypatch.setattr(twin, "record", tight(twin.record, 0))
    found = getattr(mc, method)(gpt2, pairs, batch_size=10)
    np.testing.assert_allclose(found.examples, expected, atol=1e-5, rtol=1e-5)
    # Attribution runs both prompts of a pair together.
    assert found.provenance.compute["batch_size"] == (1 if method == "attribute" else 2)
    assert set(largest[largest.index(2) :]) == {2}
    assert not any(point.fwd_hooks for point in gpt2.hook_dict.values())


def test_means_go_on_where_memory_ran_out(gpt2, monkeypatch):
    prompts, sites = make_pairs((7,) * 10).clean, [Site("z", 1), Site("mlp_out", 2)]
    expected = mean_activations(gpt2, prompts, sites, batch_size=10, per_position=True)
    original, calls = engine.readings, []

    def tight(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no room")
        return original(*args, **kwargs)

    monkeypatch.setattr(engine, "readings", tight)
    found = mean_activations(gpt2, prompts, sites, batch_size=4, per_position=True)
    for site in sites:
        torch.testing.assert_close(found[site], expected[site])
    assert len(calls) == 2 + 3


def test_one_prompt_that_does_not_fit(gpt2, monkeypatch, pairs):
    def never(*args, **kwargs):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(engine, "forward", never)
    with pytest.raises(MechcausalError, match="a single prompt does not fit"):
        mc.patch(gpt2, pairs, exact="naive")


def test_other_runtime_errors_are_not_swallowed(gpt2, monkeypatch, pairs):
    def broken(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(engine, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        mc.patch(gpt2, pairs, exact="naive")


def test_sources_must_stand_row_against_row(gpt2, pairs):
    cells = [(Edit(Site("z", 0), Patch()),)]
    with pytest.raises(DataError, match="one to one"):
        evaluate(gpt2, Plan(pairs.clean, cells, metric("logit_diff"), rows=pairs.corrupt.take([0, 1])), batch_size=4)
    short = make_pairs((6,) * 6).corrupt
    with pytest.raises(DataError, match="differ in length"):
        evaluate(gpt2, Plan(pairs.clean, cells, metric("logit_diff"), rows=short), batch_size=4)


def test_several_edits_in_one_cell(by_hand):
    """Gender and level patched together give the clean run, 3.5 + 0.8 above the corrupt one."""
    clean = mc.Contrast.from_text(by_hand, ["he high ask"], ["she low ask"], answer="yes", foil="no")
    both = (Edit.of("L0.z.H0", "patch", "@-1"), Edit.of("L0.z.H2", "patch", "@-1"))
    plan = Plan(clean.corrupt, [both, both[:1], both[1:]], metric("logit_diff"), rows=clean.clean)
    values = evaluate(by_hand, plan, batch_size=1).values[:, 0]
    np.testing.assert_allclose(values, [2.6, 0.9, -0.9], atol=1e-5)


def test_means_ignore_padding():
    prompts = make_pairs((4, 7)).clean
    sites = [Site("resid_post", 1), Site("z", 2), Site("pattern", 0)]
    for side in ("left", "right"):
        means = mean_activations(loaded("llama"), prompts.padded(9, side), sites, batch_size=1, per_position=False)
        single = [
            mean_activations(loaded("llama"), prompts.take([i]).padded(n), sites, batch_size=1, per_position=False)
            for i, n in enumerate((4, 7))
        ]
        for site in sites[:2]:
            expected = (4 * single[0][site] + 7 * single[1][site]) / 11
            torch.testing.assert_close(means[site], expected, atol=1e-5, rtol=1e-5)
