"""Hypotheses as circuits: the edges between their places, by hand."""

import pytest
from zoo import loaded

import mechcausal as mc
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.errors import SiteError, UnsupportedError
from mechcausal.models.abilities import abilities


def printed(circuit):
    return {(str(sender), str(receiver)) for sender, receiver in circuit.edges}


def test_a_hypothesis_becomes_the_edges_between_its_places():
    model = loaded("llama")  # two query heads share a key
    scm = mc.causal.SCM(
        "two", noise={"u": 2, "v": 2},
        mechanisms={"a": lambda u: u, "b": lambda a, v: a + v, "answer": lambda b: b}, values={"answer": (3, 5, 7)},
    )  # fmt: skip
    circuit = mc.claims.circuit(model, Hypothesis(scm, {"a": "L0.z.H3@-1", "b": "L1.mlp_post.N4@-1"}))
    assert printed(circuit) == {
        ("embed", "L0.q.H3"), ("embed", "L0.k.H1"), ("embed", "L0.v.H1"), ("L0.z.H3", "L1.mlp_out"),
        ("embed", "L1.mlp_out"), ("L1.mlp_out", "logits"),
    }  # fmt: skip
    assert circuit.about["variables"] == {"L0.z.H3": "a", "L1.mlp_out": "b"}


def test_a_place_inside_a_head_is_read_through_it():
    model = loaded("llama")
    scm = mc.causal.SCM("one", noise={"u": 2}, mechanisms={"answer": lambda u: u}, values={"answer": (3, 5)})
    edges = lambda place: printed(mc.claims.circuit(model, Hypothesis(scm, {"u": place})))  # noqa: E731
    assert edges("L1.k.H1") == {("embed", "L1.k.H1"), ("L1.z.H2", "logits"), ("L1.z.H3", "logits")}
    assert edges("L1.q.H1") == {("embed", "L1.q.H1"), ("L1.z.H1", "logits")}
    assert edges("embed") == {("embed", "logits")}
    assert len(edges("L1.attn_out")) == 4 + 2 + 2 + 4
    with pytest.raises(UnsupportedError, match=r"'u' is at L1\.resid_post, which is no node of a circuit"):
        edges("L1.resid_post")


def test_through_everything_keeps_all_ways_between():
    model = loaded("gpt2")
    scm = mc.causal.SCM(
        "two", noise={"u": 2}, mechanisms={"a": lambda u: u, "answer": lambda a: a}, values={"answer": (3, 5)}
    )
    hypothesis = Hypothesis(scm, {"a": "L1.mlp_out"})
    wiring = Wiring.of(abilities(model))
    kept = mc.claims.circuit(model, hypothesis, through="everything").kept[..., 0]
    before, after = wiring.sender("L1.mlp_out"), wiring.receiver("L1.mlp_out")
    expected = wiring.possible.copy()
    expected[:before, after + 1 :] = False  # nothing passes by
    assert (kept == expected).all()
    direct = Hypothesis(scm, {"a": "L1.mlp_out"}, edges={("a", "answer"): "direct"})
    assert mc.claims.circuit(model, direct, through="everything").kept[before:].sum() == 1


@pytest.mark.parametrize("pairs", ["by_hand/gender", "hiring/merit", "ioi/subject"])
def test_the_circuit_of_an_organism_keeps_its_behavior(pairs):
    name = pairs.partition("/")[0]
    model = mc.load(f"organism:{name}")
    circuit = mc.claims.circuit(model, Hypothesis.of(name))
    masked = Masked(model, mc.contrast(pairs, model, n=24), "logprob")
    kept, nothing = masked.metric(circuit.kept).mean(), masked.corrupt.mean()
    assert (kept - nothing) / (masked.clean.mean() - nothing) == pytest.approx(1, abs=0.03)


def test_what_does_not_add_up_has_no_circuit():
    scm = mc.causal.SCM("one", noise={"u": 2}, mechanisms={"answer": lambda u: u}, values={"answer": (3, 5)})
    with pytest.raises(UnsupportedError, match="has no edges"):
        mc.claims.circuit(loaded("bert"), Hypothesis(scm, {"u": "L1.z.H1"}))
    with pytest.raises(SiteError, match="nothing that reads"):
        mc.claims.circuit(loaded("gpt2"), Hypothesis(scm, {"u": "L9.z.H1"}))
