"""The bare model layer by layer: on any suffix of any rows it gives what the whole run gives."""

import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.address import Site
from mechcausal.models.hooked import forward
from mechcausal.models.replay.twin import recorded
from mechcausal.models.replay.verify import replayer

NAMES = ["gpt2", "neox", "llama", "mistral", "qwen3", "gemma2", "opt"]
CLOSE = {"atol": 1e-4, "rtol": 1e-3}


def twin_of(name):
    return replayer(loaded(name)).twin


def close(found, expected, mask):
    torch.testing.assert_close(found[mask], expected[mask], **CLOSE)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_recorded_is_what_the_bridge_reads(name, side):
    model, batch, twin = loaded(name), make_pairs((7, 5, 6), side=side).clean, twin_of(name)
    sites = [Site(word, layer) for word in sorted(twin.readable) for layer in range(3)]
    base = twin.record(batch, {site: twin.able.shape_at(site) for site in sites})
    plain = forward(
        model, batch, read=[*sites, *(Site("resid_pre", layer) for layer in range(3)), Site("resid_post", 2)]
    )
    for site in sites:
        close(base.values[site], plain.read[site], batch.mask)
    for layer in range(3):
        close(base.hidden[layer], plain.read[Site("resid_pre", layer)], batch.mask)
    close(base.hidden[3], plain.read[Site("resid_post", 2)], batch.mask)
    close(twin.logits(base.hidden[3]), plain.logits, batch.mask)
    assert base.width == 7


@pytest.mark.parametrize("start", [0, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_on_a_suffix_gives_the_suffix(name, start):
    batch, twin = make_pairs((7, 5, 6)).clean, twin_of(name)
    base, rows = twin.record(batch), torch.tensor([2, 0, 2])
    for layer in range(3):
        made = twin.layer(base, layer, base.hidden[layer][rows, start:], rows, start)
        close(made, base.hidden[layer + 1][rows, start:], batch.mask[rows, start:])
    assert base.executed == 3 * 3 * (7 - start)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_layer_at_one_column(name):
    batch, twin = make_pairs((7, 5, 6)).clean, twin_of(name)
    base, rows = twin.record(batch), torch.tensor([1, 2])
    read = batch.read_columns[rows]
    made = twin.last_layer(base, base.hidden[2][rows, 2:], rows, 2, read)
    torch.testing.assert_close(made, base.hidden[3][rows, read], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_some_columns_of_the_logits(name):
    batch, twin = make_pairs().clean, twin_of(name)
    hidden = twin.record(batch).hidden[3][:, -1]
    columns = torch.stack([batch.answer, batch.foil], 1)
    torch.testing.assert_close(twin.logits(hidden, columns), twin.logits(hidden).gather(1, columns), **CLOSE)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_mlp_token_by_token(name):
    model, batch, twin = loaded(name), make_pairs().clean, twin_of(name)
    middle, out = Site("resid_mid", 1), Site("mlp_out", 1)
    read = forward(model, batch, read=[middle, out]).read
    torch.testing.assert_close(twin.after_attention(1, read[middle].flatten(0, 1)), read[out].flatten(0, 1), **CLOSE)


def test_what_the_twin_does_not_read_is_read_off_the_bridge(gpt2, pairs):
    base, forwards = recorded(twin_of("gpt2"), pairs.clean, [Site("z", 1), Site("pattern", 1)])
    assert forwards == 2
    torch.testing.assert_close(
        base.values[Site("pattern", 1)], forward(gpt2, pairs.clean, read=[Site("pattern", 1)]).read[Site("pattern", 1)]
    )
    assert recorded(twin_of("gpt2"), pairs.clean, [Site("z", 1)])[1] == 1
