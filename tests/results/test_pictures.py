"""Pictures of results: every cell where the frame says, live and still, escaped, with what survives marked."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.results.pictures import color, grids, svg


@pytest.fixture(scope="module")
def sweep():
    model = mc.load("organism:by_hand")
    return mc.patch(model, mc.contrast("by_hand/gender", model, n=8), sites=["resid_pre", "mlp_out"])


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


def test_what_survives_is_marked_in_both_pictures(sweep):
    marked = replace(sweep, frame=sweep.frame.assign(p_max=[0.01] * 3 + [0.5] * (len(sweep) - 3)))
    panels = grids(marked, "effect")
    assert sum(int(panel.marks.sum()) for panel in panels) == 3
    assert "3 marked with * survive the correction for all cells" in panels[0].describe()
    assert svg(panels[0]).count("*</text>") == 3
    assert "p_max 0.010" in svg(panels[0])
    wide = replace(
        panels[0],
        x=tuple(map(str, range(40))),
        values=np.ones((2, 40)),
        marks=np.eye(2, 40, dtype=bool),
        hover=(("",) * 40,) * 2,
    )
    assert svg(wide).count("<circle") == 2
    none = replace(sweep, frame=sweep.frame.drop(columns=["p_max"]))
    assert not none.survives.any()
