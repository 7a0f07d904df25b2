"""Streams with real tokens from the left on, and what positions are called."""

import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place, Site
from mechcausal.inspection.streams import chosen, position_labels, streams, token_texts


def test_streams_do_not_depend_on_the_side_of_padding():
    model, site = loaded("llama"), Site("resid_post", 1)
    left, right = (make_pairs(lengths=(7, 4), side=side).clean for side in ("left", "right"))
    found = [streams(model, prompts, [site], 1)[site] for prompts in (left, right)]
    for prompt, length in enumerate((7, 4)):
        assert torch.allclose(found[0][prompt, :length], found[1][prompt, :length], atol=1e-5)
    rows, columns = chosen(left, Place(site, mc.Place.parse("L1.resid_post@-1").at))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [6, 3])


def test_positions_are_called_by_their_tokens_where_all_share_them():
    model = mc.load("organism:induction")
    prompts = mc.PromptSet.from_text(model, ["red blue gold", "red gray gold"], positions={"middle": 1})
    assert position_labels(model, prompts) == ["0 <bos>", "1 red", "2 middle", "3 gold"]
    assert token_texts(loaded("llama"), [3]) == ["3"]
