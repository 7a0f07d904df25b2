from dataclasses import replace

import numpy as np
import pytest
import torch

from mechcausal.address import (
    ALL,
    GLOBAL_COMPONENTS,
    HEAD_COMPONENTS,
    VECTOR_COMPONENTS,
    DictionaryShape,
    ModelShape,
    Selection,
    Site,
    expand,
    parse_address,
)
from mechcausal.errors import SiteError

SHAPE = ModelShape(n_layers=3, n_heads=4, n_kv_heads=2, d_head=8, d_model=32, d_mlp=64)


@pytest.mark.parametrize(
    "text",
    [
        "L3.resid_post",
        "L9.z.H6",
        "L2.mlp_post.N17",
        "embed",
        "logits",
        "L0.pattern.H1",
        "embed.N3",
        "L2.resid_post.sae:res-jb_2",
        "L2.resid_post.sae:res-jb_2.F17",
        "embed.sae:a.F0",
        "L2.z.sae:a.error",
    ],
)
def test_sites_print_as_they_parse(text):
    assert str(Site.parse(text)) == text
    assert Site.parse(Site.parse(text)) == Site.parse(text)


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("blocks.3.hook_resid_post", "L3.resid_post"),
        ("blocks.0.attn.hook_z", "L0.z"),
        ("blocks.1.mlp.hook_post", "L1.mlp_post"),
        ("blocks.2.attn.hook_pattern", "L2.pattern"),
        ("hook_embed", "embed"),
    ],
)
def test_hook_names_are_sites(hook, site):
    assert str(Site.parse(hook)) == site


@pytest.mark.parametrize("text", ["@-1", "@3:7", "@subject", "@all", "@0", "@2:", "@0:-1"])
def test_selections_print_as_they_parse(text):
    assert str(Selection.parse(text)) == text
    assert Selection.parse(text.removeprefix("@")) == Selection.parse(text)


def test_selection_bounds_count_real_tokens():
    assert Selection.parse(-1).bounds(5) == (4, 5)
    assert Selection.parse(7).bounds(5) == (0, 0)
    assert Selection.parse(slice(1, -1)).bounds(5) == (1, 4)
    assert Selection.parse(None) == ALL
    assert ALL.bounds(5) == (0, 5)


def test_address():
    assert parse_address("L3.resid_post@-1") == (Site("resid_post", 3), Selection.parse(-1))
    assert parse_address("L3.resid_post")[1] == ALL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("L3.resid_pots", "did you mean 'resid_post'"),
        ("blocks.3.hook_resid_pots", "did you mean 'resid_post'"),
        ("resid post", "is not a site"),
        ("L3.z.N2", "has no neurons"),
        ("L3.resid_pre.H2", "has no heads"),
        ("L3.embed", "takes no layer"),
        ("L*.z", "stands for many sites"),
        ("resid_pre", "takes a layer: write 'L0.resid_pre'"),
        ("z.H3", "takes a layer"),
        ("blocks.3.attn.hook_post", "is not a site"),
        ("blocks.3.hook_z", "is not a site"),
        ("blocks.3.mlp.hook_resid_post", "is not a site"),
        ("blocks.3.hook_mlp_in", "is not a site"),
        ("L3.logits", "takes no layer"),
        ("l3.resid_post", "is not a site"),
        ("L3.resid_post.H", "is not a site"),
        ("L-1.resid_post", "is not a site"),
        ("", "is not a site"),
    ],
)
def test_a_wrong_site_says_what_is_wrong(text, said):
    with pytest.raises(SiteError, match=said):
        Site.parse(text)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("L3.resid_post", "layer 3; expected 0 to 2"),
        ("L0.z.H4", "head 4; expected 0 to 3"),
        ("L0.k.H2", "key-value head 2; expected 0 to 1"),
        ("L0.mlp_post.N64", "neuron 64; expected 0 to 63"),
        ("L*.zz.H*", "did you mean|use one of"),
        ([], "empty"),
        ("L*.z.N*", "has no neurons"),
        ("L*.resid_pre.H*", "has no heads"),
        ("z.H*", "takes a layer"),
        ("L*.embed", "takes no layer"),
        ("embed.N32", "neuron 32; expected 0 to 31"),
    ],
)
def test_what_the_model_does_not_have(spec, said):
    with pytest.raises(SiteError, match=said):
        expand(spec, SHAPE)


def test_expansion():
    assert len(expand("resid_pre", SHAPE)) == 3
    assert len(expand("z", SHAPE)) == 12
    assert len(expand("k", SHAPE)) == 6
    assert [str(site) for site in expand("L1.z.H*", SHAPE)] == ["L1.z.H0", "L1.z.H1", "L1.z.H2", "L1.z.H3"]
    assert expand("L1.z", SHAPE) == [Site("z", 1)]
    assert len(expand("L2.mlp_post.N*", SHAPE)) == 64
    assert expand(["embed", "embed", "L*.mlp_out"], SHAPE)[0] == Site("embed")
    assert len(expand(["embed", "embed"], SHAPE)) == 1
    assert len(expand("embed.N*", SHAPE)) == 32
    assert expand(Site("z", 1, head=2), SHAPE) == [Site("z", 1, head=2)]


def test_every_site_of_a_model_prints_as_it_parses():
    words = [*VECTOR_COMPONENTS, *HEAD_COMPONENTS, *GLOBAL_COMPONENTS]
    every = expand([*words, "L*.mlp_post.N*", "L*.z", "embed.N*"], SHAPE)
    assert len(every) == len(set(every)) == len({str(site) for site in every})
    assert [Site.parse(str(site)) for site in every] == every


def test_a_pattern_that_matches_nothing():
    with pytest.raises(SiteError, match="matches nothing"):
        expand("L*.mlp_post.N*", replace(SHAPE, d_mlp=0))


@pytest.mark.parametrize("index", [2, np.int64(2), torch.tensor(2), "2", "@2"])
def test_any_integer_is_a_position(index):
    assert str(Selection.parse(index)) == "@2"


@pytest.mark.parametrize("text", ["@1:2:3", "@?", slice(0, 4, 2)])
def test_a_wrong_selection(text):
    with pytest.raises(SiteError):
        Selection.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L1.resid_post.sae:", "is not a site"),
        ("L1.resid_post.sae:two words", "is not a site"),
        ("L1.resid_post.sae:a.F", "is not a site"),
        ("L1.resid_post.sae:a.F-1", "is not a site"),
        ("logits.sae:a", "not a pattern or the logits"),
        ("L1.resid_post.sae:a.F*", "stands for many sites"),
    ],
)
def test_a_wrong_feature(text, words):
    with pytest.raises(SiteError, match=words):
        Site.parse(text)


def test_what_a_feature_belongs_to():
    with pytest.raises(SiteError, match="belong to a dictionary"):
        Site("resid_post", 1, feature=3)
    with pytest.raises(SiteError, match="not both"):
        Site("resid_post", 1, dictionary="a", feature=3, error=True)
    with pytest.raises(SiteError, match="whole activation"):
        Site("z", 1, head=0, dictionary="a")


def test_patterns_of_features():
    known = {"a": DictionaryShape(Site("resid_post", 1), 3), "b": DictionaryShape(Site("resid_post", 2), 2)}
    shape = replace(SHAPE, dictionaries=known)
    assert [str(site) for site in expand("L*.resid_post.sae:*.F*", shape)] == [
        *(f"L1.resid_post.sae:a.F{i}" for i in range(3)), *(f"L2.resid_post.sae:b.F{i}" for i in range(2)),
    ]  # fmt: skip
    assert [str(site) for site in expand("L2.resid_post.sae:*", shape)] == ["L2.resid_post.sae:b"]
    assert [str(site) for site in expand("L*.resid_post.sae:a.F2", shape)] == ["L1.resid_post.sae:a.F2"]
    with pytest.raises(SiteError, match="feature 2; expected 0 to 1"):
        expand("L*.resid_post.sae:*.F2", shape)
    with pytest.raises(SiteError, match="no dictionary called 'c'"):
        expand("L1.resid_post.sae:c.F*", shape)
    with pytest.raises(SiteError, match="no dictionary called 'a'"):
        expand("L1.resid_post.sae:a", SHAPE)
