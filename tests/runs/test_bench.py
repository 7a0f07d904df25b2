"""Models and data are read once, and a step sees the dictionaries it names and no others."""

import pytest
from runs.trials import experiment

from mechcausal.models.binding import attached
from mechcausal.models.bridge import transformer_lens_version
from mechcausal.runs.bench import Bench

LOADED = {
    "a": {"load": "organism:hiring"},
    "b": {"load": "organism:by_hand"},
    "c": {"load": "organism:hiring", "dtype": "float64"},
}


@pytest.fixture
def bench(tmp_path):
    made = experiment()
    tables = experiment(model={"load": "organism:hiring"}).config.models["model"]
    models = {name: tables.model_copy(update=table) for name, table in LOADED.items()}
    return Bench(tmp_path, made.config.model_copy(update={"models": models, "seeds": (0, 1)}), tmp_path, None)


def test_models_and_data_are_read_once(bench):
    assert bench.model("a") is bench.model("a")
    pairs = bench.data("a", "gender", 0)
    assert bench.data("a", "gender", 0) is pairs
    assert bench.data("a", "gender", 1).hash != pairs.hash
    assert bench.data("a", "others", 0) is bench.data("a", "others", 1)  # it has a seed of its own


def test_prompts_have_digests_of_their_own(bench):
    pairs = bench.data("a", "gender", 0)
    digests = bench.digests("a", "gender", 0)
    assert digests == tuple(pairs.take([row]).hash for row in range(20))
    assert len(set(digests)) == 20
    assert bench.digests("a", "gender", 1) != digests


def test_two_models_stay_loaded(bench):
    first = bench.model("a")
    bench.model("c")
    bench.model("b")
    assert bench.model("a") is not first


def test_numbers_depend_on_weights_and_precision(bench):
    a, c = bench.facts("a"), bench.facts("c")
    assert a["device"] == "cpu"
    assert (a["dtype"], c["dtype"]) == ("float32", "float64")
    assert a == bench.facts("a")


@pytest.mark.skipif(not transformer_lens_version().startswith("3."), reason="sae-lens trains beside 3 only")
def test_a_trained_dictionary_is_attached_where_it_is_named(tmp_path):
    trained = {
        "id": "trained",
        "run": "train_dictionary",
        "data": "prompts",
        "site": "L2.resid_post",
        "width": 64,
        "tokens": 4000,
    }
    sites = {"run": "patch", "data": "gender", "sites": "L2.resid_post.sae:trained.F*"}
    made = experiment(
        trained, {"id": "features", **sites, "dictionaries": ["trained"]}, {"id": "heads", "run": "patch", "data": "gender", "sites": "z"},
        data={"gender": {"contrast": "hiring/gender", "n": 6}, "prompts": {"task": "hiring", "n": 64}},
    )  # fmt: skip
    run = made.run(tmp_path / "r", quiet=True)
    assert run.complete
    assert len(run.result("features").frame) == 64
    bench = Bench(run.folder, made.config, made.folder, None)
    bench.attach("organism:hiring", "trained", 0)
    bound = attached(bench.model("organism:hiring"))["trained"]
    assert bench.facts("organism:hiring")["dictionaries"] == {"trained": bound.digest}
    bench.detached("organism:hiring", {})
    assert not attached(bench.model("organism:hiring"))
