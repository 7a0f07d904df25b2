"""The picture of a circuit: one layout for all circuits of a model, and looks that can be told apart."""

import re

import pytest
from random_circuits import WIRINGS, random_circuit

from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.picture import curve, figure, still
from mechcausal.circuits.plan import plan

EDGES = [("embed", "L0.q.H0"), ("L0.z.H0", "L1.mlp_out"), ("L1.mlp_out", "logits")]


def placed(drawn):
    """Return where each named node stands in a picture."""
    shapes = re.findall(r'<g><title>([\w.]+)[^<]*</title><(?:circle cx|rect x)="([\d.]+)" (?:cy|y)="([\d.]+)"', drawn)
    return {name: (float(x), float(y)) for name, x, y in shapes}


def lines(drawn):
    """Return the look of each line by what it is."""
    found = re.findall(
        r'stroke="(#\w+)" stroke-width="([\d.]+)" opacity="([\d.]+)"(?: stroke-dasharray="([\d. ]+)")?><title>([^<]+)',
        drawn,
    )
    return {title: (ink, float(width), dash) for ink, width, _, dash, title in found}


def test_a_node_stands_at_the_same_place_in_every_circuit_of_a_model():
    for kind, wiring in WIRINGS.items():
        first, second = (placed(still(random_circuit(wiring, seed=seed))) for seed in (0, 1))
        both = first.keys() & second.keys()
        assert len(both) > 3, kind
        assert all(first[name] == second[name] for name in both)


def test_width_says_how_much_and_color_and_dash_say_the_sign():
    circuit = Circuit.of(WIRINGS["gpt2"], EDGES)
    for (sender, receiver), score in zip(EDGES, (0.5, -1.0, 0.1), strict=True):
        circuit.scores[circuit.wiring.sender(sender), circuit.wiring.receiver(receiver), 0] = score
    looks = lines(still(circuit))
    strong, weak = looks["L0.z.H0 to L1.mlp_out: -1.0000"], looks["L1.mlp_out to logits: +0.1000"]
    middle = looks["embed to L0.z.H0: q +0.5000"]
    assert strong[1] > middle[1] > weak[1]
    assert strong[2]
    assert not weak[2]
    assert strong[0] != weak[0] == middle[0]


def test_what_is_true_has_three_looks_that_differ_in_dash_and_lightness():
    found = Circuit.of(WIRINGS["gpt2"], [EDGES[0], ("L0.z.H1", "logits")])
    drawn = still(found, Circuit.of(WIRINGS["gpt2"], EDGES))
    looks = lines(drawn)
    chosen = [
        looks["embed to L0.z.H0: q no score (true, found)"],
        looks["L0.z.H0 to L1.mlp_out: no score (true, missed)"],
        looks["L0.z.H1 to logits: no score (found, not true)"],
    ]
    assert len({dash for _, _, dash in chosen}) == 3
    light = [sum(int(ink[i : i + 2], 16) * w for i, w in ((1, 0.299), (3, 0.587), (5, 0.114))) for ink, _, _ in chosen]
    assert light[0] + 40 < light[1] < light[2] - 15
    for entry in ("true, found (1)", "true, missed (2)", "found, not true (1)"):
        assert entry in drawn


def test_letters_stand_on_lines_and_only_on_those_into_heads():
    drawn = still(Circuit.of(WIRINGS["gpt2"], [*EDGES, ("embed", "L0.v.H0")]))
    assert ">qv</text>" in drawn
    assert ">kv</text>" not in drawn


def test_it_needs_no_script_and_says_in_words_what_it_shows():
    drawn = still(random_circuit(WIRINGS["gpt2"]))
    assert "<script" not in drawn
    assert 'role="img"' in drawn
    assert re.search(r'aria-label="circuit of \d+ edges; ', drawn)


@pytest.mark.parametrize("kind", WIRINGS)
def test_lines_rise_from_the_sender_to_the_reader(kind):
    drawn = plan(random_circuit(WIRINGS[kind]))
    for line in drawn.lines:
        (_, start), *_, (_, end) = curve(drawn, line)
        assert start > end or WIRINGS[kind].parallel


def test_the_notebook_shows_the_picture_and_the_summary():
    circuit = random_circuit(WIRINGS["grouped"])
    assert still(circuit) in circuit._repr_html_()
    assert "of 13 senders" in circuit._repr_html_() or "of 15 senders" in circuit._repr_html_()


def test_the_live_picture_carries_the_still_one():
    circuit, truth = random_circuit(WIRINGS["grouped"]), random_circuit(WIRINGS["grouped"], seed=1)
    drawn = circuit.plot(truth)
    assert drawn.still == still(circuit, truth)
    told = [text for trace in drawn.data for text in (trace.text or ()) if trace.mode == "markers"]
    assert len(told) == len(plan(circuit, truth).lines)
    assert len(figure(circuit).data) < 70
    assert [trace.name for trace in drawn.data if trace.name] == [
        f"{fate} ({n})" for fate, n in plan(circuit, truth).counts.items()
    ]


def test_a_circuit_without_edges_is_drawn():
    circuit = Circuit.of(WIRINGS["gpt2"], [])
    assert "circuit of 0 edges" in still(circuit)
    assert circuit.plot() is not None


def test_seven_hundred_edges_are_a_small_file():
    circuit = random_circuit(Wiring(30, 9, 3), share=0.01)
    assert 500 < len(circuit) < 1000
    assert len(still(circuit)) < 400_000
