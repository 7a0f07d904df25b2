"""Experiments as files: what is right is read back equal, and everything that is wrong is said at once."""

import pytest
from runs.trials import GENDER, HEADS, experiment, step

from mechcausal.runs.config import ExperimentError, read

GOOD = """
name = "heads"
question = "Which heads?"
model = "organism:hiring"
seeds = [0, 1]
[data.gender]
contrast = "hiring/gender"
n = 8
[[step]]
id = "heads"
run = "patch"
data = "gender"
sites = "z"
each = {metric = ["logit_diff", "prob"]}
"""


def problems(*steps, **more):
    with pytest.raises(ExperimentError) as caught:
        experiment(*steps, **more)
    return list(caught.value.problems)


def test_a_file_is_read_and_written_back_equal(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(GOOD)
    config = read(path)
    assert config.step("heads").fields == {"sites": "z"}
    assert list(config.step("heads").combinations()) == [{"metric": "logit_diff"}, {"metric": "prob"}]
    path.write_text(config.to_toml())
    assert read(path) == config


def test_values_are_set_by_their_path(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(GOOD)
    sets = {
        "data.gender.n": 4,
        "model": "organism:by_hand",
        "step.heads.sites": "mlp_out",
        "seeds": [3],
        "models.twin": "organism:hiring",
    }
    with pytest.raises(ExperimentError, match="both model and"):
        read(path, sets)
    config = read(path, {key: value for key, value in sets.items() if key != "models.twin"})
    assert config.data["gender"]["n"] == 4
    assert config.models["organism:by_hand"].load == "organism:by_hand"
    assert config.step("heads").fields["sites"] == "mlp_out"
    assert config.seeds == (3,)


def test_a_set_that_leads_nowhere_is_refused(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(GOOD)
    with pytest.raises(ExperimentError) as caught:
        read(path, {"step.haeds.sites": "z", "daat.gender.n": 3, "name.first": "a"})
    text = " ".join(caught.value.problems)
    assert "did you mean 'heads'?" in text
    assert "did you mean 'data'?" in text
    assert "name holds no 'first'" in text


def test_everything_wrong_is_said_at_once():
    found = problems(
        step("a", "pacth", sites="z"),
        step("a", "patch", data="gendre", site="z"),
        step("b/..", "patch", sites="z", batch_size=0),
        step("c", "patch", sites="z", each={"metric": []}, models=["other"]),
        step("d", "evaluate_circuit", circuit={"from": "found", "topp": 3}),
        step("e", "patch", sites="z", metric="probb"),
        seeds=[-1],
        blok=3,
        data={"gender": {"contrast": "hiring/gender", "m": 3}, "file": {"pairs": "../outside.csv"}},
    )
    text = "\n".join(found)
    for part in (
        "did you mean 'patch'?",
        "two steps are called 'a'",
        "did you mean 'gender'?",
        "did you mean 'sites'?",
        "cannot be an id",
        "batch_size",
        "each.metric needs a list with at least one value",
        "there is no model 'other'",
        "there is no earlier step 'found'",
        "did you mean 'top'?",
        "did you mean 'prob'?",
        "seeds.0",
        "did you mean 'block'?",
        "takes no argument 'm'",
        "leads out of the experiment's folder",
    ):
        assert part in text, part
    assert all(len(line) < 400 for line in found)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": None}, "a model is a name or a table"),
        ({"step": []}, r"it has no \[\[step\]\]"),
        ({"data": 3}, r"\[data.NAME\]"),
        ({"name": 3}, "name: input should be a valid string"),
        ({"block": "many"}, "block: input should be a valid integer"),
        ({"model": {"load": "x", "dtyp": "float32"}}, "did you mean 'dtype'"),
        ({"step": [3]}, "a step is a table"),
    ],
)
def test_what_is_no_experiment_is_refused(content, said):
    with pytest.raises(ExperimentError, match=said):
        experiment(**content)


def test_a_file_that_is_not_there_or_no_toml(tmp_path):
    with pytest.raises(ExperimentError, match="there is no file"):
        read(tmp_path / "none.toml")
    with pytest.raises(ExperimentError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ExperimentError, match="not TOML"):
        read(tmp_path / "bad.toml")


def test_a_step_knows_the_steps_that_it_takes():
    made = experiment(
        HEADS,
        step("two", "patch", sites={"from": "heads", "top": 2}),
        step("link", "link", what=[{"from": "two"}], probes="gender"),
    )
    assert [each.earlier for each in made.config.steps] == [(), ("heads",), ("two",)]
    assert made.config.data["gender"] == GENDER


def test_a_number_of_seeds_is_the_method_s_and_a_list_the_step_s():
    scrubbed = step("scrubbed", "scrub", hypothesis="hiring", seeds=2)
    made = experiment(scrubbed, {**scrubbed, "id": "again", "seeds": [3, 4]}).config
    assert (made.steps[0].seeds, made.steps[0].fields["seeds"]) == (None, 2)
    assert made.steps[1].seeds == (3, 4)
    assert "seeds" not in made.steps[1].fields
