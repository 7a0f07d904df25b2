import pytest

from mechcausal.address import Site
from mechcausal.errors import SiteError


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
