"""How edges may be written, and what is refused before the model runs."""

import pytest
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal import Hypothesis, path_effects
from mechcausal.causal.mediation.arrows import Arrow, graphs_of, within
from mechcausal.causal.mediation.worlds import Worlds
from mechcausal.errors import DataError, MechcausalError, SiteError, UnsupportedError
from mechcausal.models import hooked
from mechcausal.models.abilities import abilities

NAMES = ("gpt2", "llama", "neox", "bert")


@pytest.fixture
def idle(monkeypatch):
    """Let a test fail as soon as a model is run."""
    for name in NAMES:
        abilities(loaded(name))

    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(hooked.bridge, "run", refuse)


@pytest.fixture
def worlds(pairs):
    return Worlds.of(loaded("gpt2"), pairs, "logit_diff")


def told(graph):
    return [str(arrow) for arrow in graph.arrows]


CHAIN = ["L0.z.H0@-1 -> L1.mlp_out@-1", "L1.mlp_out@-1 => logits"]


@pytest.mark.parametrize(
    "spec",
    [
        "L0.z.H0@-1 -> L1.mlp_out@-1 => logits",
        "L0.z.H0@-1->L1.mlp_out@-1=>logits",
        ["L0.z.H0@-1 -> L1.mlp_out@-1", "L1.mlp_out@-1 => logits"],
        [("L0.z.H0@-1", "L1.mlp_out@-1"), ("L1.mlp_out@-1", "logits", "all")],
        [["L0.z.H0@-1", "L1.mlp_out@-1", "direct"], "L1.mlp_out@-1 => logits"],
        [Arrow(Place.parse("L0.z.H0@-1"), Place.parse("L1.mlp_out@-1")), [("L1.mlp_out@-1", "logits", "all")]],
        [
            ({"site": "L0.z.H0", "at": -1}, Place.parse("L1.mlp_out@-1")),
            (Place.parse("L1.mlp_out@-1"), "logits", "all"),
        ],
        ["L0.z.H0@-1 -> L1.mlp_out@-1 => logits", "L0.z.H0@-1 -> L1.mlp_out@-1"],  # said twice, meant once
    ],
)
def test_ways_to_write_edges(worlds, spec):
    (graph,) = graphs_of(spec, worlds)
    assert told(graph) == CHAIN
    assert graph.name == "; ".join(CHAIN)
    (named,) = graphs_of({"through the MLP": spec}, worlds)
    assert (named.name, told(named)) == ("through the MLP", CHAIN)


def test_what_a_graph_knows(worlds):
    (graph,) = graphs_of(
        ["L0.z.H0@-1 -> L1.mlp_out@-1 -> logits", "L0.z.H0@-1 -> logits", "embed@1 => L2.z.H1@-1 -> logits"], worlds
    )
    assert [str(part) for part in graph.nodes] == ["embed@1", "L0.z.H0@-1", "L1.mlp_out@-1", "L2.z.H1@-1"]
    assert [str(part) for part in graph.roots] == ["embed@1", "L0.z.H0@-1"]
    assert [[str(part) for part in step] for step in graph.steps()] == [
        ["embed@1", "L0.z.H0@-1"],
        ["L1.mlp_out@-1"],
        ["L2.z.H1@-1"],
    ]
    assert graph.name == "5 edges"
    assert graphs_of([], worlds)[0].name == "no edge"
    assert graph.row()["edges"] == 5


def test_heads_that_receive_the_same_come_in_one_step(worlds):
    edges = [("embed", f"L1.z.H{head}") for head in range(4)] + [(f"L1.z.H{head}", "logits") for head in range(4)]
    (graph,) = graphs_of(edges, worlds)
    assert [len(step) for step in graph.steps()] == [1, 4]


def test_edges_within_a_sublayer():
    def is_within(a, b):
        return within(Arrow(Place.parse(a), Place.parse(b)))

    assert is_within("L1.v.H0@1", "L1.z.H0@-1")
    assert is_within("L1.mlp_post.N3", "L1.mlp_out")
    assert not is_within("L0.v.H0", "L1.z.H0")
    assert not is_within("L1.z.H0", "L1.mlp_out")


def test_the_edges_of_a_hypothesis(by_hand):
    hypothesis = Hypothesis.of("by_hand").replaced(edges={("gender", "answer"): "direct"})
    worlds = Worlds.of(by_hand, mc.contrast("by_hand/gender", by_hand, n=4), "logit_diff")
    graphs = {graph.name: graph for graph in graphs_of(hypothesis, worlds)}
    assert told(graphs["gender -> answer"]) == ["L0.z.H0@end -> logits"]
    assert told(graphs["gender -> joint -> answer"]) == ["L0.z.H0@end => L1.mlp_out@end", "L1.mlp_out@end => logits"]
    assert len(graphs["all paths"].arrows) == 5
    # The places of the other variables stand in the way of edges along all paths, whichever set is active.
    assert {str(part) for part in graphs["level -> answer"].places} == {"L0.z.H0@end", "L0.z.H2@end", "L1.mlp_out@end"}
    alone = Hypothesis.of("by_hand").without("joint").without("level")
    assert [graph.name for graph in graphs_of(alone, worlds)] == ["gender -> answer"]


REFUSED = [
    (None, DataError, "an edge is .sender, receiver."),
    ({}, DataError, "there is no set of edges"),
    ("L0.z.H0", DataError, "'L0.z.H0' is not an edge.*a form like"),
    (["L0.z.H0", "L1.z.H0", "L2.z.H0", "logits"], DataError, "'L0.z.H0' is not an edge"),
    (("L0.z.H0", "logits", "some"), DataError, "'all' or 'direct', not 'some'"),
    (("L0.z.H0", 3), SiteError, "not a place in a network"),
    ("L0.zz.H0 -> logits", SiteError, "no component called 'zz'"),
    ("L7.z.H0 -> logits", SiteError, "L7.z.H0 is not in this model"),
    ("L0.z.H0@subject -> logits", SiteError, "no position called 'subject'"),
    ("L0.z.H0@30 -> logits", SiteError, "no prompt has the position of L0.z.H0@30"),
    ("L2.mlp_out -> L1.z.H0 -> logits", SiteError, "nothing passes along L2.mlp_out -> L1.z.H0.*computed before"),
    ("L1.z.H0 -> L1.z.H1 -> logits", SiteError, "nothing passes along L1.z.H0 -> L1.z.H1"),
    ("logits -> L1.z.H0", SiteError, "nothing passes along|the logits are"),
    ("L1.v.H0 -> L1.z.H2 -> logits", SiteError, "L1.z.H2 does not read that head"),
    ("L0.q.H0 -> L1.mlp_out -> logits", SiteError, "L0.q.H0 cannot be the sender of a direct edge.*or use all paths"),
    ("L0.z.H0 -> L1.resid_pre -> logits", SiteError, "L1.resid_pre cannot be the receiver of a direct edge"),
    ("L0.z.H0@3 -> logits", SiteError, "leads nowhere: nothing at the sender's positions is seen"),
    ("L0.z.H0@3 -> L1.mlp_out@-1 -> logits", SiteError, "leads nowhere: nothing at the sender's"),
    ("L1.pattern.H0@3 -> L1.z.H0@-1 -> logits", SiteError, "leads nowhere: nothing at the sender's"),
    ("L0.z.H0@-1 -> L1.mlp_out@-1", SiteError, "leads nowhere: no edge goes on from L1.mlp_out@-1.*to 'logits'"),
    (["L0.z.H0 -> L1.mlp_out", "L1.mlp_out@-1 -> logits"], SiteError, "edges from L1.mlp_out@-1.*the same way"),
    (["L1.z.H0 -> logits", "L1.attn_out@-1 -> logits"], SiteError, "hold some of the same, so logits would receive it twice"),
    (["L1.z.H0@-1 -> logits", "L1.z.H0 -> logits"], SiteError, "receive it twice"),
    (["L1.mlp_post.N4 -> logits", "L1.mlp_out -> logits"], SiteError, "receive it twice"),
    (
        [({"site": "L1.z.H0", "basis": [[1.0] * 8]}, "logits"), ({"site": "L1.z.H0", "basis": [[1.0, *[0.0] * 7]]}, "logits")],
        SiteError,
        "receive it twice",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("edges", "error", "said"), REFUSED)
def test_what_is_no_edge(idle, pairs, edges, error, said):
    with pytest.raises(error, match=said) as caught:
        path_effects(loaded("gpt2"), pairs, edges)
    assert isinstance(caught.value, MechcausalError)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_passed_back_to_earlier_positions(pairs):
    with pytest.raises(SiteError, match="leads nowhere: nothing at the sender's"):
        path_effects(loaded("gpt2"), pairs, "L0.z.H0@3 => L1.mlp_out@2 => logits")


def test_what_only_some_architectures_lack(idle, pairs):
    with pytest.raises(UnsupportedError, match=r"no direct edges.*along all paths"):
        path_effects(loaded("bert"), pairs, "L0.z.H0 -> logits")
    with pytest.raises(UnsupportedError, match="attention and MLP read the same stream"):
        path_effects(loaded("neox"), pairs, "L1.z.H0 -> L1.mlp_out -> logits")
    # Two query heads share a key-value head: H1 of v is read by H2 and H3.
    with pytest.raises(SiteError, match=r"L1\.z\.H1 does not read that head"):
        path_effects(loaded("llama"), pairs, "L1.v.H1 -> L1.z.H1 -> logits")


def test_what_is_no_contradiction(pairs):
    graphs = {
        "shared keys": "L1.v.H1 -> L1.z.H3 -> logits",
        "two directions": [
            ({"site": "L1.z.H0", "basis": [[1.0, *[0.0] * 7]]}, "logits"),
            ({"site": "L1.z.H0", "basis": [[0.0, 1.0, *[0.0] * 6]]}, "logits"),
        ],
        "two positions": ["L1.z.H0@-1 -> logits", "L1.z.H0@2 => L2.z.H1@-1 -> logits"],
        "earlier positions": ["L0.mlp_out@3 -> L1.z.H0@-1 -> logits", "L0.mlp_out@3 => L2.mlp_out@-1 -> logits"],
    }
    assert len(graphs_of(graphs, Worlds.of(loaded("llama"), pairs, "logit_diff"))) == 4


def test_an_encoder_sees_what_comes_after():
    pairs = make_pairs(changed=(1, 3))
    assert len(graphs_of("L0.z.H0@5 => L1.z.H0@2 => logits", Worlds.of(loaded("bert"), pairs, "logit_diff"))) == 1
