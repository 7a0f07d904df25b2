"""Attribution graphs: what circuit-tracer's viewer reads of ours, and what can be read of theirs."""

import json
import math

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.circuits import Graph
from mechcausal.circuits.formats.attribution_graph import from_attribution_graph, to_attribution_graph
from mechcausal.errors import MechcausalError, ResultError

NODES = {
    "embed@3": math.nan, "L0.mlp_out.sae:one.F3@3": 0.5, "L0.mlp_out.sae:one.error@3": -0.1, "L2.mlp_out.sae:two.F3@4": -0.4,
    "logits@4": math.nan,
}  # fmt: skip
EDGES = {
    ("embed@3", "L0.mlp_out.sae:one.F3@3"): 0.2,
    ("L0.mlp_out.sae:one.F3@3", "L2.mlp_out.sae:two.F3@4"): -0.3,
    ("L0.mlp_out.sae:one.error@3", "L2.mlp_out.sae:two.F3@4"): math.nan,
    ("L2.mlp_out.sae:two.F3@4", "logits@4"): 0.4,
}
# The fields of their viewer's models, and the types they have there.
METADATA = {
    "slug": str,
    "scan": str,
    "transcoder_list": list,
    "prompt_tokens": list,
    "prompt": str,
    "schema_version": int,
}
ASKED = {"pinnedIds": list, "supernodes": list, "linkType": str, "clickedId": str, "sg_pos": str}
NODE = {"node_id": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str, "token_prob": float,
        "is_target_logit": bool, "run_idx": int, "reverse_ctx_idx": int, "jsNodeId": str, "clerp": str}  # fmt: skip


@pytest.fixture
def graph():
    return Graph.of(NODES, EDGES, {"metric": "logit_diff", "model": "tiny"})


def theirs():
    """Return a graph of one prompt as circuit-tracer writes it: two features, an error, a token and two logits."""
    common = {
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "clerp": "",
        "activation": None,
    }
    rows = [
        {"node_id": "E_17_0", "feature": 0, "layer": "E", "ctx_idx": 0, "feature_type": "embedding", "influence": 0.95},
        {"node_id": "0_41_0", "feature": 902, "layer": "0", "ctx_idx": 0, "feature_type": "cross layer transcoder",
         "influence": 0.6, "activation": 2.5},
        {"node_id": "1_5_1", "feature": 26, "layer": "1", "ctx_idx": 1, "feature_type": "cross layer transcoder",
         "influence": 0.9},
        {"node_id": "1_-1_1", "feature": -1, "layer": "1", "ctx_idx": 1, "feature_type": "mlp reconstruction error",
         "influence": 0.97},
        {"node_id": "3_7_1", "feature": 7, "layer": "3", "ctx_idx": 1, "feature_type": "logit", "token_prob": 0.2,
         "influence": None},
        {"node_id": "3_8_1", "feature": 8, "layer": "3", "ctx_idx": 1, "feature_type": "logit", "token_prob": 0.6,
         "is_target_logit": True, "influence": None},
    ]  # fmt: skip
    links = [
        {"source": "E_17_0", "target": "0_41_0", "weight": 1.5}, {"source": "0_41_0", "target": "1_5_1", "weight": -2.0},
        {"source": "1_5_1", "target": "3_8_1", "weight": 3.0}, {"source": "1_5_1", "target": "3_7_1", "weight": 1.0},
        {"source": "1_-1_1", "target": "3_8_1", "weight": 0.5},
    ]  # fmt: skip
    metadata = {
        "slug": "dallas", "scan": "org/clt-426k", "transcoder_list": [], "prompt_tokens": ["<bos>", " Dallas"],
        "prompt": "<bos> Dallas", "node_threshold": 0.8, "schema_version": 1,
    }  # fmt: skip
    asked = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": asked, "nodes": [common | row for row in rows], "links": links}


def test_their_viewer_finds_all_fields_with_their_types(graph):
    data = json.loads(json.dumps(to_attribution_graph(graph)))
    for name, kind in METADATA.items():
        assert type(data["metadata"][name]) is kind, name
    for name, kind in ASKED.items():
        assert type(data["qParams"][name]) is kind, name
    for row in data["nodes"]:
        assert {name: type(row[name]) for name in NODE} == NODE
        assert 0 <= row["ctx_idx"] < len(data["metadata"]["prompt_tokens"])
    ids = [row["node_id"] for row in data["nodes"]]
    assert len(set(ids)) == len(ids)
    assert all(
        link["source"] in ids and link["target"] in ids and type(link["weight"]) is float for link in data["links"]
    )


def test_a_feature_goes_by_layer_number_and_token(graph):
    rows = {row["clerp"]: row for row in to_attribution_graph(graph, tokens=list("abcde"))["nodes"]}
    row = rows["L2.mlp_out.sae:two.F3@4"]
    assert (row["node_id"], row["layer"], row["ctx_idx"]) == ("2_3_4", "2", 4)
    assert row["feature"] == (2 + 3) * (2 + 3 + 1) // 2 + 3
    assert rows["L0.mlp_out.sae:one.error@3"]["node_id"] == "0_-1_3"
    assert rows["logit_diff"]["layer"] == "4"


def test_influence_is_cumulative(graph):
    rows = {row["clerp"]: row["influence"] for row in to_attribution_graph(graph)["nodes"]}
    assert rows["L0.mlp_out.sae:one.F3@3"] == pytest.approx(0.5)
    assert rows["L2.mlp_out.sae:two.F3@4"] == pytest.approx(0.9)
    assert rows["L0.mlp_out.sae:one.error@3"] == pytest.approx(1.0)
    assert rows["embed@3"] is None


def test_there_and_back_is_equal(graph, tmp_path):
    for options in ({}, {"tokens": list("abcde"), "slug": "mine", "scan": "tiny-2"}):
        path = graph.write(tmp_path / "graph.json", format="attribution-graph", **options)
        assert mc.circuits.read(path) == graph


def test_positions_stand_for_tokens_where_there_are_none():
    graph = Graph.of({"L0.mlp_out.sae:one.F3@subject": 1.0, "L1.mlp_out.sae:one.F3@-1": 1.0, "logits": math.nan})
    data = to_attribution_graph(graph)
    assert data["metadata"]["prompt_tokens"] == ["@subject", "@-1"]
    assert [row["ctx_idx"] for row in data["nodes"]] == [0, 1, 1]
    assert to_attribution_graph(Graph.of(["logits"]))["metadata"]["prompt_tokens"] == ["@all"]
    with pytest.raises(ResultError, match="@subject is not one of the 2 tokens"):
        to_attribution_graph(graph, tokens=["a", "b"])


def test_what_has_no_place_there_is_refused():
    with pytest.raises(ResultError, match=r"L1\.z\.H0 has no place in an attribution graph.*eap-ig"):
        to_attribution_graph(Graph.of(["L1.z.H0"]))
    with pytest.raises(ResultError, match="have the same id"):
        to_attribution_graph(Graph.of(["L1.z.sae:one.F3", "L1.mlp_out.sae:two.F3"]))


def test_a_file_of_theirs(tmp_path):
    path = tmp_path / "dallas.json"
    path.write_text(json.dumps(theirs()))
    graph = mc.circuits.read(path)
    nodes = {str(node): score for node, score in graph.nodes.items()}
    feature, later = "L0.mlp_out.sae:org-clt-426k.F41@0", "L1.mlp_out.sae:org-clt-426k.F5@1"
    error = "L1.mlp_out.sae:org-clt-426k.error@1"
    assert nodes.keys() == {"embed@0", feature, later, error, "logits@1"}
    np.testing.assert_allclose([nodes[feature], nodes[later], nodes["embed@0"], nodes[error]], [0.6, 0.3, 0.05, 0.02])
    assert math.isnan(nodes["logits@1"])
    edges = {(str(a), str(b)): weight for (a, b), weight in graph.edges.items()}
    assert edges == {
        ("embed@0", feature): 1.5,
        (feature, later): -2.0,
        (later, "logits@1"): 3.0,
        (error, "logits@1"): 0.5,
    }
    assert graph.about["logits_left_out"] == 1
    assert graph.about["slug"] == "dallas"
    again = from_attribution_graph(to_attribution_graph(graph, tokens=["<bos>", " Dallas"]))
    assert again == graph


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(metadata=3), "metadata is not a JSON object"),
        (lambda d: d.update(nodes={}), "nodes is not a JSON list"),
        (lambda d: d["nodes"].append(7), "a node of this graph is not a JSON object"),
        (lambda d: d["nodes"][1].pop("node_id"), "has no node_id"),
        (lambda d: d["nodes"][1].update(node_id="x" * 999), "is not the id of a feature"),
        (lambda d: d["nodes"][1].update(node_id="99999999999999_1_1"), "is not the id of a feature"),
        (lambda d: d["nodes"][1].update(feature_type="neuron"), "is of another kind"),
        (lambda d: d["nodes"][1].update(ctx_idx="0"), "ctx_idx of the node 0_41_0 is not a position"),
        (lambda d: d["nodes"][1].update(influence="much"), "an influence is not a number"),
        (lambda d: d["nodes"][1].update(place="L0.nonsense"), "there is no component"),
        (
            lambda d: d["nodes"].append({**d["nodes"][1], "node_id": "0_41_9"}),
            "two nodes of this graph stand for the same",
        ),
        (lambda d: d["links"].append({"source": "0_41_0"}), "has no source or no target"),
        (lambda d: d["links"].append({"source": "0_41_0", "target": "9_9_9", "weight": 1}), "that this graph has not"),
        (lambda d: d["links"][0].update(weight=[]), "the weight of a link is not a number"),
        (lambda d: d["links"].append({"source": "1_5_1", "target": "0_41_0", "weight": 1}), "no edge leads from"),
    ],
    ids=range(15),
)
def test_what_is_wrong_is_said_in_one_sentence(change, said):
    data = theirs()
    change(data)
    with pytest.raises(MechcausalError, match=said) as caught:
        from_attribution_graph(data)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_graph_of_hundreds_of_thousands_of_links_takes_seconds():
    data = theirs()
    data["nodes"] += [{**data["nodes"][1], "node_id": f"0_{n}_0"} for n in range(100, 1100)]
    data["links"] += [{"source": f"0_{n}_0", "target": "3_7_1", "weight": 1.0} for n in range(100, 1100)] * 100
    assert len(from_attribution_graph(data).nodes) == 1005
