from dataclasses import replace

import pytest

from mechcausal.address import (
    GLOBAL_COMPONENTS,
    HEAD_COMPONENTS,
    VECTOR_COMPONENTS,
    DictionaryShape,
    ModelShape,
    Site,
    expand,
)
from mechcausal.errors import SiteError

SHAPE = ModelShape(n_layers=3, n_heads=4, n_kv_heads=2, d_head=8, d_model=32, d_mlp=64)


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
