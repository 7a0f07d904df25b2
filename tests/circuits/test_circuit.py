"""A circuit: which edges it keeps, its table, its graph, and that files give it back."""

import json

import numpy as np
import pytest

from mechcausal.circuits import Circuit
from mechcausal.circuits.circuit import require_wiring
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.errors import MechcausalError, SiteError

WIRING = Wiring(2, 2, 1)


def scored(seed=0):
    draw = np.random.default_rng(seed)
    shape = (*WIRING.possible.shape, 1)
    return Circuit(
        WIRING, np.zeros(shape, bool), draw.normal(size=shape), draw.normal(size=(len(WIRING.senders), 1)),
        about={"method": "eap", "metric": "logit_diff", "ablation": "zero", "n": 3}, spread=draw.uniform(size=shape),
    )  # fmt: skip


def test_printed_edges_make_a_circuit():
    circuit = Circuit.of(WIRING, [("embed", "L0.v.H0"), ("L0.z.H1", "L1.q.H0"), ("L1.z.H0", "logits")])
    assert len(circuit) == 3
    assert next((str(a), str(b)) for a, b in circuit.edges) == ("embed", "L0.v.H0")
    with pytest.raises(SiteError, match="no edge leads from L1"):
        Circuit.of(WIRING, [("L1.z.H0", "L0.q.H0")])


def test_the_largest_scores_are_kept_whatever_their_sign():
    circuit = scored().top(7)
    sizes = np.abs(circuit.scores)
    assert len(circuit) == 7
    assert sizes[circuit.kept].min() >= np.nanmax(np.where(circuit.kept, np.nan, sizes))
    assert np.array_equal(scored().threshold(1.0).kept, np.nan_to_num(sizes) >= 1.0)


def test_no_score_and_no_edge_where_the_model_has_none():
    circuit = scored()
    assert np.isnan(circuit.scores[~WIRING.possible]).all()
    assert len(circuit.keep(np.ones_like(circuit.kept))) == WIRING.count


def test_the_table_lists_edges_by_what_they_matter():
    frame = scored().top(5).frame
    assert list(frame.columns) == ["sender", "receiver", "at", "score", "error", "kept"]
    assert len(frame) == WIRING.count
    assert frame["score"].abs().is_monotonic_decreasing
    assert frame["kept"].tolist() == [True] * 5 + [False] * (WIRING.count - 5)


def test_the_graph_joins_what_a_head_reads_to_the_head():
    circuit = Circuit.of(WIRING, [("embed", "L0.v.H0"), ("L0.z.H1", "L1.q.H0"), ("L1.z.H0", "logits")])
    edges = {(str(a), str(b)) for a, b in circuit.graph.edges}
    assert ("L0.v.H0", "L0.z.H1") in edges  # the value is shared by both heads
    assert ("L1.q.H0", "L1.z.H0") in edges
    assert circuit.graph.connected().edges.keys() == circuit.graph.edges.keys()


def test_files_give_the_circuit_back(tmp_path):
    circuit = scored().top(9)
    path = circuit.save(tmp_path / "c.json")
    assert Circuit.load(path) == circuit
    assert np.array_equal(Circuit.load(path).spread, circuit.spread, equal_nan=True)
    data = json.loads(path.read_text())
    data["scores"][0] = 99.0
    path.write_text(json.dumps(data))
    with pytest.raises(MechcausalError):
        Circuit.load(path)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 1, "kind": "circuit", "wiring": {}}', "{"])
def test_what_is_no_circuit_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(MechcausalError) as refused:
        Circuit.load(path)
    assert len(str(refused.value)) < 400


def test_a_circuit_of_another_model_is_refused():
    with pytest.raises(SiteError, match="of another model"):
        require_wiring(scored(), Wiring(3, 2, 1))
    require_wiring(scored(), WIRING)


def test_the_summary_names_the_edges_that_matter():
    text = scored().top(4).summary()
    assert text.startswith("circuit: 4 of 36 edges (11.1%), ")
    assert "found by eap: metric logit_diff, ablation zero, n 3" in text
