import pytest
import torch

from mechcausal.address import ALL, Place, Selection, Site
from mechcausal.errors import SiteError


def test_places_are_read_from_text_sites_and_mappings():
    one = Place.parse("L1.z.H0@decision")
    assert one == Place.parse({"site": "L1.z.H0", "at": "decision"}) == Place.parse(one)
    assert Place.parse(Site.parse("L1.z.H0")) == Place.parse("L1.z.H0") == Place.parse({"site": "L1.z.H0"})
    inside = Place.parse({"site": "L1.z.H0", "at": "@-1", "basis": torch.eye(3)[:2]})
    assert str(inside) == "L1.z.H0@-1[2d]"
    for part in (one, inside, Place.parse("embed")):
        assert Place.parse(part.to_json()) == part


def test_the_columns_of_a_place_are_orthonormal_and_span_its_directions():
    rows = torch.tensor([[3.0, 4.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0]])
    columns = Place.parse({"site": "L1.resid_post", "basis": rows}).columns(torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(columns.T @ columns, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(columns @ columns.T @ rows.T.double(), rows.T.double())
    assert Place.parse("L1.resid_post").columns(rows) is None
    with pytest.raises(SiteError, match="not independent"):
        Place.parse({"site": "L1.resid_post", "basis": torch.stack([rows[0], 2 * rows[0]])}).columns(rows)


def test_depth_is_the_order_in_which_a_network_computes():
    order = [
        "embed", "L0.resid_pre", "L0.q.H1", "L0.pattern.H0", "L0.z.H1", "L0.attn_out", "L0.resid_mid",
        "L0.mlp_post.N3", "L0.mlp_out", "L0.resid_post", "L1.resid_pre", "L1.z", "logits",
    ]  # fmt: skip
    depths = [Place.parse(text).depth for text in order]
    assert depths == sorted(set(depths))
    assert Place.parse("L1.z.H0").depth == Place.parse("L1.z.H3").depth


def test_a_label_names_the_positions_and_is_no_part_of_the_place():
    plain, named = Place.parse("L1.mlp_out@3"), Place(Site("mlp_out", 1), Selection.parse(3), label="3 subject")
    assert plain == named
    assert hash(plain) == hash(named)
    assert (plain.row()["label"], named.row()["label"]) == ("3", "3 subject")
    assert named.row() | {"label": ""} == plain.row() | {"label": ""}
    assert (plain.row()["position"], Place.parse("L1.mlp_out").row()["position"]) == (3, None)


def test_a_feature_says_its_dictionary_in_a_row():
    row = Place.parse("L1.mlp_out.sae:a.F3").row()
    assert (row["dictionary"], row["feature"]) == ("a", 3)
    assert "dictionary" not in Place.parse("L1.mlp_out").row()


def test_text_without_positions_is_all_positions():
    assert Place.parse("L3.resid_post@-1") == Place(Site("resid_post", 3), Selection.parse(-1))
    assert Place.parse("L3.resid_post").at == ALL
    for text in ("L0.z.H1", "L0.resid_post.sae:one.F3@subject", "logits", "embed@3:7"):
        assert str(Place.parse(text)) == text


def test_the_short_name_is_the_unit():
    texts = ("L0.resid_post.sae:one.F3", "L0.resid_post.sae:one.error", "L1.z.H2@subject", "L1.mlp_post.N4", "logits")
    assert [Place.parse(text).short for text in texts] == ["F3", "error", "H2", "N4", "logits"]


@pytest.mark.parametrize("spec", [3, None, {"at": "@1"}, ["L1.z.H0"]])
def test_what_is_no_place_is_refused(spec):
    with pytest.raises(SiteError, match="not a place in a network"):
        Place.parse(spec)
