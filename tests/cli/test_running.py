"""From a specification to a verb: what is refused, what is printed, what is saved."""

import json
from dataclasses import replace

import pandas as pd
import pytest

import mechcausal as mc
from mechcausal.cli import running
from mechcausal.cli.data import Chosen
from mechcausal.cli.running import run_method, show_cost
from mechcausal.errors import MechcausalError

MODEL = "organism:by_hand"
CHOSEN = Chosen(contrast="by_hand/gender", n=12)


def run(out, chosen=CHOSEN, name="Patching", options=None, **how):
    options = {"sites": "L0.z.H0", "at": "@end", "metric": None} if options is None else options
    run_method(
        name,
        options,
        chosen,
        ("contrast", "pairs"),
        **({"model": MODEL, "out": out, "dry_run": False, "as_json": False} | how),
    )


def test_the_table_is_that_of_the_method(tmp_path, capsys):
    path = tmp_path / "patch.parquet"
    run(path)
    model = mc.load(MODEL)
    expected = mc.patch(model, mc.contrast("by_hand/gender", model, n=12), sites="L0.z.H0", at="@end")
    saved = mc.results.load(path)
    pd.testing.assert_frame_equal(saved.frame, expected.frame)
    printed = capsys.readouterr().out
    assert printed.endswith(f"table  {path}\n")
    assert printed.startswith(expected.summary().splitlines()[0].split(",")[0])


def test_json_holds_the_rows_and_the_path(tmp_path, capsys):
    path = tmp_path / "patch.parquet"
    run(path, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["table"] == str(path)
    assert [row["site"] for row in said["rows"]] == ["L0.z.H0"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_prints_the_cost_and_writes_nothing(tmp_path, capsys, as_json):
    path = tmp_path / "patch.parquet"
    run(path, dry_run=True, as_json=as_json)
    model = mc.load(MODEL)
    cost = mc.patch.cost(model, mc.contrast("by_hand/gender", model, n=12), sites="L0.z.H0", at="@end")
    printed = capsys.readouterr().out
    if as_json:
        assert json.loads(printed)["forwards"] == pytest.approx(cost.forwards)
    else:
        assert printed.strip() == str(cost)
    assert not path.exists()


def test_what_is_wrong_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("mechcausal.models.load.load", lambda *_, **__: pytest.fail("it was loaded"))
    path = tmp_path / "patch.parquet"
    with pytest.raises(MechcausalError, match="parquet"):
        run(tmp_path / "patch.csv")
    with pytest.raises(MechcausalError, match="name the data"):
        run(path, Chosen())
    with pytest.raises(MechcausalError, match="cannot take this 'direction'"):
        run(path, options={"direction": "up"})


def test_fields_may_depend_on_the_data(tmp_path):
    asked = []

    def prepare(model, data):
        asked.append(len(data))
        return data.take(range(4)), {"sites": "L0.z.H1", "at": "@end"}

    run(tmp_path / "patch.parquet", options={}, prepare=prepare)
    saved = mc.results.load(tmp_path / "patch.parquet")
    assert asked == [12]
    assert saved.frame["site"].tolist() == ["L0.z.H1"]
    assert saved.examples.shape[1] == 4


def test_numbers_and_tables_of_a_cost_are_plain(capsys):
    model = mc.load(MODEL)
    cost = mc.patch.cost(model, mc.contrast("by_hand/gender", model, n=4), sites="L0.z")
    show_cost(replace(cost, forwards=pd.Series([1.5])[0]), as_json=True)
    assert json.loads(capsys.readouterr().out)["forwards"] == 1.5
    assert running._plain(pd.DataFrame({"a": [1]})) == [{"a": 1}]
