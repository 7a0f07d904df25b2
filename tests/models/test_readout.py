"""How a site enters the stream, against the weights of the network themselves."""

import pytest
import torch
from plain_dictionaries import TopK, attached_to
from zoo import loaded

from mechcausal.address import Site
from mechcausal.errors import UnsupportedError
from mechcausal.models.abilities import abilities
from mechcausal.models.readout import Readouts, pick, place, require_writer

N_HEADS, D_HEAD, D_MODEL = 4, 8, 32


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def contribution(model, text):
    return Readouts(model, abilities(model)).contribution(Site.parse(text))


def weights(model, layer=1):
    """Return the output matrices of attention, [head d_head model], and of the MLP, [neuron model]."""
    block = model.original_model.transformer.h[layer]
    parts = [
        getattr(part.c_proj, "original_component", part.c_proj).weight
        for part in (_plain(block.attn), _plain(block.mlp))
    ]
    return parts[0].reshape(N_HEADS, D_HEAD, D_MODEL), parts[1]


def _plain(module):
    return getattr(module, "original_component", module)


def test_heads_and_neurons_enter_by_their_rows_of_the_output_matrix(gpt2):
    attention, mlp = weights(gpt2)
    head, heads, neuron, neurons = noise(2, 3, D_HEAD), noise(2, 3, N_HEADS, D_HEAD), noise(2, 3), noise(2, 3, len(mlp))
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(contribution(gpt2, "L1.z.H2")(head), head @ attention[2], **close)
    torch.testing.assert_close(
        contribution(gpt2, "L1.z")(heads), torch.einsum("bphd,hdm->bpm", heads, attention), **close
    )
    torch.testing.assert_close(contribution(gpt2, "L1.mlp_post.N5")(neuron), neuron[..., None] * mlp[5], **close)
    torch.testing.assert_close(contribution(gpt2, "L1.mlp_post")(neurons), neurons @ mlp, **close)


@pytest.mark.parametrize("text", ["embed", "L1.resid_pre", "L1.resid_post", "L1.attn_out", "L1.mlp_out"])
def test_what_is_in_the_stream_enters_as_it_is(gpt2, text):
    change = noise(2, 3, D_MODEL)
    assert contribution(gpt2, text)(change).equal(change)


def test_results_of_heads_are_summed_and_an_entry_of_the_stream_stays_in_its_column(gpt2):
    change = noise(2, 3, N_HEADS, D_MODEL)
    torch.testing.assert_close(contribution(gpt2, "L1.result")(change), change.sum(-2))
    assert contribution(gpt2, "L1.result.H1")(change[..., 1, :]).equal(change[..., 1, :])
    entry = contribution(gpt2, "L1.resid_post.N7")(noise(2, 3))
    assert entry[..., 7].equal(noise(2, 3))
    assert entry.count_nonzero() == 6


def test_features_enter_along_their_rows_of_the_decoder(gpt2):
    attention, _ = weights(gpt2)
    with attached_to(gpt2, TopK(D_MODEL), "L1.z") as small:
        rows = small.W_dec.reshape(-1, N_HEADS, D_HEAD)
        change = noise(2, 3, small.n_features)
        expected = torch.einsum("bpf,fhd,hdm->bpm", change, rows, attention)
        torch.testing.assert_close(contribution(gpt2, str(small.features))(change), expected, atol=1e-4, rtol=1e-4)
        one = contribution(gpt2, str(small.feature(4)))(change[..., 4])
        torch.testing.assert_close(
            one, change[..., 4, None] * torch.einsum("hd,hdm->m", rows[4], attention), atol=1e-4, rtol=1e-4
        )


def test_each_map_is_measured_once(gpt2, monkeypatch):
    runs, maps = [], {}
    forward = "mechcausal.models.readout.forward"
    from mechcausal.models import readout

    original = readout.forward
    monkeypatch.setattr(forward, lambda *given, **options: runs.append(1) or original(*given, **options))
    readouts = Readouts(gpt2, abilities(gpt2), maps)
    for text in ("L1.z.H0", "L1.z.H3", "L1.z"):
        readouts.contribution(Site.parse(text))
    Readouts(gpt2, abilities(gpt2), maps).contribution(Site.parse("L1.z.H1"))
    assert len(runs) == 1
    assert list(maps) == [Site("z", 1)]


def test_what_does_not_write_to_the_stream_is_refused():
    for text in ("L1.q.H0", "L1.pattern.H0", "logits"):
        with pytest.raises(UnsupportedError, match="has no direct path"):
            require_writer(Site.parse(text))


def test_a_head_behind_which_a_norm_stands_is_not_linear():
    model = loaded("gemma2")
    with pytest.raises(UnsupportedError, match="does not enter the stream linearly"):
        contribution(model, "L1.z.H0")


@pytest.mark.parametrize("text", ["L1.resid_post", "L1.z", "L1.z.H2", "L1.mlp_post.N3"])
def test_what_is_picked_is_placed_again(text):
    site = Site.parse(text)
    shape = {"z": (N_HEADS, D_HEAD), "mlp_post": (64,)}.get(site.component, (D_MODEL,))
    activation, mask = noise(3, 5, *shape), torch.zeros(3, 5, dtype=torch.bool)
    for row, columns in enumerate(([0, 2], [1, 4], [3, 4])):
        mask[row, columns] = True
    part = {"L1.z.H2": activation[:, :, 2], "L1.mlp_post.N3": activation[..., 3]}.get(text, activation)
    picked = pick(activation, site, mask)
    for row, columns in enumerate(([0, 2], [1, 4], [3, 4])):
        assert picked[row].equal(part[row, columns])
    placed = place(picked, site, mask, activation.shape)
    assert pick(placed, site, mask).equal(picked)
    assert placed.count_nonzero() == picked.count_nonzero()


def test_rows_of_a_pattern_are_picked_by_their_query():
    pattern, mask = noise(2, N_HEADS, 5, 5), torch.zeros(2, 5, dtype=torch.bool)
    mask[:, 3] = True
    assert pick(pattern, Site("pattern", 0), mask)[:, 0].equal(pattern[:, :, 3])
    assert pick(pattern, Site("pattern", 0, head=1), mask)[:, 0].equal(pattern[:, 1, 3])
    placed = place(pick(pattern, Site("pattern", 0), mask), Site("pattern", 0), mask, pattern.shape)
    assert placed[:, :, 3].equal(pattern[:, :, 3])
    assert not placed[:, :, :3].any()
