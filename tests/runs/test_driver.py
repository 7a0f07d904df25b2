"""Running again computes what is new, and nothing else."""

import json

import numpy as np
import pytest
from runs.trials import GENDER, HEADS, experiment, step

import mechcausal as mc
from mechcausal.errors import ResultError
from mechcausal.runs.config import ExperimentError
from mechcausal.runs.driver import Tally

ROWS = 16 * 20


def computed(run):
    """Return how many rows were computed, in this run and those before."""
    return int(run.seconds()["rows"].sum())


def test_running_again_computes_nothing(tmp_path):
    first = experiment().run(tmp_path / "r", quiet=True)
    table = first.table()
    again = experiment().run(tmp_path / "r", quiet=True)
    assert computed(again) == ROWS
    assert "320 rows, 0 to do" in (tmp_path / "r" / "run.log").read_text()
    np.testing.assert_array_equal(again.table()["value"], table["value"])


def same_values(before, after):
    """Say whether rows of before stand in a later table, to the last bit."""
    names = {"a": "organism:hiring"}
    joined = before.merge(
        after.assign(model=after["model"].replace(names)), on=["model", "site", "at", "prompt"], suffixes=("", "_after")
    )
    return len(joined) == len(before) and bool((joined["value"] == joined["value_after"]).all())


@pytest.fixture
def pairs(tmp_path, hiring):
    path = tmp_path / "pairs.jsonl"
    mc.contrast("hiring/gender", hiring, n=26).write(path)
    return {"gender": {"pairs": str(path), "n": 20}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "new"),
    [
        ({"data.gender.n": 26}, 16 * 6),
        ({"step.heads.sites": ["z", "mlp_out"]}, 4 * 8 * 20),
        ({"step.heads.each": {"metric": ["logit_diff", "prob"]}}, ROWS),
    ],
    ids=["prompts", "sites", "metrics"],
)
def test_what_is_added_is_all_that_is_computed(tmp_path, pairs, sets, new):
    before = experiment(data=pairs).run(tmp_path / "r", quiet=True).table()
    run = experiment(data=pairs, sets=sets).run(tmp_path / "r", quiet=True)
    assert computed(run) == ROWS + new
    assert run.complete
    after = run.table()
    assert same_values(before, after[after["metric"] == "logit_diff"] if "metric" in after else after)


@pytest.mark.slow
def test_a_model_that_is_added_is_all_that_is_computed(tmp_path):
    before = experiment().run(tmp_path / "r", quiet=True).table()
    content = {
        "name": "trial", "models": {"a": "organism:hiring", "b": {"load": "organism:hiring", "dtype": "float64"}},
        "data": {"gender": GENDER}, "step": [HEADS], "block": 8, "cells": 6,
    }  # fmt: skip
    run = mc.Experiment.of(content).run(tmp_path / "r", quiet=True)
    assert computed(run) == 2 * ROWS
    assert same_values(before, run.table())
    narrow, wide = (run.result("heads", model=name).examples for name in "ab")
    np.testing.assert_allclose(narrow, wide, atol=1e-4)


def test_seeds_draw_data_and_methods_anew(tmp_path):
    drawn = step("drawn", "ablate", sites="mlp_out", do="resample")
    run = experiment(drawn, seeds=[0, 1]).run(tmp_path / "r", quiet=True)
    assert [labels["seed"] for labels, _ in run.results("drawn")] == [0, 1]
    a, b = (result for _, result in run.results("drawn"))
    assert a.provenance.prompts["hash"] != b.provenance.prompts["hash"]
    assert len(experiment({**drawn, "seeds": [1]}, seeds=[0, 1]).run(tmp_path / "s", quiet=True).results("drawn")) == 1
    wider = experiment(drawn, seeds=[0, 1, 2]).run(tmp_path / "r", quiet=True)
    assert computed(wider) == 3 * 4 * 20


def test_renaming_computes_nothing(tmp_path):
    experiment().run(tmp_path / "r", quiet=True)
    run = experiment(
        {**HEADS, "id": "which_heads", "data": "pairs"}, data={"pairs": {"contrast": "hiring/gender", "n": 20}}
    ).run(tmp_path / "r", quiet=True)
    assert computed(run) == ROWS
    assert run.complete


def test_everything_wrong_with_models_data_and_sites_is_said_before_compute(tmp_path):
    made = mc.Experiment.of(
        {
            "name": "trial",
            "models": {"good": "organism:hiring", "bad": "organism:hirring"},
            "data": {"gender": {"contrast": "hiring/gender", "n": 4}, "absent": {"contrast": "hiring/gendre"}},
            "step": [
                step("neurons", "patch", sites="L9.mlp_post.N3"),
                step("heads", "patch", sites="z", at="@nowhere"),
                step("gone", "patch", "absent", sites="z"),
                step("later", "patch", "absent", sites={"from": "heads", "top": 1}),
            ],
        }
    )
    with pytest.raises(ExperimentError) as caught:
        made.run(tmp_path / "r", quiet=True)
    text = "\n".join(caught.value.problems)
    for part in ("did you mean 'hiring'", "L9", "no position called 'nowhere'", "did you mean 'gender'"):
        assert part in text, part
    assert not list((tmp_path / "r" / "rows").glob("*.parquet"))


def test_a_row_that_fails_is_kept_apart_and_tried_again(tmp_path, monkeypatch):
    from mechcausal.patching.activation import Patching

    right = Patching.run

    made = experiment()
    texts = made_texts(made)
    word = next(iter({word for text in texts for word in text.split()} - set(texts[0].split())))
    monkeypatch.setattr(Patching, "run", failing(right, word))
    run = made.run(tmp_path / "r", quiet=True)
    hit = sum(word in text.split() for text in texts)
    part = run.status()[0]
    assert 0 < hit < 20
    assert (part.done, part.failed) == (16 * (20 - hit), 16 * hit)
    assert part.errors == {f"RuntimeError: no {word} today": 16 * hit}
    with pytest.raises(ResultError, match="is not done"):
        run.result("heads")
    monkeypatch.setattr(Patching, "run", right)
    again = made.run(tmp_path / "r", quiet=True)
    assert again.complete
    assert again.status()[0].failed == 0


def made_texts(made):
    """Return the clean prompts of an experiment."""
    model = mc.load("organism:hiring")
    return mc.contrast("hiring/gender", model, n=made.config.data["gender"]["n"]).clean.texts


def failing(right, word):
    """Return a run that fails where a prompt has a word."""

    def run(self, model, data):
        if any(word in text.split() for text in data.clean.texts):
            raise RuntimeError(f"no {word} today")
        return right(self, model, data)

    return run


def test_the_folder_of_another_experiment_is_refused(tmp_path):
    experiment().run(tmp_path / "r", quiet=True)
    with pytest.raises(ResultError, match="holds the run of 'trial'"):
        experiment(name="other").run(tmp_path / "r", quiet=True)


def test_the_pace():
    tally = Tally(computed=10)
    assert tally.pace > 0


def test_what_was_run_is_written_down(tmp_path):
    run = experiment().run(tmp_path / "r", quiet=True)
    assert mc.Experiment.read(run.folder / "experiment.toml").config == experiment().config
    assert not (run.folder / "driver.json").exists()
    line = json.loads((run.folder / "units.jsonl").read_text().splitlines()[0])
    assert line["step"] == "heads"
