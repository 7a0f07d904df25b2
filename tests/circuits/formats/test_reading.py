"""One way to read and one to write: which format a file has, and what is none."""

import json

import pytest
from random_circuits import WIRINGS, random_circuit
from small_graph import small

import mechcausal as mc
from mechcausal.circuits.formats.reading import FORMATS, read, write
from mechcausal.errors import ArgumentError, MechcausalError


def test_the_content_says_which_format_it_is(tmp_path):
    circuit, graph = random_circuit(WIRINGS["gpt2"]), small()
    for format in ("mechcausal", "eap-ig", "graphml"):
        assert read(write(circuit, tmp_path / "circuit.json", format=format)) == circuit
    for format in ("mechcausal", "graphml"):
        assert read(write(graph, tmp_path / "graph.json", format=format)) == graph
    assert set(FORMATS) == {"mechcausal", "eap-ig", "graphml", "attribution-graph"}


def test_the_ending_says_how_to_write(tmp_path):
    circuit = random_circuit(WIRINGS["gpt2"])
    assert circuit.write(tmp_path / "a.graphml").read_text().startswith("<?xml")
    assert json.loads(circuit.write(tmp_path / "a.json").read_text())["kind"] == "circuit"


def test_what_a_format_cannot_hold(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be written as an EAP-IG graph"):
        small().write(tmp_path / "a.json", format="eap-ig")
    with pytest.raises(ArgumentError, match="cannot be written as an attribution graph"):
        random_circuit(WIRINGS["gpt2"]).write(tmp_path / "a.json", format="attribution-graph")
    with pytest.raises(ArgumentError, match="did you mean 'eap-ig'"):
        random_circuit(WIRINGS["gpt2"]).write(tmp_path / "a.json", format="eapig")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"   \n", b"\xff\xfe\x00", b"{", b"[]", b"null", b"7", b"[" * 100_000, b'{"a":' * 50_000, b"{}",
        b'{"kind": "circuit"}', b'{"kind": "circuit", "format": 1}', b'{"cfg": {}, "nodes": {}, "edges": {}}',
        b'{"metadata": {}, "nodes": [], "links": 3}', b'{"format": 1, "nodes": 3, "edges": []}',
        b'{"format": 1, "nodes": [3], "edges": []}', b'{"n": ' + b"9" * 5000 + b"}", b"<html></html>", b"PK\x03\x04\x00",
        b'{"kind": "circuit", "format": 1, "wiring": {"n_layers": 9999999999, "n_heads": 1, "n_kv_heads": 1}}',
        b'{"kind": "circuit", "format": 1, "wiring": [], "checksum": "x"}',
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_circuit_is_refused_in_one_sentence(content, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(MechcausalError) as caught:
        mc.circuits.read(path)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("format", ["mechcausal", "eap-ig", "graphml"])
def test_a_truncated_file(format, share, tmp_path):
    path = random_circuit(WIRINGS["grouped"]).write(tmp_path / "circuit.json", format=format)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MechcausalError) as caught:
        mc.circuits.read(path)
    assert len(str(caught.value)) < 400


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MechcausalError, match="there is no file"):
        mc.circuits.read(tmp_path / "none.json")
    with pytest.raises(MechcausalError, match="there is no file"):
        mc.circuits.read(tmp_path)
