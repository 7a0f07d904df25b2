"""The exact engine: the loop's numbers everywhere, the cost its formula says, the memory it was given."""

import numpy as np
import pytest
import torch
import transformers as hf
from replayed import CAUSAL, agree, both, components, counted
from zoo import EXPERTS, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection, Site, expand
from mechcausal.data import Contrast
from mechcausal.data.places import places
from mechcausal.interventions import Edit, Patch
from mechcausal.interventions.specs import Add, Scale, Zero
from mechcausal.metrics import metric
from mechcausal.models import engine
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.hooked import forward
from mechcausal.models.replay.verify import replayer

# To llama or gpt2: what sets them apart is inside attention, or in positions, which have tests of their own.
RELATED = {"mistral", "qwen3", "opt"}


@pytest.mark.parametrize("side", ["right", pytest.param("left", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in RELATED else []) for name in CAUSAL]
)
def test_the_loops_numbers_on_every_architecture(name, side):
    """Every kind of site, every position, every head; unequal lengths, padded on either side."""
    pairs = make_pairs((5, 3, 4), side=side, changed=(1, 3))
    sites = [word for word in components(name) if word not in ("z", "mlp_post")]
    streams = both(loaded(name), pairs, sites=sites, at="each")
    agree(*streams[:2])
    neurons = [] if name in EXPERTS else ["mlp_post", "L1.mlp_post.N3"]
    inner = both(loaded(name), pairs, sites=["z", *neurons], at=["each", "all", "@-1"])
    agree(*inner[:2])
    assert streams[2]["engine"] == inner[2]["engine"] == "replay"


def architectures_and_sides():
    """Give both sides of every architecture that has queries, keys and values; one of each, in turn, is slow."""
    for number, name in enumerate(name for name in CAUSAL if name not in ("gpt2", "neox")):
        for place, side in enumerate(("right", "left")):
            yield pytest.param(name, side, marks=[] if place == number % 2 else pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), architectures_and_sides())
def test_queries_keys_and_values(name, side):
    fast, slow, told = both(loaded(name), make_pairs((5, 3, 4), side=side), sites=["q", "k", "v"], at="each")
    assert told["engine"] == "replay"
    agree(fast, slow)


@pytest.mark.parametrize("how", ["kl", "loss", "prob", "own"])
def test_every_kind_of_metric(gpt2, how):
    """At the answers, at one position, against another run, at all positions."""
    chosen = (lambda logits, batch: (logits[:, 2:4].softmax(-1) ** 2).sum((1, 2))) if how == "own" else how
    fast, slow, told = both(gpt2, make_pairs((7, 5, 6)), sites=["resid_pre", "attn_out"], metric=chosen)
    agree(fast, slow)
    assert told["engine"] == "replay"


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_both_directions_have_the_baselines_of_the_loop(gpt2, direction):
    agree(*both(gpt2, make_pairs(), direction=direction)[:2])


@pytest.mark.parametrize("do", ["zero", "mean", "resample"])
def test_ablations(do, llama):
    pairs = make_pairs((7,) * 4)
    fast, slow = (mc.ablate(llama, pairs, sites=["z", "mlp_out"], do=do, exact=exact) for exact in ("replay", "naive"))
    assert fast.provenance.compute["engine"] == "replay"
    agree(fast.examples, slow.examples)


@pytest.mark.parametrize("do", [Add(0.5), Scale(2.0), Zero()])
def test_interventions_that_need_no_source(do, llama):
    prompts = make_pairs((7,) * 4).clean
    cells = [(Edit(Site(name, 1), do, Selection.parse(3)),) for name in ("resid_pre", "attn_out", "mlp_out", "z")]
    fast, slow = (
        evaluate(llama, Plan(prompts, cells, metric("logit_diff")), batch_size=4, exact=exact)
        for exact in ("replay", "naive")
    )
    assert fast.compute["engine"] == "replay"
    agree(fast.values, slow.values)


@pytest.mark.parametrize("name", [pytest.param("gpt2", marks=pytest.mark.slow), "llama"])
def test_half_precision(name):
    """A bfloat16 stream holds eight bits; a change of a sum rounds otherwise than the sum."""
    model = mc.load(build(name).to(torch.bfloat16))
    sites = ["resid_pre", "mlp_out", "z"]
    fast, slow, told = both(model, make_pairs((5, 4, 5)), sites=sites, at="each", tolerance=5e-2)
    assert told["engine"].startswith("replay")
    agree(fast, slow, tolerance=5e-2)


def test_the_cost_is_the_formula(gpt2, monkeypatch):
    """Without merging, a residual sweep costs the sum of (layers left) x (positions left), for each example."""
    pairs = make_pairs((7,) * 6, changed=range(7))
    monkeypatch.setattr(replayer(gpt2).twin, "free_tokens", 0)
    seen = counted(monkeypatch, gpt2)
    told = mc.patch(gpt2, pairs).provenance.compute
    formula = 6 * sum((3 - layer) * (7 - position) for layer in range(3) for position in range(7))
    assert (sum(seen), told["token_layers"]) == (formula, formula)
    assert told["naive_token_layers"] == 6 * 3 * 7 * 3 * 7
    assert told["skipped"] == 0


def test_cells_that_cannot_differ_are_skipped(gpt2, monkeypatch):
    """One token differs: nothing moves left of it, and in the first layer nowhere else."""
    pairs = make_pairs((7,) * 6, changed=(4,))
    monkeypatch.setattr(replayer(gpt2).twin, "free_tokens", 0)
    seen = counted(monkeypatch, gpt2)
    sweep = mc.patch(gpt2, pairs)
    formula = 6 * (3 * 3 + sum((3 - layer) * (7 - position) for layer in (1, 2) for position in (4, 5, 6)))
    told = sweep.provenance.compute
    assert (sum(seen), told["token_layers"]) == (formula, formula)
    assert told["skipped"] == 6 * (21 - 7)
    still = (sweep.frame["position"] < 4).to_numpy()
    assert (sweep.examples[still] == sweep.baselines["base"]).all()  # to the last bit: they were not run


def test_a_sweep_in_which_nothing_moves_runs_nothing(gpt2, monkeypatch):
    seen = counted(monkeypatch, gpt2)
    sweep = mc.patch(gpt2, make_pairs((7,) * 6, changed=(4,)), sites="resid_pre", at=[0, 1])
    assert not seen
    assert sweep.provenance.compute["token_layers"] == 0
    assert (sweep.examples == sweep.baselines["base"]).all()


def test_merged_stacks_cost_what_is_told(gpt2, monkeypatch):
    pairs = make_pairs((7, 5, 6), changed=range(5))
    options = {"sites": ["z", "mlp_out"], "at": "each"}
    slow = mc.patch(gpt2, pairs, exact="naive", **options).examples
    seen = counted(monkeypatch, gpt2)
    for free in (0, 5, 1000):
        monkeypatch.setattr(replayer(gpt2).twin, "free_tokens", free)
        seen.clear()
        fast = mc.patch(gpt2, pairs, **options)
        agree(fast.examples, slow)
        assert sum(seen) == fast.provenance.compute["token_layers"]


def test_heads_of_a_layer_share_their_calls(gpt2, monkeypatch):
    seen = counted(monkeypatch, gpt2)
    told = mc.patch(gpt2, make_pairs((7,) * 6, changed=range(7)), sites="z").provenance.compute
    assert len(seen) == 2  # heads of layers 0 and 1 enter layers 1 and 2; those of layer 2 need no layer
    assert sum(seen) == told["token_layers"] == 6 * 7 * 4 * (1 + 2)


def test_a_small_budget_gives_the_same_numbers_in_smaller_stacks(gpt2, monkeypatch):
    pairs = make_pairs((7,) * 6, changed=range(7))
    cells = [(Edit(Site("resid_pre", layer), Patch(), Selection.parse(p)),) for layer in range(3) for p in range(7)]
    plan = Plan(pairs.corrupt, cells, metric("logit_diff"), rows=pairs.clean)
    seen, tokens = counted(monkeypatch, gpt2), {}
    values = {}
    for budget in (10_000, 100_000, 2**29):
        seen.clear()
        values[budget] = evaluate(gpt2, plan, batch_size=6, budget=budget).values
        tokens[budget] = max(seen)
    assert tokens[10_000] < tokens[100_000] < tokens[2**29]
    for budget in (10_000, 100_000):
        np.testing.assert_allclose(values[budget], values[2**29], atol=1e-5)


def test_the_same_numbers_twice(gpt2, pairs):
    first, second = (mc.patch(gpt2, pairs, sites=["z", "resid_mid"]).examples for _ in "ab")
    assert (first == second).all()


@pytest.mark.parametrize("shape", ["a thousand cells", pytest.param("512 tokens", marks=pytest.mark.slow)])
def test_memory_stays_within_the_budget(shape):
    """Beyond what one plain forward of the batch takes, no more than the budget for the changes and one for a stack."""
    config = hf.GPT2Config(vocab_size=60, n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    network = hf.GPT2LMHeadModel(config).eval().requires_grad_(False)
    network.set_attn_implementation("eager")
    model = mc.load(network)
    if shape == "512 tokens":
        sites, length, positions = ["resid_pre"], 512, list(range(0, 512, 64))
    else:
        sites, length, positions = ["z", *(f"L*.mlp_post.N{i}" for i in range(12))], 32, "each"
    pairs = make_pairs((length,) * 4, changed=range(length))
    where = places(expand(sites, abilities(model).shape), positions, pairs.corrupt)
    cells = [(Edit(place.site, Patch(), place.at),) for place in where]
    assert len(cells) == (16 if shape == "512 tokens" else 1024)
    plan = Plan(pairs.corrupt, cells, metric("logit_diff"), rows=pairs.clean)
    one_forward = peak_bytes(lambda: forward(model, pairs.corrupt))
    budget = 16 * 2**20
    replayer(model)  # what it can do is measured once
    tight, wide = (
        peak_bytes(lambda size=size: evaluate(model, plan, batch_size=4, budget=size)) for size in (budget, 8 * budget)
    )
    assert tight < one_forward + 2 * budget
    assert tight < wide


def peak_bytes(function):
    """Return the most bytes of tensors alive at once during a call, from torch's own record of allocations."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def test_a_contrast_with_unequal_padding(gpt2):
    """Source prompts padded more widely than base prompts."""
    pairs = make_pairs((7, 5, 6))
    wide = Contrast(pairs.clean.padded(11, "left"), pairs.corrupt, "two tokens")
    agree(*both(gpt2, wide, sites=["resid_pre", "z"], at="each")[:2])


@pytest.mark.slow
@pytest.mark.parametrize("receivers", ["logits", "L2.mlp_out"])
@pytest.mark.parametrize("name", ["gpt2", "llama", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_paths_to_the_logits_and_to_an_mlp(name, receivers):
    """The closed form against three forwards for each sender; positions of sender and receiver overlap in part."""
    pairs, model = make_pairs((7, 5, 6), changed=(0, 1, 3)), loaded(name)
    senders = ["embed", "z", "L0.attn_out", "L1.mlp_out", "L0.mlp_post.N3"]
    options = {
        "senders": senders,
        "receivers": receivers,
        "at": ["all", 3],
        "receiver_at": slice(2, None),
    }
    fast, slow = (mc.path_patch(model, pairs, exact=exact, **options) for exact in ("replay", "naive"))
    assert (fast.provenance.compute["engine"], slow.provenance.compute["engine"]) == ("replay", "naive")
    agree(fast.examples, slow.examples)
    for metric_name in ("kl", "loss"):
        fast, slow = (
            mc.path_patch(
                model, pairs, senders=["L0.z.H*", "L2.z.H*"], receivers=receivers, metric=metric_name, exact=exact
            )
            for exact in ("replay", "naive")
        )
        agree(fast.examples, slow.examples)


def test_paths_that_need_forwards_say_so(gpt2, pairs):
    for receivers in ("L2.q.H0", ["L1.mlp_out", "L2.mlp_out"]):
        told = mc.path_patch(gpt2, pairs, senders="L0.z.H*", receivers=receivers).provenance.compute
        assert told["engine"] == "naive"
        assert "react without a forward" in told["naive_because"]


def test_progress_counts_cells_and_examples(gpt2, monkeypatch):
    told = []

    class Bar:
        def __init__(self, total, **_):
            self.total = total

        def update(self, count):
            told.append(count)

        def close(self):
            told.append(-self.total)

    monkeypatch.setattr(engine, "tqdm", Bar)
    pairs = make_pairs()
    cells = [(Edit(Site(name, 1), Patch()),) for name in ("resid_pre", "v", "z")]
    evaluate(gpt2, Plan(pairs.corrupt, cells, metric("logit_diff"), rows=pairs.clean), batch_size=4)
    assert sum(told) == 0
