"""Circuits as claims that are scrubbed: against organisms, a forward pass by hand, and the runs that evaluate circuits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_circuits import random_circuit
from scrubbing_trees import make_prompts
from zoo import bare, loaded

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.scrub import Scrubbing
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data import Contrast
from mechcausal.errors import MechcausalError, UnsupportedError
from mechcausal.models.abilities import abilities

QUICK = {"report": False, "controls": False, "seeds": 1}
BROAD = {"hiring": {"environment": "broad"}}


def organism(name, n=96):
    model = mc.load(f"organism:{name}")
    return model, mc.task(name).prompts(model, n, **BROAD.get(name, {})), Hypothesis.of(name)


def without(circuit, sender, *receivers):
    kept = circuit.kept.copy()
    kept[circuit.wiring.sender(sender), [circuit.wiring.receiver(receiver) for receiver in receivers]] = False
    return circuit.keep(kept)


def share(model, prompts, circuit, **options):
    return mc.scrub(model, prompts, mc.claims.tree(circuit), **{**QUICK, **options}).recovered


# What is claimed is true, and less is not


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edge"),
    [
        ("by_hand", ("L0.z.H0", "logits")),
        ("hiring", ("L1.z.H0", "L2.mlp_out")),
        ("ioi", ("L0.z.H0", "L1.q.H1", "L1.k.H1", "L1.v.H1")),
    ],
)
def test_the_true_circuit_is_scrubbed_without_loss_and_one_edge_less_is_not(name, edge):
    model, prompts, hypothesis = organism(name)
    circuit = mc.claims.circuit(model, hypothesis)
    own = mc.scrub(model, prompts, hypothesis, lonely="keep", **QUICK).recovered
    assert own.estimate > 0.97
    assert share(model, prompts, circuit).estimate > 0.97
    assert share(model, prompts, without(circuit, *edge)).estimate < 0.8


@pytest.mark.slow
def test_discovered_circuits_are_scrubbed_without_loss_where_all_questions_were_asked():
    """Each pair differs in one cause, so the circuit of all of them explains the model, and that of two does not."""
    model, prompts, _ = organism("hiring")
    found = {
        cause: mc.discover(model, mc.contrast(f"hiring/{cause}", model, n=16), edges=8) for cause in ("merit", "gender")
    }
    both = found["merit"].keep(found["merit"].kept | found["gender"].kept)
    assert share(model, prompts, both).estimate > 0.97
    assert share(model, prompts, found["gender"]).estimate < 0.8


@pytest.mark.slow
def test_what_passes_through_others_is_kept_by_through_everything():
    model, prompts, hypothesis = organism("brackets", n=64)
    direct, ways = (mc.claims.circuit(model, hypothesis, through=through) for through in ("nothing", "everything"))
    assert share(model, prompts, direct).estimate < 0.95
    assert mc.scrub(model, prompts, mc.claims.tree(ways, most_nodes=600), **QUICK).recovered.estimate > 0.97


def test_the_same_verdict_on_a_hypothesis_that_lacks_a_variable():
    model, prompts, hypothesis = organism("hiring")
    lacking = hypothesis.without("merit")
    by_hypothesis = mc.scrub(model, prompts, lacking, lonely="keep", **QUICK).recovered
    by_circuit = share(model, prompts, mc.claims.circuit(model, lacking))
    assert by_hypothesis.estimate < 0.8
    assert by_circuit.estimate < 0.8


def test_the_report_names_the_reader_that_an_edge_is_missing_at():
    model, prompts, hypothesis = organism("hiring")
    circuit = without(mc.claims.circuit(model, hypothesis), "L1.z.H0", "L2.mlp_out")
    scrubbed = mc.scrub(model, prompts, mc.claims.tree(circuit), controls=False, seeds=1)
    spared = scrubbed.frame[scrubbed.frame["kind"] == "rest"].set_index("node")["effect"]
    assert spared["L2.mlp_out"] > 0.97
    assert spared.drop("L2.mlp_out").max() < 0.8


def test_what_a_node_depends_on_can_be_said_besides():
    model, prompts, hypothesis = organism("hiring")
    circuit = mc.claims.circuit(model, hypothesis)
    right = {"L1.z.H0": "merit", "L1.z.H1": "proxy", "L1.z.H2": "bias", "L2.mlp_out": "score"}

    def score(depends):
        return mc.scrub(
            model, prompts, mc.claims.tree(circuit, depends=depends), lonely="keep", **QUICK
        ).recovered.estimate

    assert score(right) > 0.97
    assert score(right | {"L1.z.H0": "bias"}) < 0.8


# What is computed


def by_hand(model, tokens, others, circuit):
    """Return the last logits of GPT-2 in which readers read kept senders of one prompt and all else of another."""
    wiring, kept = circuit.wiring, circuit.kept[..., 0]
    width = model.config.n_embd // wiring.n_heads
    stack = model.transformer
    future = torch.triu(torch.full((tokens.shape[1],) * 2, -torch.inf), 1)
    before = {"embed": stack.wte(others)}  # what each sender adds in the other prompt
    now = {"embed": stack.wte(tokens)}  # and in the circuit
    stream = before["embed"] + stack.wpe(torch.arange(tokens.shape[1]))

    def read(receiver):
        senders = [str(wiring.senders[s]) for s in np.flatnonzero(kept[:, wiring.receiver(receiver)])]
        return stream + sum((now[sender] - before[sender] for sender in senders), torch.zeros_like(stream))

    def head(block, number, q, k, v):
        columns = slice(number * width, (number + 1) * width)
        parts = []
        for kind, value in enumerate((q, k, v)):
            made = block.ln_1(value) @ block.attn.c_attn.weight + block.attn.c_attn.bias
            parts.append(made[..., kind * model.config.n_embd :][..., columns])
        scores = parts[0] @ parts[1].transpose(1, 2) / width**0.5 + future
        return scores.softmax(-1) @ parts[2] @ block.attn.c_proj.weight[columns]

    for layer, block in enumerate(stack.h):
        for number in range(wiring.n_heads):
            name = f"L{layer}.z.H{number}"
            now[name] = head(block, number, *(read(f"L{layer}.{kind}.H{number}") for kind in "qkv"))
            before[name] = head(block, number, stream, stream, stream)
        stream = (
            stream + sum(before[f"L{layer}.z.H{number}"] for number in range(wiring.n_heads)) + block.attn.c_proj.bias
        )
        name = f"L{layer}.mlp_out"
        now[name], before[name] = block.mlp(block.ln_2(read(name))), block.mlp(block.ln_2(stream))
        stream = stream + before[name]
    return model.lm_head(stack.ln_f(read("logits")))[:, -1]


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_with_one_random_prompt_for_all_it_is_resample_ablation_of_the_edges_outside(seed):
    plain, model = bare("gpt2"), loaded("gpt2")
    prompts = make_prompts(n=12)
    wiring = Wiring.of(abilities(model))
    ends = random_circuit(wiring, seed=seed, share=0.15)
    spec = Scrubbing(mc.claims.tree(ends, most_nodes=100), unimportant="together", **QUICK)
    job, (prepared,) = spec._prepared(model, prompts)
    others = prepared.samples["answer"].o
    assert len(prepared.samples) > 10  # nodes
    assert (others != np.arange(len(prompts))).sum() > 2
    (row,) = job.run(prepared)
    logits = by_hand(plain, prompts.tokens, prompts.tokens[others], ends)
    expected = logits.log_softmax(-1)[torch.arange(len(prompts)), prompts.answer]
    np.testing.assert_allclose(row.examples, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "split"), [("neox", False), pytest.param("llama", False, marks=pytest.mark.slow), ("llama", True)]
)
def test_and_the_same_as_the_runs_that_a_circuit_is_evaluated_by(architecture, split):
    model, prompts = loaded(architecture), make_prompts(n=12)
    circuit = random_circuit(Wiring.of(abilities(model), split=split), seed=2, share=0.2)
    spec = Scrubbing(mc.claims.tree(circuit, most_nodes=100), unimportant="together", **QUICK)
    job, (prepared,) = spec._prepared(model, prompts)
    (row,) = job.run(prepared)
    others = prompts.take(torch.as_tensor(prepared.samples["answer"].o))
    pairs = Contrast(prompts, replace(others, answer=prompts.answer), "resampled")
    expected = Masked(model, pairs, "logprob", split=split).metric(circuit.kept)
    np.testing.assert_allclose(row.examples, expected, rtol=1e-4, atol=1e-4)


def test_everything_kept_is_the_model_itself():
    model = loaded("gpt2")
    wiring = Wiring(1, 2, 2)
    whole = Circuit(wiring, wiring.possible[..., None], np.full((*wiring.possible.shape, 1), np.nan))
    tree = mc.claims.tree(whole)
    assert str(tree).splitlines()[:2] == ["answer: output, by exact", "  embed: embed, by exact (direct)"]
    names = [node.name for node in tree.walk()]
    assert len(names) == 1 + 1 + 2 * 2 + (1 + 1 + 2 * 2)  # logits: embed, two heads that read it, the MLP with the same
    assert abilities(model).additive


def test_an_input_that_reads_otherwise_is_a_node_of_its_own():
    circuit = Circuit.of(Wiring(2, 2, 1), [("embed", "L0.v.H0"), ("L0.z.H1", "logits"), ("embed", "L1.mlp_out")])
    lines = str(mc.claims.tree(circuit)).splitlines()
    assert lines == [
        "answer: output, by exact",
        "  L0.z.H1: L0.z.H1, by exact (direct)",
        "    L0.v.H0 > L0.z.H1: L0.v.H0, by exact",
        "      embed > L0.v.H0 > L0.z.H1: embed, by exact (direct)",
    ]
    split = Circuit.of(Wiring(2, 2, 1, split=True), [("embed", "L0.v.H1"), ("L0.z.H1", "logits")])
    assert str(mc.claims.tree(split)).splitlines() == lines


def test_the_number_of_nodes_is_known_before_the_tree_is_made():
    for seed in range(5):
        circuit = random_circuit(Wiring(2, 3, 3), seed=seed, share=0.3)
        count = len(list(mc.claims.tree(circuit, most_nodes=10**6).walk()))
        with pytest.raises(UnsupportedError, match=rf"has {count:,} nodes as a tree"):
            mc.claims.tree(circuit, most_nodes=count - 1)
    large = Wiring(24, 16, 16)
    with pytest.raises(UnsupportedError, match=r"as a tree, more than most_nodes=300.*resample"):
        mc.claims.tree(random_circuit(large, share=0.5))


@pytest.mark.parametrize(
    ("circuit", "options", "said"),
    [
        (Circuit.of(Wiring(1, 1, 1), [("embed", "L0.q.H0")]), {}, "no way leads from the embedding"),
        (
            random_circuit(Wiring(1, 1, 1), positions=(Selection.parse(0), Selection.parse(1))),
            {},
            "tells positions apart",
        ),
        (Circuit.of(Wiring(1, 1, 1), [("embed", "logits")]), {"depends": {"L9.z.H0": "a"}}, "is nothing that writes"),
        (Circuit.of(Wiring(1, 1, 1), [("embed", "logits")]), {"depends": {"embed": 3}}, "embed cannot depend on this"),
        (
            Circuit.of(Wiring(1, 1, 1), [("embed", "logits")]),
            {"depends": {"embed": [1]}},
            "embed cannot depend on this",
        ),
    ],
)
def test_what_cannot_be_claimed(circuit, options, said):
    with pytest.raises(MechcausalError, match=said):
        mc.claims.tree(circuit, **options)
