"""Circuits of what a probe reads in the stream: against hooks on the plain model, edge by edge, and against gradients."""

import numpy as np
import pytest
import torch
import zoo

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.circuits.certifying.certify import certify
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.states import state_metric
from mechcausal.errors import ArgumentError, DataError, MechcausalError, SiteError

PADDED = {"lengths": (7, 5, 6, 7), "side": "left"}


def direction(model):
    return torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(3)) / 10


def read(model, prompts, site, at):
    """Return the states of a site at a position of each prompt, by the reading of the package's own loop."""
    return mc.read(model, prompts, sites=[site], at=at)[site]


def llama_by_hand(model, pairs, sender, receiver, reads):
    """Replace one edge into the value of a head, or the MLP, of layer 1 of a plain Llama, and read what layer 1 gives."""
    plain = model.original_model.model
    layers = plain.layers
    rows = torch.arange(len(pairs))

    def run(tokens, change=None):
        kept, handles = {}, []

        def stream(module, args, kwargs):
            kept["stream"] = args[0] if args else kwargs["hidden_states"]

        def value(module, args, out):
            if change is None or receiver != "v":
                return None
            size = out.shape[-1] // 2
            moved = layers[1].input_layernorm(kept["stream"] + change) @ module.weight.T
            return torch.cat([out[..., :size], moved[..., size:]], -1)

        def mlp(module, args):
            if change is None or receiver != "mlp":
                return None
            return (kept["middle"] + change,)

        def norm_in(module, args):
            if change is None or receiver != "mlp":
                return None
            return (args[0] + change,)

        handles.append(layers[1].register_forward_pre_hook(stream, with_kwargs=True))
        handles.append(layers[1].self_attn.v_proj.register_forward_hook(value))
        handles.append(layers[1].post_attention_layernorm.register_forward_pre_hook(norm_in))
        handles.append(layers[0].mlp.register_forward_hook(lambda module, args, out: kept.__setitem__("mlp", out)))
        handles.append(layers[1].register_forward_hook(lambda module, args, out: kept.__setitem__("end", out)))
        try:
            with torch.no_grad():
                plain(tokens)
        finally:
            for handle in handles:
                handle.remove()
        end = kept["end"][0] if isinstance(kept["end"], tuple) else kept["end"]
        return kept["mlp"], end[rows, pairs.clean.read_columns] @ reads

    (clean, whole), (corrupt, _) = run(pairs.clean.tokens), run(pairs.corrupt.tokens)
    return (whole - run(pairs.clean.tokens, corrupt - clean)[1]).numpy()


@pytest.mark.parametrize(("receiver", "word"), [("L1.v.H1", "v"), ("L1.mlp_out", "mlp")])
def test_an_exact_edge_is_that_of_hooks_on_the_plain_model(receiver, word):
    model, pairs = zoo.loaded("llama"), zoo.make_pairs(lengths=(7, 7, 7))
    reads = direction(model)
    circuit = mc.discover(model, pairs, method="exact", metric=state_metric(reads, "L1.resid_post"))
    effect = circuit.scores[circuit.wiring.sender("L0.mlp_out"), circuit.wiring.receiver(receiver), 0]
    assert effect == pytest.approx(llama_by_hand(model, pairs, "L0.mlp_out", word, reads).mean(), abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "gemma2", "qwen3"])
@pytest.mark.parametrize("site", ["L1.resid_post", "L1.resid_pre"])
def test_with_every_edge_and_with_none_it_is_what_the_probe_reads_in_the_two_runs(name, site):
    model, pairs = zoo.loaded(name), zoo.make_pairs(**PADDED)
    reads = direction(model)
    masked = Masked(model, pairs, state_metric(reads, site))
    for side, ours in ((pairs.clean, masked.clean), (pairs.corrupt, masked.corrupt)):
        expected = read(model, side, site, "@-1").reshape(len(side), -1) @ reads
        np.testing.assert_allclose(ours, expected, atol=2e-5)
    ends = masked.metric(np.stack([np.ones(masked.shape), np.zeros(masked.shape)]))
    np.testing.assert_allclose(ends, [masked.clean, masked.corrupt], atol=2e-5)
    assert masked.wiring.n_layers == (2 if site == "L1.resid_post" else 1)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_every_exact_effect_is_that_of_a_run_with_this_edge_cut(name):
    model, pairs = zoo.loaded(name), zoo.make_pairs(**PADDED)
    metric = state_metric(direction(model), "L1.resid_post")
    circuit = mc.discover(model, pairs, method="exact", metric=metric)
    masked = Masked(model, pairs, metric)
    for edge in np.argwhere(masked.wiring.possible)[::17]:
        kept = np.ones(masked.shape)
        kept[(*edge, 0)] = 0
        expected = (masked.clean - masked.metric(kept)).mean()
        assert circuit.scores[(*edge, 0)] == pytest.approx(expected, abs=2e-5)


def test_eap_is_the_slope_of_a_mask_and_its_edges_into_the_probe_are_exact():
    """The probe is linear, so replacing an edge into it does what the slope says."""
    model, pairs = zoo.loaded("llama"), zoo.make_pairs(**PADDED)
    metric = state_metric(direction(model), "L1.resid_post")
    eap, exact = (mc.discover(model, pairs, method=method, metric=metric) for method in ("eap", "exact"))
    last = eap.wiring.receiver("logits")
    there = eap.wiring.possible[:, last]
    np.testing.assert_allclose(eap.scores[there, last], exact.scores[there, last], atol=2e-5)
    masked = Masked(model, pairs, metric)
    cut = torch.zeros(1, *masked.shape, requires_grad=True)
    total = sum(masked.run(tile, cut).sum() for tile in masked.tiles)
    slope = -torch.autograd.grad(total, cut)[0][0] / len(pairs)
    possible = eap.wiring.possible
    np.testing.assert_allclose(eap.scores[possible], slope.numpy()[possible], atol=2e-5)


def test_along_a_path_the_edges_of_the_embedding_add_up_to_the_effect():
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs(**PADDED)
    metric = state_metric(direction(model), "L1.resid_post")
    circuit = mc.discover(model, pairs, method="eap-ig", steps=60, metric=metric)
    masked = Masked(model, pairs, metric)
    whole = (masked.clean - masked.corrupt).mean()
    assert np.nansum(circuit.scores[0]) == pytest.approx(whole, abs=1e-3 * max(1, abs(whole)))


@pytest.mark.parametrize(
    "method",
    ["acdc", "eap-ig-activations", "clean-corrupted", "atp*", pytest.param("edge-pruning", marks=pytest.mark.slow)],
)
def test_all_methods_take_it(method):
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs(**PADDED)
    circuit = mc.discover(model, pairs, method=method, metric=state_metric(direction(model), "L1.resid_post"), steps=2)
    assert len(circuit) > 0


def test_at_other_positions_states_are_averaged():
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs(lengths=(7, 7, 7))
    reads = direction(model)
    masked = Masked(model, pairs, state_metric(reads, "L1.resid_post", at="2:4"))
    states = torch.stack([read(model, pairs.clean, "L1.resid_post", at).reshape(3, -1) for at in ("@2", "@3")])
    np.testing.assert_allclose(masked.clean, states.mean(0) @ reads, atol=2e-5)


def test_a_probe_is_read_judged_and_certified(hiring):
    """Edges that are found by what a probe of gender reads keep what it reads on other pairs, and random ones do not."""
    task = mc.task("hiring")
    probe = mc.features.probe(
        hiring, task.prompts(hiring, 150), "gender", "L2.resid_post", at="@decision", control=False, mdl=False
    )
    metric = mc.circuits.state_metric(probe)
    assert metric.name == "probe of gender at L2.resid_post@decision"
    pairs, others = (mc.contrast("hiring/gender", hiring, n=48, seed=seed) for seed in (0, 7))
    masked = Masked(hiring, pairs, metric)
    states = read(hiring, pairs.clean, "L2.resid_post", "@decision").reshape(len(pairs), -1)
    np.testing.assert_allclose(masked.clean, probe.scores(states), atol=1e-3)
    circuit = mc.discover(hiring, pairs, method="exact", metric=metric, edges=80)
    assert circuit.about["metric"] == metric.name
    judged = circuit.evaluate(hiring, others, metric=metric, shared=True, random=2, minimality=2)
    assert judged.faithfulness.estimate > 0.8 > 0.3 > abs(judged.of_random[0])
    found = certify(hiring, others, circuit, metric=metric, k=3, sample=5, shared=True)
    assert len(found.certified) > 0
    assert "not compared with networks" in found.summary()
    with pytest.raises(MechcausalError, match="not one of this package"):
        circuit.evaluate(hiring, others)


def test_refusals():
    model, pairs = zoo.loaded("gpt2"), zoo.make_pairs()
    reads = direction(model)
    with pytest.raises(ArgumentError, match="not said where"):
        state_metric(reads)
    with pytest.raises(SiteError, match="no part of it between layers"):
        state_metric(reads, "L1.z.H0")
    with pytest.raises(SiteError, match="no edges in front of L0"):
        Masked(model, pairs, state_metric(reads, "L0.resid_pre"))
    with pytest.raises(SiteError, match="this model has no L99"):
        Masked(model, pairs, state_metric(reads, "L99.resid_post"))
    with pytest.raises(DataError, match="was given something else"):
        mc.patch(model, pairs, sites="resid_post", metric=state_metric(reads, "L1.resid_post"))
    with pytest.raises(DataError, match="no position"):
        _ = Masked(model, pairs, state_metric(reads, "L1.resid_post", at=Selection.parse("@40"))).clean
