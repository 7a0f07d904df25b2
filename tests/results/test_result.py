"""Results survive: saving, loading, drawing, and the export of a notebook, without the model."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from saved import assert_kept

import mechcausal as mc
from mechcausal.errors import ResultError
from mechcausal.results.pictures import color, grids, svg
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


def test_still_pictures_are_well_formed_and_say_what_they_show(sweep):
    pictures = [svg(grid) for grid in grids(sweep, "effect")]
    assert len(pictures) == 2
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert "largest effect" in root.attrib["aria-label"]
        assert len(root.findall(".//{*}rect")) == 2 * 4 + 9
    assert "url(#none)" not in pictures[0]


def test_every_cell_is_drawn_where_the_frame_says(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    found = mc.ablate(by_hand, pairs, sites=["z", "L*.mlp_post.N*", "embed"], do="zero")
    heads, neurons, embed = grids(found, "change")
    assert (heads.x, heads.y) == (("H0", "H1", "H2", "H3"), ("L0", "L1"))
    assert (neurons.x, neurons.y) == (("N0", "N1", "N2", "N3"), ("L0", "L1"))
    assert embed.values.shape == (1, 1)
    for grid, unit in ((heads, "head"), (neurons, "neuron")):
        for _, row in found.frame[found.frame[unit].notna()].iterrows():
            assert grid.values[row["layer"], row[unit]] == row["change"]
    assert [trace.z.shape for trace in found.plot().data] == [(2, 4), (2, 4), (1, 1)]


def test_names_are_escaped(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    odd = {"<script>&": torch.ones(4, dtype=torch.long)}
    sides = {name: replace(getattr(pairs, name), positions=odd) for name in ("clean", "corrupt")}
    page = mc.patch(by_hand, replace(pairs, **sides))._repr_html_()
    assert "<script>" not in page
    assert "1 &lt;script&gt;&amp;" in page


def test_nan_is_hatched(sweep):
    grid = grids(sweep, "effect")[0]
    grid.values[0, 0] = np.nan
    assert 'fill="url(#none)"' in svg(grid)


def test_colors():
    assert color(0, 1) == "#f7f7f7"
    assert color(1, 1) == color(5, 1) != color(-1, 1)


def test_live_figures(sweep):
    figure = sweep.plot()
    assert len(figure.data) == 2
    bundle = figure._repr_mimebundle_()
    assert bundle["application/vnd.plotly.v1+json"]["data"][0]["type"] == "heatmap"
    assert bundle["text/html"].count("<svg") == 2
    assert "<svg" in sweep._repr_html_()
    assert "patch: 16 cells" in repr(sweep)


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


def test_features_are_drawn_one_row_a_dictionary(by_hand):
    from plain_dictionaries import Turned, attached_to

    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    width = by_hand.cfg.d_model
    with (
        attached_to(by_hand, Turned(width), "L0.resid_post", "a"),
        attached_to(by_hand, Turned(width), "L1.resid_post", "b"),
    ):
        found = mc.ablate(by_hand, pairs, sites="L*.resid_post.sae:*.F*", do="zero")
    (grid,) = grids(found, "change")
    assert (grid.x, grid.y) == (tuple(f"F{i}" for i in range(width)), ("L0 a", "L1 b"))
    for _, row in found.frame.iterrows():
        assert grid.values[row["layer"], row["feature"]] == row["change"]
    assert str(found.frame["feature"].dtype) == "Int64"


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
