"""What one model has where: streams that are read and written, heads and MLPs."""

import pytest
from zoo import loaded

from mechcausal.address import Site
from mechcausal.models.abilities import abilities
from mechcausal.models.anatomy import belongs, entry, exit_of, heads, mlps


@pytest.mark.parametrize(
    ("site", "stream"),
    [
        ("L1.z.H0", "L1.resid_pre"), ("L1.attn_out", "L1.resid_pre"), ("L1.resid_pre", "L1.resid_pre"),
        ("L1.mlp_out", "L1.resid_mid"), ("L1.mlp_post.N2", "L1.resid_mid"), ("logits", "L2.resid_post"),
    ],
)  # fmt: skip
def test_a_direct_path_arrives_at_the_stream_that_is_read(gpt2, site, stream):
    assert str(entry(Site.parse(site), abilities(gpt2))) == stream


def test_parallel_blocks_read_one_stream():
    assert str(entry(Site("mlp_out", 1), abilities(loaded("neox")))) == "L1.resid_pre"


@pytest.mark.parametrize(
    ("site", "out"),
    [("embed", "L0.resid_pre"), ("L1.z.H2", "L1.attn_out"), ("L1.mlp_post.N3", "L1.mlp_out"),
     ("L1.mlp_out", "L1.mlp_out"), ("L2.resid_mid", "L2.resid_mid")],
)  # fmt: skip
def test_a_direct_path_begins_where_the_sender_enters_the_stream(site, out):
    assert str(exit_of(Site.parse(site))) == out


def test_heads_and_mlps(gpt2):
    able = abilities(gpt2)
    shape = able.shape
    assert len(heads(able)) == shape.n_layers * shape.n_heads
    assert heads(able, [1])[0] == Site("z", 1, head=0)
    assert mlps(able) == [Site("mlp_out", layer) for layer in range(shape.n_layers)]


def test_what_belongs_to_a_head_or_an_mlp():
    head, mlp = Site("z", 1, head=2), Site("mlp_out", 1)
    assert belongs(Site("q", 1, head=2), head)
    assert belongs(Site("attn_out", 1), head)
    assert not belongs(Site("q", 1, head=1), head)
    assert not belongs(Site("q", 0, head=2), head)
    assert belongs(Site("mlp_post", 1, neuron=3), mlp)
    assert not belongs(Site("mlp_post", 1, neuron=3), head)
