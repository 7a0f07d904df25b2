"""How many prompts are run, against hooks of torch on the modules that run them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import pytest
import torch
from written import several
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.data.forced import forced
from mechcausal.generation.generating import Generating
from mechcausal.models import bridge
from mechcausal.models.counting import count, counting, uncounted, weighed
from mechcausal.models.replay.verify import replayer


@contextmanager
def hooked(modules, seen):
    """Append the batch and the number of tokens of every call of these modules."""
    with ExitStack() as stack:
        for module in modules:
            handle = module.register_forward_pre_hook(
                lambda _, args, kwargs: seen.append(tuple((args[0] if args else kwargs["hidden_states"]).shape[:2])),
                with_kwargs=True,
            )
            stack.callback(handle.remove)
        yield


def counted(call):
    counts = []
    with counting(counts.append):
        call()
    return sum(counts)


@pytest.fixture(scope="module")
def pairs():
    return make_pairs((7,) * 6)


@pytest.mark.parametrize("sites", ["z", "resid_pre", ["L1.mlp_out"]])
def test_the_loop_runs_whole_prompts(pairs, sites):
    model, seen = loaded("gpt2"), []
    with hooked([bridge.underlying(model).get_input_embeddings()], seen):
        found = counted(lambda: mc.patch(model, pairs, sites=sites, exact="naive"))
    # A hook changes what the model is, so that it is measured anew, on prompts of its own; that is not counted.
    assert found == sum(batch for batch, tokens in seen if tokens == 7) > 6
    assert len({tokens for _, tokens in seen}) == 2


@pytest.mark.parametrize("sites", ["z", "resid_pre", ["L1.mlp_out"]])
def test_the_engine_runs_shares_of_prompts(pairs, sites):
    model, seen = loaded("gpt2"), []
    twin = replayer(model).twin
    mc.patch(model, pairs, sites=sites)
    with hooked(twin.layers, seen):
        found = counted(lambda: mc.patch(model, pairs, sites=sites))
    whole = len(twin.layers) * pairs.clean.tokens.shape[1]
    assert found == pytest.approx(sum(batch * tokens for batch, tokens in seen if tokens > 1) / whole)
    cost = mc.patch.cost(model, pairs, sites=sites)
    assert found == pytest.approx(cost.forwards + 2 * len(pairs))
    assert cost.forwards < cost.naive_forwards


def test_answers_of_several_tokens_have_a_row_each():
    model, pairs = loaded("llama"), several()
    patched = counted(lambda: mc.patch(model, pairs, sites="z"))
    cost = mc.patch.cost(model, pairs, sites="z")
    rows = len(forced(pairs.clean).prompts)
    assert rows > len(pairs) == cost.examples
    assert patched == pytest.approx(cost.forwards + 2 * rows, rel=0.02)
    assert cost.naive_forwards == cost.cells * rows


def test_what_is_written_costs_tokens(pairs):
    model, prompts = loaded("gpt2"), pairs.clean
    found = counted(lambda: Generating(tokens=4, samples=2).run(model, prompts))
    assert found == pytest.approx(Generating(tokens=4, samples=2).cost(model, prompts).forwards)
    assert found == pytest.approx(2 * 6 * (1 + 3 / 7))


def test_what_is_measured_of_a_model_is_not_counted(pairs):
    model = mc.load("organism:by_hand")
    people = mc.contrast("by_hand/gender", model, n=4)
    with torch.no_grad():
        first, second = (counted(lambda: mc.patch(model, people, sites="z")) for _ in range(2))
    assert first == second


def test_only_the_innermost_counter_is_told():
    outer, inner = [], []
    count(1)  # nobody listens
    with counting(outer.append):
        count(2)
        with weighed(0.5), counting(inner.append):
            count(3)
        with weighed(0.5), weighed(0.5):
            count(4)
        with uncounted():
            count(5)
    assert (outer, inner) == ([2, 1], [3])
