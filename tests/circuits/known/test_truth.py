"""The known circuit of organisms: areas of hand-made scores, exact effects of edges, and what is refused."""

import numpy as np
import pytest
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.circuits.benchmark.questions import QUESTIONS
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.known.truth import organism_of, truth
from mechcausal.errors import DataError, ModelError, SiteError


@pytest.fixture(scope="module")
def hiring():
    model = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", model, n=24)
    return model, pairs, truth(model, pairs)


def scored(wiring, scores, nodes=None):
    return Circuit(wiring, np.zeros(scores.shape, dtype=bool), scores, nodes)


def test_the_edges_of_gender(hiring):
    _, _, known = hiring
    assert known.kind == "trained"
    assert set(known.edges) == {
        ("embed", "L1.z.H1"), ("embed", "L1.z.H2"), ("L1.z.H1", "L2.mlp_out"), ("L1.z.H2", "L2.mlp_out"),
        ("L2.mlp_out", "logits"),
    }  # fmt: skip
    assert {str(known.wiring.senders[i]) for i in np.flatnonzero(known.nodes)} == {
        "embed", "L1.z.H1", "L1.z.H2", "L2.mlp_out",
    }  # fmt: skip
    assert "5 of 207 edges are true (trained; the inputs of a head count as one), 3 of 20 nodes" in known.summary()
    assert len(known.circuit) == 3 * 2 + 3
    assert known.circuit.connected() == known.circuit


def test_one_input_of_a_head_is_enough(hiring):
    _, _, known = hiring
    scores = np.where(known.wiring.possible, 0.0, np.nan)[..., None]
    for sender, receiver in (
        ("embed", "v.H1"),
        ("embed", "q.H2"),
        ("L1.z.H1", ""),
        ("L1.z.H2", ""),
        ("L2.mlp_out", ""),
    ):
        target = f"L1.{receiver}" if receiver else "logits" if sender == "L2.mlp_out" else "L2.mlp_out"
        scores[known.wiring.sender(sender), known.wiring.receiver(target)] = -1
    assert known.edge_auc(scored(known.wiring, scores)) == 1
    assert known.node_auc(scored(known.wiring, scores)) == 1


def test_areas_of_scores_that_say_nothing(hiring):
    _, _, known = hiring
    shape = (*known.true.shape, 1)
    assert known.edge_auc(scored(known.wiring, np.ones(shape))) == 0.5
    assert known.edge_auc(scored(known.wiring, np.full(shape, np.nan))) == 0.5
    draw = np.random.default_rng(0)
    # Three edges into a head have three chances to be large, and are compared with three others.
    areas = [known.edge_auc(scored(known.wiring, draw.normal(size=shape))) for _ in range(400)]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 20)


def test_true_edges_without_scores_are_not_found(hiring):
    _, _, known = hiring
    scores = np.where(known.true, np.nan, 0.0)[..., None]
    assert known.edge_auc(scored(known.wiring, scores)) == 0


def test_the_largest_position_counts(hiring):
    _, _, known = hiring
    selections = tuple(mc.Place("L0.z", at).at for at in ("@1", "@-1"))
    scores = np.stack([known.true * 1.0, np.zeros(known.true.shape)], -1)
    circuit = Circuit(known.wiring, np.zeros(scores.shape, dtype=bool), scores, positions=selections)
    assert known.edge_auc(circuit) == 1


def test_scores_of_nodes_are_used_where_there_are_some(hiring):
    _, _, known = hiring
    edges = np.zeros((*known.true.shape, 1))
    nodes = np.where(known.nodes, -2.0, 0.5)[:, None]
    assert known.node_auc(scored(known.wiring, edges, nodes)) == 1
    nodes[0] = np.nan  # the embedding is left out
    assert known.node_auc(scored(known.wiring, edges, nodes)) == 1
    nodes[1:] = np.where(known.nodes[1:, None], np.nan, 0.5)
    assert known.node_auc(scored(known.wiring, edges, nodes)) == 0


def exact(model, pairs, wiring):
    """Return the effect of replacing each edge in the clean run, by path patching."""
    scores = np.full((*wiring.possible.shape, 1), np.nan)
    for number, receiver in enumerate(wiring.receivers):
        reach = wiring.reach(receiver)
        senders = [str(site) for site in wiring.senders[:reach]]
        result = mc.path_patch(model, pairs, senders=senders, receivers=str(receiver), direction="noise")
        scores[:reach, number, 0] = -result.frame["change"]
    return Circuit(wiring, np.zeros(scores.shape, dtype=bool), scores)


@pytest.mark.slow
def test_exact_effects_by_path_patching_are_largest_on_true_edges():
    model = mc.load("organism:induction")
    pairs = mc.contrast("induction/copied", model, n=12)
    known = truth(model, pairs)
    circuit = exact(model, pairs, known.wiring)
    assert known.edge_auc(circuit) > 0.99
    assert known.node_auc(circuit) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [q for q in QUESTIONS if q.organism not in ("by_hand", "reverse", "fraction", "fraction_linear")],
    ids=str,
)
def test_exact_effects_are_largest_on_true_edges(question):
    model = mc.load(f"organism:{question.organism}")
    pairs = mc.contrast(question.contrast, model, n=12)
    known = truth(model, pairs)
    area = known.edge_auc(mc.discover(model, pairs, method="exact"))
    # In brackets a head listens to another one without changing an answer.
    assert area > (0.93 if question.organism == "brackets" else 0.99)


def test_an_organism_is_known_by_its_weights(hiring):
    model, pairs, _ = hiring
    assert organism_of(model) == "hiring"
    assert truth(model, pairs, organism="hiring").edges == truth(model, pairs).edges


def test_refusals(hiring):
    model, pairs, known = hiring
    other = loaded("gpt2")
    with pytest.raises(ModelError, match="no organism whose circuit is known"):
        truth(other, make_pairs())
    with pytest.raises(DataError, match="these pairs are of no task"):
        truth(model, mc.Contrast(pairs.clean, pairs.corrupt, "gender"))
    bare = mc.Contrast.from_text(
        model, ["<app> he adam master 2y golf <dec>"], ["<app> she adam master 2y golf <dec>"], answer="accept",
        foil="reject", name="hiring/gender",
    )  # fmt: skip
    with pytest.raises(DataError, match="do not say what their variables are"):
        truth(model, bare)
    small = Wiring(n_layers=1, n_heads=2, n_kv_heads=2)
    with pytest.raises(SiteError, match="of another model"):
        known.edge_auc(scored(small, np.zeros((*small.possible.shape, 1))))
