"""The plan of a picture: every node at its place, every edge in one line, and what is true told right."""

import numpy as np
import pytest
from random_circuits import WIRINGS, random_circuit

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.plan import FALSE, FOUND, MISSED, Spots, plan, reader
from mechcausal.errors import SiteError

SITES = {kind: [*wiring.senders, Site("logits")] for kind, wiring in WIRINGS.items()}


@pytest.mark.parametrize("kind", WIRINGS)
def test_nobody_stands_on_another_and_later_is_higher(kind):
    wiring = WIRINGS[kind]
    spots = Spots.of(wiring)
    points = {site: spots.node(site) for site in SITES[kind]}
    assert len(set(points.values())) == len(points)
    for sender in wiring.senders:
        for receiver in wiring.receivers:
            if wiring.possible[wiring.sender(sender), wiring.receiver(receiver)] and receiver.component in (
                "mlp_out",
                "logits",
            ):
                assert points[receiver][1] < points[sender][1]
    wide, tall = spots.size
    assert all(0 < x < wide and 0 < y < tall for x, y in points.values())


@pytest.mark.parametrize("wiring", [Wiring(30, 9, 3), Wiring(80, 64, 8), Wiring(2, 1, 1, mlps=False)])
def test_large_models_fit_and_nodes_do_not_touch(wiring):
    spots = Spots.of(wiring)
    assert 2 * spots.radius < spots.step
    assert 2 * spots.radius < spots.row
    assert spots.size[0] < 2000


@pytest.mark.parametrize("kind", WIRINGS)
def test_every_edge_is_in_one_line(kind):
    circuit = random_circuit(WIRINGS[kind])
    drawn = plan(circuit)
    assert sum(len(line.scores) for line in drawn.lines) == len(circuit)
    for line in drawn.lines:
        ends = [Site(letter, line.reader.layer, head=line.reader.head) for letter in line.letters] or [line.reader]
        for end, score in zip(ends, line.scores, strict=True):
            index = circuit.wiring.sender(line.sender), circuit.wiring.receiver(end), 0
            assert circuit.kept[index]
            np.testing.assert_equal(score, circuit.scores[index])
    assert [line.size for line in drawn.lines] == sorted(line.size for line in drawn.lines)


def test_inputs_of_a_head_that_read_the_same_sender_are_one_line():
    edges = [("embed", "L1.q.H0"), ("embed", "L1.v.H0"), ("embed", "L1.k.H1"), ("embed", "L1.mlp_out")]
    lines = {(str(line.reader), line.letters) for line in plan(Circuit.of(WIRINGS["gpt2"], edges)).lines}
    assert lines == {("L1.z.H0", "qv"), ("L1.z.H1", "k"), ("L1.mlp_out", "")}


def test_keys_and_values_that_heads_share_are_read_apart_from_the_heads():
    wiring = WIRINGS["grouped"]
    edges = [("embed", "L1.q.H1"), ("embed", "L1.k.H1"), ("embed", "L1.v.H1")]
    lines = {(str(line.reader), line.letters) for line in plan(Circuit.of(wiring, edges)).lines}
    assert lines == {("L1.z.H1", "q"), ("L1.k.H1", "kv")}
    (left, down), (right, _) = Spots.of(wiring).bar(1, 1)
    heads = [Spots.of(wiring).node(Site("z", 1, head=head)) for head in (3, 4, 5)]
    assert all(left <= x <= right and y < down for x, y in heads)
    assert reader(WIRINGS["split"], Site("k", 1, head=4)) == Site("z", 1, head=4)


TRUE = [("embed", "L0.q.H0"), ("L0.z.H0", "L1.mlp_out"), ("L1.mlp_out", "logits")]


def test_what_is_found_missed_and_false():
    found = Circuit.of(WIRINGS["gpt2"], [TRUE[0], TRUE[2], ("embed", "L0.k.H0"), ("L0.z.H1", "logits")])
    drawn = plan(found, Circuit.of(WIRINGS["gpt2"], TRUE))
    assert drawn.counts == {FOUND: 2, MISSED: 1, FALSE: 2}
    fates = {(str(line.sender), str(line.reader), line.letters): line.fate for line in drawn.lines}
    assert fates == {
        ("embed", "L0.z.H0", "q"): FOUND, ("embed", "L0.z.H0", "k"): FALSE, ("L0.z.H0", "L1.mlp_out", ""): MISSED,
        ("L1.mlp_out", "logits", ""): FOUND, ("L0.z.H1", "logits", ""): FALSE,
    }  # fmt: skip
    nodes = {str(site): fate for site, fate in drawn.fates.items()}
    assert nodes == {"embed": FOUND, "L0.z.H0": FOUND, "L1.mlp_out": FOUND, "logits": FOUND, "L0.z.H1": FALSE}


def test_a_head_counts_as_one_reader_where_the_truth_does_not_tell_its_inputs_apart():
    truth = Circuit.of(WIRINGS["gpt2"], [("embed", f"L0.{kind}.H0") for kind in "qkv"], {"method": "hypothesis"})
    found = Circuit.of(WIRINGS["gpt2"], [("embed", "L0.v.H0")])
    assert plan(found, truth).counts == {FOUND: 1, MISSED: 0, FALSE: 0}
    assert plan(found, truth, by_head=False).counts == {FOUND: 1, MISSED: 2, FALSE: 0}


def test_a_truth_that_tells_query_heads_apart():
    found = Circuit.of(WIRINGS["grouped"], [("embed", "L0.k.H1")])
    assert plan(found, Circuit.of(WIRINGS["split"], [("embed", "L0.k.H4")])).counts[FOUND] == 1
    with pytest.raises(SiteError, match="of another model"):
        plan(found, Circuit.of(WIRINGS["gpt2"], [("embed", "L0.k.H1")]))


def test_positions_are_joined_by_the_largest_score():
    circuit = random_circuit(WIRINGS["gpt2"], positions=(Selection.parse(0), Selection.parse(1)), unscored=0)
    drawn = plan(circuit)
    assert drawn.title.endswith("2 positions joined")
    assert drawn.count[0] == int(circuit.kept.any(-1).sum())
    expected = np.where(circuit.kept, np.nan_to_num(np.abs(circuit.scores)), 0).max(-1)
    sizes = [abs(score) for line in drawn.lines for score in line.scores]
    np.testing.assert_allclose(np.sort(sizes), np.sort(expected[circuit.kept.any(-1)]))


def test_of_a_large_circuit_the_largest_scores_are_drawn():
    circuit = random_circuit(WIRINGS["gpt2"], share=1.0)
    drawn = plan(circuit, most_edges=5)
    assert drawn.count == (len(circuit), 5)
    assert "the 5 with the largest scores are drawn" in drawn.title
    sizes = np.sort(np.abs(circuit.scores[~np.isnan(circuit.scores)]))
    assert max(line.size for line in drawn.lines) == sizes[-1]


def test_variables_stand_at_their_nodes():
    model = mc.load("organism:by_hand")
    circuit = mc.claims.circuit(model, mc.causal.Hypothesis.of("by_hand"))
    names = {str(site): name for site, name in plan(circuit).names.items()}
    assert names == {"L0.z.H0": "gender", "L0.z.H2": "level", "L1.mlp_out": "joint"}
    assert plan(Circuit.of(circuit.wiring, [("embed", "logits")]), circuit).names == plan(circuit).names


def test_the_known_truth_of_an_organism_is_taken_as_it_is():
    model = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", model, n=16)
    known = mc.circuits.truth(model, pairs)
    drawn = plan(mc.discover(model, pairs, edges=8), known)
    assert drawn.counts[FOUND] + drawn.counts[MISSED] == int(known.true_units.sum())
    assert drawn.counts[MISSED] == 0
