"""Results survive: saving, loading, drawing, and the export of a notebook, without the model."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from saved import assert_kept

import mechcausal as mc
from mechcausal.errors import ResultError
from mechcausal.results.storage import seal


@pytest.fixture(scope="module")
def sweep():
    model = mc.load("organism:by_hand")
    return mc.patch(model, mc.contrast("by_hand/gender", model, n=8), sites=["resid_pre", "mlp_out"])


def test_round_trip(sweep, tmp_path):
    path = sweep.save(tmp_path / "deep" / "s.parquet")
    back = assert_kept(sweep, path)
    pd.testing.assert_frame_equal(back.frame, sweep.frame)
    assert back.provenance == sweep.provenance
    np.testing.assert_array_equal(back.examples, sweep.examples)
    assert back.baselines.keys() == sweep.baselines.keys()
    assert (back.groups, back.clusters) == (sweep.groups, sweep.clusters)
    assert back.summary() == sweep.summary()
    pd.testing.assert_frame_equal(back.by_group(), sweep.by_group())
    assert [item.name for item in path.parent.iterdir()] == ["s.parquet"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_save_leaves_the_old_file(sweep, tmp_path, monkeypatch):
    path = sweep.save(tmp_path / "s.parquet")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(ResultError, match=r"s\.parquet could not be written.*disk full.*still in memory"):
        sweep.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_wrong_files(sweep, tmp_path):
    with pytest.raises(ResultError, match=r"save to s\.parquet"):
        sweep.save(tmp_path / "s.csv")
    with pytest.raises(ResultError, match="no file"):
        mc.results.load(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_text("hello")
    (tmp_path / "empty.parquet").write_text("")
    with pytest.raises(ResultError, match="is empty"):
        mc.results.load(tmp_path / "empty.parquet")
    with pytest.raises(ResultError, match="not a mechcausal result"):
        mc.results.load(tmp_path / "bad.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ResultError, match="not a mechcausal result"):
        mc.results.load(tmp_path / "other.parquet")


def test_columns_and_top(sweep):
    assert list(sweep.frame.columns[:8]) == ["site", "component", "layer", "head", "neuron", "at", "position", "label"]
    assert sweep.top(2)["site"].tolist() == ["L0.resid_pre", "L1.resid_pre"]
    with pytest.raises(ResultError, match="no column 'efect'"):
        sweep.top(1, by="efect")
    with pytest.raises(ResultError, match="no column"):
        sweep.plot("site")


def test_an_exported_notebook_shows_the_figure(sweep, tmp_path):
    path = sweep.save(tmp_path / "s.parquet")
    code = f"import mechcausal as mc\nsweep = mc.results.load({str(path)!r})"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (code, "sweep", "sweep.plot()")]
    )
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert page.count('role="img"') == 4
    assert Path(path).exists()


def test_of_600_flipped_bits_every_one_is_noticed(sweep, tmp_path):
    path = sweep.save(tmp_path / "s.parquet")
    good, draw = path.read_bytes(), np.random.default_rng(0)
    for _ in range(600):
        bad = bytearray(good)
        bad[draw.integers(len(bad))] ^= 1 << int(draw.integers(8))
        path.write_bytes(bad)
        with pytest.raises(ResultError, match="damaged"):
            mc.results.load(path)
    path.write_bytes(good)
    assert pd.read_parquet(path).shape[0] == len(sweep)  # other programs read it as before
    assert mc.results.load(path).summary() == sweep.summary()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "x"}, {"baselines": 3}, {"baselines": {"base": "x"}}, {"types": {"base": "no"}}, {"provenance": "{}"},
        {"provenance": 3}, {"groups": 3}, {"clusters": None}, {"tables": 3}, {"types": [1]},
    ],
)  # fmt: skip
def test_a_header_that_was_made_up_is_refused_in_one_sentence(sweep, tmp_path, changes):
    path = sweep.save(tmp_path / "s.parquet")
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"mechcausal"]) | changes
    metadata = {**table.schema.metadata, b"mechcausal": json.dumps(header).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    seal(path)
    with pytest.raises(ResultError, match=r"is not a mechcausal result|another format") as refused:
        mc.results.load(path)
    assert len(str(refused.value)) < 400 + len(str(path))


def test_where_there_is_no_interval_none_is_written(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=8).take([0])
    text = mc.patch(by_hand, pairs, sites="z").summary()
    assert "there are no intervals" in text
    assert "nan" not in text
