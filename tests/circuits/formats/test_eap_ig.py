"""Graphs of EAP-IG and MIB: names, signs, shared keys and values, and files that are none."""

import json
import time

import numpy as np
import pytest
import torch
from random_circuits import WIRINGS, random_circuit
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.formats.eap_ig import from_eap_ig, is_eap_ig, to_eap_ig
from mechcausal.errors import ResultError


def written_by_eap_ig(n_layers=2, n_heads=2, *, parallel=False):
    """Return a graph as EAP-IG writes it: its loops over layers, heads and the stream, and a score for every edge."""
    draw = np.random.default_rng(0)
    nodes, edges, stream = {"input": {"in_graph": True}}, {}, ["input"]

    def joined(receiver):
        for sender in stream:
            edges[f"{sender}->{receiver}"] = {"score": float(draw.normal()), "in_graph": bool(draw.random() < 0.3)}

    for layer in range(n_layers):
        heads = [f"a{layer}.h{head}" for head in range(n_heads)]
        for head in heads:
            nodes[head] = {"in_graph": False}
            for letter in "qkv":
                joined(f"{head}<{letter}>")
        if parallel:
            joined(f"m{layer}")
        stream += heads
        if not parallel:
            joined(f"m{layer}")
        nodes[f"m{layer}"] = {"in_graph": True, "score": 0.5}
        stream.append(f"m{layer}")
    joined("logits")
    nodes["logits"] = {"in_graph": True}
    cfg = {"n_layers": n_layers, "n_heads": n_heads, "parallel_attn_mlp": parallel, "d_model": 8}
    return {"cfg": cfg, "nodes": nodes, "edges": edges}


@pytest.mark.parametrize("parallel", [False, True])
def test_a_file_of_theirs(parallel, tmp_path):
    theirs = written_by_eap_ig(parallel=parallel)
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(theirs))
    circuit = mc.circuits.read(path)
    assert circuit.wiring == Wiring(2, 2, 2, parallel=parallel)
    assert circuit.wiring.count == len(theirs["edges"])
    assert len(circuit) == sum(edge["in_graph"] for edge in theirs["edges"].values())
    assert circuit.about == {"format": "eap-ig", "score_of": "loss", "d_model": 8}
    score = circuit.scores[circuit.wiring.sender("L0.z.H1"), circuit.wiring.receiver("L1.v.H0"), 0]
    assert score == theirs["edges"]["a0.h1->a1.h0<v>"]["score"]
    assert circuit.nodes[circuit.wiring.sender("L1.mlp_out"), 0] == 0.5
    again = to_eap_ig(circuit)
    assert again["edges"] == theirs["edges"]
    assert again["cfg"] == theirs["cfg"]
    assert again["nodes"].keys() == theirs["nodes"].keys()


def test_of_a_metric_the_signs_are_the_other_ones():
    theirs = written_by_eap_ig()
    loss, metric = from_eap_ig(theirs), from_eap_ig(theirs, score_of="metric")
    np.testing.assert_array_equal(metric.scores, -loss.scores)
    np.testing.assert_array_equal(metric.nodes, -loss.nodes)
    np.testing.assert_array_equal(metric.kept, loss.kept)


def scored_as_theirs(network, pairs, loss):
    """Return (corrupted - clean) x the gradient of a loss, for the edges from MLPs to the logits, by hooks on the plain model."""
    outputs, streams = [], []
    handles = [
        block.mlp.register_forward_hook(lambda _, __, out: outputs.append(out)) for block in network.transformer.h
    ]
    handles.append(network.transformer.ln_f.register_forward_pre_hook(lambda _, given: streams.append(given[0])))
    with torch.enable_grad():
        network.transformer.wte.weight.requires_grad_(True)
        logits = [network(side.tokens).logits[:, -1] for side in (pairs.clean, pairs.corrupt)]
        (gradient,) = torch.autograd.grad(loss(logits[0]), streams[0])
    network.transformer.wte.weight.requires_grad_(False)
    for handle in handles:
        handle.remove()
    layers = len(network.transformer.h)
    change = [outputs[layers + layer] - outputs[layer] for layer in range(layers)]
    return {
        f"m{layer}->logits": float((change[layer] * gradient).sum().detach()) / len(pairs) for layer in range(layers)
    }


@pytest.mark.parametrize("score_of", ["loss", "metric"])
def test_their_scores_of_a_model_become_ours(score_of):
    network, model, pairs = build("gpt2"), loaded("gpt2"), make_pairs()
    rows, sign = torch.arange(len(pairs)), -1 if score_of == "loss" else 1
    difference = lambda logits: (logits[rows, pairs.clean.answer] - logits[rows, pairs.clean.foil]).sum()  # noqa: E731
    theirs = written_by_eap_ig(3, 4)
    for name, score in scored_as_theirs(network, pairs, lambda logits: sign * difference(logits)).items():
        theirs["edges"][name]["score"] = score
    read = from_eap_ig(theirs, score_of=score_of)
    ours = mc.discover(model, pairs, method="eap")
    for layer in range(3):
        edge = ours.wiring.sender(f"L{layer}.mlp_out"), ours.wiring.receiver("logits"), 0
        assert abs(ours.scores[edge]) > 1e-3
        assert read.scores[edge] == pytest.approx(ours.scores[edge], rel=1e-3)


@pytest.mark.parametrize("kind", WIRINGS)
def test_there_and_back_is_equal(kind, tmp_path):
    circuit = random_circuit(WIRINGS[kind])
    path = circuit.write(tmp_path / "circuit.json", format="eap-ig")
    again = mc.circuits.read(path)
    assert again == circuit
    np.testing.assert_array_equal(again.nodes, circuit.nodes)
    assert again.about == circuit.about


@pytest.mark.parametrize("kind", ["gpt2", "parallel", "split"])
def test_their_reader_finds_what_it_looks_for(kind):
    data = json.loads(json.dumps(to_eap_ig(random_circuit(WIRINGS[kind]))))
    heads = data["cfg"]["n_heads"]
    expected = written_by_eap_ig(data["cfg"]["n_layers"], heads, parallel=data["cfg"]["parallel_attn_mlp"])
    assert data["edges"].keys() == expected["edges"].keys()
    assert all(type(edge["score"]) is float and type(edge["in_graph"]) is bool for edge in data["edges"].values())


def test_keys_and_values_of_query_heads_are_joined_where_asked():
    theirs = written_by_eap_ig(2, 4)
    apart, joined = from_eap_ig(theirs, n_kv_heads=2), from_eap_ig(theirs, n_kv_heads=2, join=True)
    assert apart.wiring == Wiring(2, 4, 2, split=True)
    assert joined.wiring == Wiring(2, 4, 2)
    row, column = joined.wiring.sender("L0.mlp_out"), joined.wiring.receiver("L1.k.H1")
    scores = [theirs["edges"][f"m0->a1.h{head}<k>"]["score"] for head in (2, 3)]
    assert joined.scores[row, column, 0] == pytest.approx(sum(scores))
    with pytest.raises(ResultError, match="4 query heads cannot share 3"):
        from_eap_ig(theirs, n_kv_heads=3)


def test_positions_are_joined_where_asked():
    circuit = random_circuit(WIRINGS["gpt2"], positions=(Selection.parse(0), Selection.parse(1)), unscored=0)
    with pytest.raises(ResultError, match=r"does not tell positions apart \(got 2 positions\): pass join=True"):
        to_eap_ig(circuit)
    again = from_eap_ig(to_eap_ig(circuit, join=True))
    np.testing.assert_allclose(again.scores[..., 0], circuit.scores.sum(-1))
    np.testing.assert_array_equal(again.kept[..., 0], circuit.kept.any(-1))


def test_the_width_of_the_stream_is_asked_for():
    circuit = Circuit.of(WIRINGS["gpt2"], [("embed", "logits")])
    with pytest.raises(ResultError, match="pass d_model"):
        to_eap_ig(circuit)
    assert to_eap_ig(circuit, d_model=32)["cfg"]["d_model"] == 32


def test_a_graph_of_the_size_of_gpt2_takes_seconds(tmp_path):
    circuit = random_circuit(Wiring(12, 12, 12))
    assert circuit.wiring.count == 32_491
    start = time.process_time()
    assert mc.circuits.read(circuit.write(tmp_path / "gpt2.json", format="eap-ig")) == circuit
    assert time.process_time() - start < 5


def test_masks_of_neurons_are_named():
    theirs = written_by_eap_ig()
    theirs["nodes"]["m0"] |= {"neurons": [True] * 8, "neurons_scores": [0.0] * 8}
    assert from_eap_ig(theirs).about["neurons"] == "not read"


def test_older_files_have_only_whether_a_node_is_in_the_graph():
    theirs = written_by_eap_ig()
    del theirs["cfg"]["d_model"]
    theirs["nodes"] = {name: node["in_graph"] for name, node in theirs["nodes"].items()}
    assert from_eap_ig(theirs).nodes is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["cfg"].pop("n_layers"), "cfg.n_layers is not a count"),
        (lambda d: d["cfg"].update(n_layers=10**9), "cfg.n_layers is not a count"),
        (lambda d: d["cfg"].update(n_layers=10**5, n_heads=10**5), "larger than any"),
        (lambda d: d["cfg"].update(n_heads=True), "cfg.n_heads is not a count"),
        (lambda d: d["cfg"].update(parallel_attn_mlp="no"), "not true or false"),
        (lambda d: d.update(cfg=[]), "cfg is not a JSON object"),
        (lambda d: d.update(nodes=7), "the nodes of this graph is not a JSON object"),
        (lambda d: d.update(edges=[]), "the edges of this graph is not a JSON object"),
        (lambda d: d["nodes"].update(resid=True), "a node of another kind: resid"),
        (lambda d: d["nodes"].update(m7={"in_graph": True}), "a node that a model of its cfg has not: m7"),
        (lambda d: d["nodes"].update(m1=[]), "the node m1 is not a JSON object"),
        (lambda d: d["edges"].update({"m1->m0": {"score": 1.0}}), "an edge that a model of its cfg has not: m1->m0"),
        (lambda d: d["edges"].update({"nonsense" * 50: {"score": 1.0}}), "an edge that a model of its cfg has not"),
        (lambda d: d["edges"].update({"input->m0": 3}), "the edge input->m0 is not a JSON object"),
        (lambda d: d["edges"].update({"input->m0": {"score": "x"}}), "the score of the edge input->m0 is not a number"),
        (lambda d: d["edges"].update({"input->m0": {"score": 10**400}}), "not a finite number"),
        (lambda d: d["edges"].update({"input->m0": {"score": 1.0, "in_graph": 1}}), "not true or false"),
    ],
    ids=range(17),
)
def test_what_is_wrong_is_said_in_one_sentence(change, said):
    theirs = written_by_eap_ig()
    change(theirs)
    assert is_eap_ig(theirs)
    with pytest.raises(ResultError, match=said) as caught:
        from_eap_ig(theirs)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
