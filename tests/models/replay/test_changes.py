"""From edits to changes of the stream, against the stream that the loop has after the same edits."""

import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.address import Selection, Site
from mechcausal.data.selected import Selected
from mechcausal.interventions import Edit
from mechcausal.models.hooked import forward
from mechcausal.models.replay.changes import CARRIED, Changes, divided, needed
from mechcausal.models.replay.twin import recorded
from mechcausal.models.replay.verify import replayer


def edit(text, do="zero", at=None):
    return Edit.of(text, do, at)


@pytest.mark.parametrize(
    ("cell", "carried", "layer"),
    [
        (["L1.z"], 1, 2),  # enters the input of the next layer
        (["L1.resid_pre"], 1, 1),
        (["embed"], 1, 0),
        (["L2.resid_post"], 1, 3),  # the final stream
        (["L1.z", "L2.mlp_out"], 1, 2),
        (["L2.mlp_out", "L1.z"], 1, 2),  # the order of a cell says nothing of layers
        (["L1.z", "L1.mlp_out"], 0, 1),  # another one follows in the same layer
        (["L1.pattern"], 0, 1),
        (["L1.z.H0", "L1.z.H2"], 2, 2),
    ],
)
def test_a_run_begins_as_late_as_it_can(cell, carried, layer):
    edits = tuple(edit(text) for text in cell)
    parts = divided(edits, CARRIED)
    assert (len(parts.carried), parts.layer) == (carried, layer)
    assert sorted(map(str, parts.carried + parts.later)) == sorted(map(str, edits))


def test_what_is_not_carried_is_made_on_the_run():
    assert divided((edit("L1.z"),), ("embed",)).carried == ()


def test_heads_need_what_the_mlp_of_their_layer_did():
    able = replayer(loaded("gpt2")).able
    sites = [Site("z", 1, head=2), Site("z", 1, head=0), Site("mlp_out", 2)]
    assert set(needed(sites, able)) == {Site("z", 1), Site("resid_mid", 1), Site("mlp_out", 1), Site("mlp_out", 2)}


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])  # in neox the MLP does not see what attention wrote
@pytest.mark.parametrize(
    "text", ["embed", "L1.resid_pre", "L1.attn_out", "L1.z.H2", "L1.mlp_out", "L1.mlp_post", "L1.resid_post"]
)
def test_the_change_is_that_of_the_next_stream_at_the_edited_token(name, text):
    model, batch = loaded(name), make_pairs().clean
    twin = replayer(model).twin
    cell = (edit(text, "zero", "@3"),)
    base, _ = recorded(twin, batch, needed([cell[0].site], twin.able))
    part = divided(cell, CARRIED)
    made = Changes(twin, base, Selected(batch), {}, None).of([part], [None])
    stream = Site("resid_post", 2) if part.layer == 3 else Site("resid_pre", part.layer)
    before, after = (forward(model, batch, edits, read=[stream]).read[stream] for edits in ([], cell))
    torch.testing.assert_close(made.delta[0, :, 3], (after - before)[:, 3], atol=1e-4, rtol=1e-3)
    assert not made.delta[0, :, [0, 1, 2, 4, 5, 6]].any()  # what other tokens see of it is for the layers to say
    assert made.moved[0].nonzero()[:, 1].unique().tolist() == [3]


def test_edits_that_change_nothing_move_nothing():
    model, batch = loaded("gpt2"), make_pairs().clean
    twin = replayer(model).twin
    site = Site("mlp_out", 1)
    base, _ = recorded(twin, batch, [site])
    patch = edit("L1.mlp_out", "patch")
    given = base.values[site].clone()
    given[2, 4] += 1
    changes = Changes(twin, base, Selected(batch), {(site, patch.do): given}, None)
    made = changes.of([divided((patch,), CARRIED)], [None])
    assert made.moved[0].nonzero().tolist() == [[2, 4]]
    torch.testing.assert_close(made.delta[0, 2, 4], torch.ones(32), atol=1e-5, rtol=1e-5)


def test_of_the_final_stream_only_what_is_read_moves():
    model, batch = loaded("gpt2"), make_pairs().clean
    twin = replayer(model).twin
    base, _ = recorded(twin, batch, [Site("resid_post", 2)])
    decisive = torch.arange(7) == batch.read_columns[:, None]
    made = Changes(twin, base, Selected(batch), {}, decisive).of([divided((edit("L2.resid_post"),), CARRIED)], [None])
    assert made.moved[0].equal(decisive)


def test_another_mask_is_taken_where_it_is_given():
    model, batch = loaded("gpt2"), make_pairs().clean
    twin = replayer(model).twin
    base, _ = recorded(twin, batch, [Site("mlp_out", 1)])
    mask = Selected(batch).of(Selection.parse("@1"))
    made = Changes(twin, base, Selected(batch), {}, None).of(
        [divided((edit("L1.mlp_out", "zero", "@5"),), CARRIED)], [mask]
    )
    assert made.moved[0].equal(mask)
