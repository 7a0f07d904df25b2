"""Circuits of features: closed forms where everything is linear, sums where it is not, and interventions one by one."""

import math

import numpy as np
import pytest
import torch
from random_dictionaries import Rectified, TopK, Turned
from saved import assert_kept
from zoo import VOCAB, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import ALL, Place
from mechcausal.circuits import Graph
from mechcausal.circuits.features.circuit import FeatureCircuit, circuit
from mechcausal.circuits.features.kept import faithfulness, in_turn
from mechcausal.circuits.features.scores import OUTPUT, Scorer
from mechcausal.errors import ArgumentError, DataError, SiteError
from mechcausal.interventions import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models.hooked import forward

LOGIT_DIFF = metric("logit_diff")


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """Attention at fixed weights, no norm, no MLP: the logits are linear in every activation."""
    config = {
        "n_layers": 3, "d_model": 12, "n_ctx": 12, "d_head": 4, "n_heads": 3, "d_vocab": VOCAB, "act_fn": "relu",
        "attn_only": True, "normalization_type": None,
    }  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.randn(*shape, generator=draw) * 0.4  # noqa: E731
    state = {"embed.W_E": rand(VOCAB, 12), "pos_embed.W_pos": rand(12, 12), "unembed.W_U": rand(12, VOCAB)}
    for layer in range(3):
        block = f"blocks.{layer}.attn."
        for name in "QKV":
            scale = 0.0 if name == "Q" else 1.0
            state |= {f"{block}W_{name}": scale * rand(3, 12, 4), f"{block}b_{name}": scale * rand(3, 4)}
        state |= {f"{block}W_O": rand(3, 4, 12), f"{block}b_O": rand(12)}
    path = tmp_path_factory.mktemp("linear") / "model.pt"
    torch.save(state, path)
    return mc.load(path, config=config)


def value(model, base, edits=(), sources=()):
    return LOGIT_DIFF(forward(model, base, list(edits), sources=list(sources)).logits, base)


def scorer(model, *known, steps=1, at=(ALL,)):
    return Scorer(model, in_turn(model, known), LOGIT_DIFF, at, steps, 64)


def all_nodes(*known, at=ALL):
    features = [Place(one.feature(number), at) for one in known for number in range(one.n_features)]
    return [*features, *(Place(one.error, at) for one in known)]


# Nodes


def test_on_a_linear_model_every_node_is_its_exact_effect(linear, bind):
    pairs = make_pairs((6,) * 5)
    known = bind(linear, Rectified(12, n=10), "L1.resid_post", "r")  # a bad dictionary: much of it is error
    scores = scorer(linear, known).nodes(pairs)["r"][0]
    read = forward(linear, pairs.corrupt, read=[known.features, known.error]).read
    for number in range(11):
        site = known.feature(number) if number < 10 else known.error
        exact = (
            value(linear, pairs.clean, [Edit(site, Patch())], [read[site.whole]]) - value(linear, pairs.clean)
        ).mean()
        assert scores[number] == pytest.approx(float(exact), abs=2e-5)
    assert abs(scores[-1]) > 0.01
    assert np.abs(scores[:-1]).max() > 0.01


def test_chunks_of_tokens_do_not_matter(bind, monkeypatch):
    model, pairs = loaded("gpt2"), make_pairs((7, 5, 6))
    known = [bind(model, TopK(32, n=40, seed=i), f"L{i}.resid_post", f"d{i}") for i in (0, 1)]
    found = []
    for budget in (2**30, 16 * 40 * 4):  # all tokens at once, and four at a time
        monkeypatch.setattr("mechcausal.circuits.features.ablating.BUDGET", budget)
        job = scorer(model, *known, steps=2)
        found.append((job.nodes(pairs), job.edges(pairs, all_nodes(*known))))
    for one in known:
        np.testing.assert_allclose(found[1][0][one.name], found[0][0][one.name], atol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    np.testing.assert_allclose(list(found[1][1].values()), list(found[0][1].values()), atol=1e-5)


# Edges


def brute_edge(model, pairs, sender, receiver, held=()):
    """Patch the sender alone, hold what lies between, see what becomes of the receiver, and put only that into a run."""
    taken = forward(model, pairs.corrupt, read=[sender.whole]).read[sender.whole]
    still = forward(model, pairs.clean, read=list(held)).read
    edits = [Edit(sender, Patch()), *(Edit(site, Patch()) for site in held)]
    sources = [taken, *(still[site] for site in held)]
    if receiver is None:
        return float((value(model, pairs.clean, edits, sources) - value(model, pairs.clean)).mean())
    became = forward(model, pairs.clean, edits, read=[receiver.whole], sources=sources).read[receiver.whole]
    return float((value(model, pairs.clean, [Edit(receiver, Patch())], [became]) - value(model, pairs.clean)).mean())


def test_on_a_linear_model_every_edge_is_what_it_does_alone(linear, bind):
    """Three dictionaries, one of which the stream goes around: direct edges hold it, and only it."""
    pairs = make_pairs((6,) * 4)
    early = bind(linear, Turned(12, seed=1), "L0.resid_post", "early")
    aside = bind(linear, Turned(12, seed=2), "L1.attn_out", "aside")
    late = bind(linear, Turned(12, seed=3), "L1.resid_post", "late")
    job = scorer(linear, early, aside, late)
    edges = job.edges(pairs, all_nodes(early, aside, late))
    held = {
        ("early", "aside"): (), ("early", "late"): ("L1.attn_out",), ("aside", "late"): (), ("late", None): (),
    }  # fmt: skip
    for (first, second), sites in held.items():
        sender = {"early": early, "aside": aside, "late": late}[first]
        for i in (0, 5, 11):
            for j in (1, 7):
                to = None if second is None else {"aside": aside, "late": late}[second].feature(j)
                found = edges[Place(sender.feature(i)), OUTPUT if to is None else Place(to)]
                sites_held = [mc.features.attached(linear)["aside"].site] if sites else []
                assert found == pytest.approx(brute_edge(linear, pairs, sender.feature(i), to, sites_held), abs=1e-5)
    # The stream behind layer 1 is all that is read later: nothing goes around it.
    assert not any(a.site.dictionary != "late" and b == OUTPUT for a, b in edges)


def test_a_known_path(by_hand, bind):
    """The gender goes from its token to the end: into the joint neuron where it is on, and straight to the answer."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=64)
    axes = {"W_dec": torch.eye(12), "encode": lambda self, x: x, "decode": lambda self, f: f}
    first = bind(by_hand, type("Axes", (), axes)(), "L0.resid_post", "first")
    neurons = bind(by_hand, type("Axes", (), axes)(), "L1.mlp_out", "second")
    found = circuit(by_hand, pairs, [first, neurons], nodes=10, steps=16)
    ours = found.graph
    assert {str(node) for node in ours.nodes} == {
        "L0.resid_post.sae:first.F5", "L1.mlp_out.sae:second.F8", "logits",
    }  # fmt: skip
    score = {(a.short, b.short): value for (a, b), value in ours.edges.items()}
    # 1.3 a unit straight, two units; through the neuron, which is on for half of the way where the level is high.
    share = score["F5", "F8"] / -0.9
    assert score["F5", "logits"] == pytest.approx(-2.6, abs=1e-4)
    assert 0.2 < share < 0.8
    assert score["F8", "logits"] == pytest.approx(-0.9 * share, abs=1e-4)
    assert ours.nodes[Place.parse("L0.resid_post.sae:first.F5")] == pytest.approx(-2.6 - 0.9 * share, abs=1e-4)
    assert found.faithfulness.faithfulness.estimate == pytest.approx(1, abs=1e-5)
    assert found.faithfulness.completeness.estimate == pytest.approx(0, abs=1e-5)


# Faithfulness


def test_a_circuit_of_a_linear_model_keeps_the_sum_of_its_nodes(linear, bind):
    pairs = make_pairs((6,) * 6)
    known = bind(linear, Turned(12), "L1.resid_post", "d")
    scores = scorer(linear, known).nodes(pairs)["d"][0]
    some = [0, 3, 4]
    found = faithfulness(linear, pairs, Graph.of([str(known.feature(i)) for i in some]), random=0)
    total = float((value(linear, pairs.corrupt) - value(linear, pairs.clean)).mean())
    # What is kept is what its exchange would have taken away.
    assert found.faithfulness.estimate == pytest.approx(scores[some].sum() / total, abs=1e-4)
    assert found.completeness.estimate == pytest.approx(1 - scores[some].sum() / total, abs=1e-4)
    assert found.frame["nodes"].tolist() == [3, 10]


# The whole


def test_found_on_one_half_and_measured_on_the_other(bind, tmp_path):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 24, seed=2)
    known = [bind(model, TopK(32, seed=i), f"L{i}.resid_post", f"d{i}") for i in (0, 1)]
    found = circuit(model, pairs, [one.name for one in known], nodes=12, steps=4, random=2)
    assert len(found.graph) == 13
    assert OUTPUT in found.graph.nodes
    assert found.graph.about["pairs"] != found.faithfulness.provenance.prompts["hash"]
    assert found.graph.about["n"] + found.faithfulness.provenance.prompts["n"] == len(pairs)
    assert found.coverage["dictionary"].tolist() == ["d0", "d1"]
    np.testing.assert_allclose(found.coverage["sum"], found.coverage["effect"], atol=0.05)
    assert {node.site.dictionary for node in found.graph.nodes} == {"d0", "d1", None}
    again = FeatureCircuit.load(found.save(tmp_path / "circuit"))
    assert again.graph == found.graph
    np.testing.assert_array_equal(again.faithfulness.examples, found.faithfulness.examples)
    assert_kept(found.faithfulness, tmp_path / "faithfulness.parquet")
    written = found.write(tmp_path / "graph.json", format="attribution-graph")
    assert mc.circuits.read(written) == found.graph
    assert "faithfulness" in again.summary()
    assert "<svg" in found._repr_html_()
    fewer = circuit(model, pairs, known, nodes=12, steps=4, random=0, node_threshold=0.3, edge_threshold=0.1)
    assert all(abs(score) >= 0.3 or math.isnan(score) for score in fewer.graph.nodes.values())
    assert all(abs(score) >= 0.1 for score in fewer.graph.edges.values())


def test_bad_input(bind):
    model, pairs = mc.load(build("gpt2")), make_pairs((7,) * 16)
    with pytest.raises(SiteError, match="no dictionary is attached"):
        circuit(model, pairs)
    one = bind(model, Turned(32), "L1.resid_post", "one")
    with pytest.raises(SiteError, match="describes all of it"):
        circuit(model, pairs, [one, bind(model, Turned(32), "L1.resid_post", "two")])
    with pytest.raises(ArgumentError, match="at least 1"):
        circuit(model, pairs, [one], steps=0)
    with pytest.raises(DataError, match="no gradient"):
        circuit(model, pairs, [one], metric="accuracy")
    with pytest.raises(DataError, match="no node of a dictionary"):
        faithfulness(model, pairs, Graph.of(["logits"]), among=[one])
    with pytest.raises(SiteError, match="not among the nodes"):
        faithfulness(model, pairs, Graph.of(["L1.resid_post.sae:two.F3"]), among=[one])
    with pytest.raises(SiteError, match="whole dictionary"):
        faithfulness(model, pairs, Graph.of(["L1.resid_post.sae:one"]), among=[one])
