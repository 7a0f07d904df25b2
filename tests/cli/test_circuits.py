"""`mechcausal discover` and `mechcausal circuit`: as Python does it, and every refusal in one sentence."""

import json

import pytest
from commands import refused, run
from random_circuits import WIRINGS, random_circuit
from small_graph import small

import mechcausal as mc
from mechcausal.circuits import Circuit
from mechcausal.results.result import Result

WORDS = ("organism:by_hand", "--contrast", "by_hand/gender", "-n", "16")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("found") / "found.json"
    done = run("discover", *WORDS, "--method", "eap", "--edges", "8", "-o", path, "--json")
    assert done.code == 0, done.error
    return path, done.document


def test_discover_is_the_one_of_python(found, by_hand):
    path, document = found
    expected = mc.discover(by_hand, mc.contrast("by_hand/gender", by_hand, n=16), method="eap", edges=8)
    assert Circuit.load(path) == expected
    assert document["circuit"] == str(path)
    assert (document["edges"], document["of_edges"]) == (8, expected.wiring.count)
    assert document["about"]["method"] == "eap"
    assert [row["sender"] for row in document["rows"]] == expected.frame[expected.frame["kept"]]["sender"].tolist()


def test_discover_prints_the_summary_and_the_cost(tmp_path):
    done = run("discover", *WORDS, "--method", "eap", "--edges", "5", "-o", tmp_path / "c.json")
    assert done.code == 0, done.error
    assert done.output.startswith("circuit: 5 of ")
    assert done.output.endswith(f"circuit  {tmp_path / 'c.json'}\n")
    costs = run("discover", *WORDS, "--dry-run", "--json", "-o", tmp_path / "none.json").document
    assert costs["examples"] == 16
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("discover", "organism:by_hand"), "name the data: give --contrast NAME or --pairs FILE"),
        (("discover", *WORDS, "-o", "c.parquet"), "ends in .json"),
        (("discover", *WORDS, "--method", "eapig"), "eap-ig"),
        (("discover", *WORDS, "--search", "best"), "greedy"),
        (("circuit", "show", "none.json"), "there is no file none.json"),
        (("circuit", "convert", "none.json", "out.json"), "there is no file none.json"),
        (("circuit", "compare", "none.json"), "nothing to be compared with"),
        (("circuit", "compare", "none.json", "none.json"), "not compared with itself"),
        (("circuit", "evaluate", "none.json"), "name the data"),
        (("circuit", "certify", "none.json"), "name the data"),
        (("circuit", "rediscover", "none.json"), "name the data"),
        (("circuit", "certify", "none.json", "--contrast", "ioi", "-o", "c.json"), "ends in .parquet"),
        (("circuit", "rediscover", "none.json", "--contrast", "ioi", "--mark", "c.csv"), "--mark cannot be c.csv"),
        (("circuit", "evaluate", "none.json", "--contrast", "by_hand/gender"), "there is no file none.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*words)


def test_show_draws_a_picture(found, tmp_path):
    path, _ = found
    done = run("circuit", "show", path, "-o", tmp_path / "c.svg", "--k", "2")
    assert done.code == 0, done.error
    assert done.output.count(" -> ") == 2
    assert (tmp_path / "c.svg").read_text().startswith("<svg")
    done = run("circuit", "show", path, "-o", tmp_path / "c.html", "--truth", path, "--json")
    assert done.document["picture"] == str(tmp_path / "c.html")
    assert "true, found (" in (tmp_path / "c.html").read_text()
    assert "ends in .svg or .html" in refused("circuit", "show", path, "-o", tmp_path / "c.png")


def test_convert_there_and_back(found, tmp_path):
    path, _ = found
    theirs, back = tmp_path / "theirs.json", tmp_path / "back.json"
    assert run("circuit", "convert", path, theirs, "--format", "eap-ig", "--d-model", "64").code == 0
    assert "input->a0.h0<v>" in json.loads(theirs.read_text())["edges"]
    assert run("circuit", "convert", theirs, back, "--json").document == {"circuit": str(back)}
    assert Circuit.load(back) == Circuit.load(path)
    assert run("circuit", "convert", path, tmp_path / "c.graphml").code == 0
    assert mc.circuits.read(tmp_path / "c.graphml") == Circuit.load(path)
    assert "did you mean 'eap-ig'" in refused("circuit", "convert", path, theirs, "--format", "eapig")
    assert "score_of" in refused("circuit", "convert", theirs, back, "--score-of", "gradient")


def test_a_graph_of_features_is_converted_but_not_shown(tmp_path):
    path = small().save(tmp_path / "graph.json")
    assert run("circuit", "convert", path, tmp_path / "graph.graphml").code == 0
    assert "is a graph of places" in refused("circuit", "show", path)


def test_compare_says_what_is_shared(found, tmp_path):
    path, _ = found
    other = Circuit.load(path).top(5).save(tmp_path / "other.json")
    (row,) = run("circuit", "compare", path, other, "--json").document
    assert row["rank"] == pytest.approx(1)
    assert 0 < row["shared"] <= 5
    assert "edges_by_chance" in run("circuit", "compare", path, other).output
    strange = random_circuit(WIRINGS["gpt2"]).save(tmp_path / "strange.json")
    assert "of another model" in refused("circuit", "compare", path, strange)


def test_the_model_is_named_in_the_file_or_by_an_option(tmp_path):
    circuit = Circuit.of(WIRINGS["gpt2"], [("embed", "logits")])
    path = circuit.save(tmp_path / "c.json")
    said = refused("circuit", "evaluate", path, "--contrast", "by_hand/gender")
    assert "does not say which model the circuit is of: give --model NAME" in said


def test_evaluate_takes_the_model_from_the_file(found, tmp_path):
    path, _ = found
    words = ("circuit", "evaluate", path, "--contrast", "by_hand/gender", "-n", "16", "--seed", "1", "--random", "1")
    assert "too few pairs are left to judge the circuit" in refused(*words, "-o", tmp_path / "e.parquet")
    done = run(*words, "--shared", "--minimality", "0", "-o", tmp_path / "e.parquet", "--json")
    assert done.code == 0, done.error
    assert done.document["rows"][0]["effect"] > 0.5
    assert run(*words, "--shared", "--dry-run", "--json").document["cells"] > 1


def test_certify_is_the_one_of_python_and_marks_the_circuit(found, by_hand, tmp_path):
    path, _ = found
    words = ("circuit", "certify", path, "--contrast", "by_hand/gender", "-n", "16", "--k", "3", "--sample", "0")
    assert "too few pairs are left to certify the circuit" in refused(*words, "-o", tmp_path / "c.parquet")
    rest = ("--shared", "--redrawn", "8", "-o", tmp_path / "c.parquet", "--mark", tmp_path / "marked.json")
    done = run(*words, *rest)
    assert done.code == 0, done.error
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    expected = Circuit.load(path).certify(by_hand, pairs, k=3, sample=0, redrawn=8, shared=True)
    assert done.output.startswith(expected.summary())
    assert "circuit  " in done.output
    assert "certified" in Circuit.load(tmp_path / "marked.json").about
    assert Result.load(tmp_path / "c.parquet").frame["exact"].tolist() == expected.frame["exact"].tolist()
    assert run(*words, "--shared", "--dry-run", "--json").document["cells"] == 3


def test_rediscover_is_the_one_of_python_and_marks_the_circuit(tmp_path):
    model = mc.load("organism:fraction_linear")
    pairs = mc.contrast("fraction/letters", model, n=24)
    circuit = mc.discover(model, pairs, method="eap", edges=3)
    path = circuit.save(tmp_path / "c.json")
    words = ("circuit", "rediscover", path, "--model", "organism:fraction_linear", "--contrast", "fraction/letters")
    words = (*words, "-n", "24", "--splits", "2", "--methods", "exact,eap-ig", "--rival", "none")
    done = run(*words, "-o", tmp_path / "u.parquet", "--mark", tmp_path / "marked.json", "--json")
    assert done.code == 0, done.error
    expected = circuit.rediscover(model, pairs, splits=2, methods=["exact", "eap-ig"], rival=None)
    assert [row["role"] for row in done.document["rows"]] == expected.frame["role"].tolist()
    assert Circuit.load(tmp_path / "marked.json").about["unique"]["sentence"] == expected.sentence
    assert "rival" in refused(*words[:-1], "best")
    assert run(*words, "--dry-run", "--json").document["forwards"] > 0


def test_a_dry_run_of_an_evaluation_says_how_long_it_takes(found):
    path, _ = found
    words = ("circuit", "evaluate", path, "--contrast", "by_hand/gender", "-n", "16", "--shared", "--dry-run")
    assert "seconds on this machine" in run(*words).output
    assert run(*words, "--json").document["seconds"] > 0
