"""What the fields of a step mean, and which methods a run can keep."""

import pytest
from runs.trials import HEADS, experiment, step

import mechcausal as mc
from mechcausal.errors import ArgumentError
from mechcausal.runs.config import ExperimentError
from mechcausal.runs.fields import chooses, made, method_of, read_claims, role, takes_seed


def test_a_method_is_found_by_its_word():
    assert method_of("patch") is mc.methods.Patching
    with pytest.raises(ArgumentError, match="did you mean 'patch'"):
        method_of("ptach")
    with pytest.raises(ArgumentError, match="cannot be kept in a run"):
        method_of("erase")


@pytest.mark.parametrize(
    ("word", "name", "what"),
    [
        ("patch", "sites", "plain"),
        ("patch", "source_model", "model"),
        ("ablate", "reference", "data"),
        ("scrub", "hypothesis", "claims"),
        ("das", "hypothesis", "claims"),
        ("link", "neutral", "data"),
    ],
)
def test_what_a_field_holds(word, name, what):
    assert role(word, name) == what


def test_seeds():
    assert takes_seed("ablate")
    assert not takes_seed("patch")


def test_names_of_data_and_models_become_what_they_name():
    pairs = type("Pairs", (), {"hash": "abc"})()
    found = made(
        "patch", {"sites": ["z"], "source_model": "twin"}, None, data=lambda name: pairs, model=lambda name: (None, {"weights": name}), earlier=None
    )  # fmt: skip
    assert found.spec == mc.methods.Patching(sites=("z",))
    assert found.written == {"run": "patch", "sites": ["z"], "source_model": {"weights": "twin"}}


def test_hypotheses_are_read_from_files(tmp_path):
    (tmp_path / "claims.toml").write_text('task = "hiring"\n')
    assert read_claims("claims.toml", tmp_path) == {"task": "hiring"}
    assert read_claims("hiring", tmp_path) == "hiring"
    with pytest.raises(ExperimentError, match="there is no file"):
        experiment(step("scrubbed", "scrub", hypothesis="none.toml"), folder=tmp_path)


def test_a_hypothesis_may_be_that_of_an_organism(tmp_path):
    run = experiment(
        step("scrubbed", "scrub", "prompts", hypothesis="hiring", controls=False, report=False, lonely="keep", seeds=1),
        data={"prompts": {"task": "hiring", "n": 40}},
    ).run(tmp_path / "r", quiet=True)
    assert run.complete
    with pytest.raises(ExperimentError, match="hirring"):
        experiment(step("scrubbed", "scrub", hypothesis="hirring"))


def test_files_outside_are_named_by_their_whole_path(tmp_path):
    (tmp_path / "claims.toml").write_text('task = "hiring"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(ExperimentError, match="leads out of the experiment's folder"):
        experiment(step("scrubbed", "scrub", "gender", hypothesis="../claims.toml"), folder=inner)
    with pytest.raises(ExperimentError, match="leads out of the experiment's folder"):
        experiment({"id": "audited", "run": "audit", "plan": "../audit.toml"}, folder=inner)
    assert read_claims(str(tmp_path / "claims.toml"), inner) == {"task": "hiring"}


def test_a_reference_chooses_sites_or_stands_for_the_result():
    assert chooses({"from": "heads", "top": 2})
    assert not chooses({"from": "found"})


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"top": 0}, "at least 1"),
        ({"sign": "up", "top": 1}, "sign is"),
        ({"where": 3}, "where is a table"),
        ({"tpo": 1}, "did you mean 'top'"),
    ],
)
def test_a_wrong_reference_is_refused(reference, said):
    with pytest.raises(ExperimentError, match=said):
        experiment(HEADS, step("two", "patch", sites={"from": "heads", **reference}))


def test_files_are_the_matter_of_the_run():
    with pytest.raises(ExperimentError, match="keeps its files itself"):
        experiment(step("trained", "train_dictionary", site="L2.resid_post", width=64, out="here"))


def test_an_audit_needs_a_plan_that_can_be_read(tmp_path):
    with pytest.raises(ExperimentError, match="needs a plan"):
        experiment({"id": "audited", "run": "audit"})
    (tmp_path / "audit.toml").write_text('[[question]]\nask = "flips"\ndata = "none"\nat_mots = 3\n')
    with pytest.raises(ExperimentError, match="at_most"):
        experiment({"id": "audited", "run": "audit", "plan": "audit.toml"}, folder=tmp_path)
