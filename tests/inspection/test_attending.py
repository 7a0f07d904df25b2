"""Attention: that of transformers, and the heads that an organism is known to have."""

import numpy as np
import pytest
import torch
from saved import assert_kept
from zoo import ARCHITECTURES, bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError


@pytest.fixture(scope="module")
def induction():
    return mc.load("organism:induction")


@pytest.fixture(scope="module")
def seen(induction):
    return mc.attention(induction, mc.task("induction").prompts(induction, 64))


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "bert"])
def test_patterns_are_those_of_transformers(name):
    prompts = make_pairs().clean.take([0])
    read = mc.attention(loaded(name), prompts, heads=["L0.z.H1", "L2.z.H3"])
    theirs = bare(name)(prompts.tokens, output_attentions=True).attentions
    for head, layer, number in (("L0.pattern.H1", 0, 1), ("L2.pattern.H3", 2, 3)):
        pattern = read.pattern(head).to_numpy()
        assert np.allclose(pattern, theirs[layer][0, number].numpy(), atol=1e-5)
        assert np.allclose(pattern.sum(1), 1, atol=1e-5)
    assert len(read.patterns) == 2 * 7 * 8 / 2


def test_the_heads_of_the_induction_organism_are_found(seen):
    truth = mc.truth("induction")["variables"]
    for score, variable in (("previous", "previous_2"), ("induction", "copied"), ("copying", "copied")):
        rows = seen.score(score)
        assert rows["site"].iloc[0] == truth[variable]["site"].replace(".z.", ".pattern.")
        assert rows["value"].iloc[0] > 0.8
        assert rows["value"].iloc[0] > rows["value"].iloc[1] + 0.05


def test_shuffled_text_tells_places_from_tokens(seen):
    previous, induction = (seen.score(name).iloc[0] for name in ("previous", "induction"))
    assert abs(previous["change"]) < 0.05
    assert previous["p_max"] > 0.05
    assert induction["change_low"] > 0.5
    assert induction["p_max"] < 0.01
    assert previous["uniform"] < 0.3


def test_random_tokens_that_come_twice_show_the_same(induction):
    twice = mc.attention(induction, mc.inspection.repeated(induction, n=16, length=3))
    assert twice.score("induction")["site"].iloc[0] == "L1.pattern.H1"


def test_it_is_kept_and_drawn(induction, seen, tmp_path):
    assert_kept(seen, tmp_path / "seen.parquet")
    assert seen.heads[0] == "L0.pattern.H0"
    assert "word_3" in seen.plot().still
    prompts = mc.task("induction").prompts(induction, 4)
    one = mc.attention(induction, prompts.take([0]), heads="L0.z.H0")
    assert one.pattern("L0.pattern.H0").columns[1] == f"1 {prompts.texts[0].split()[0]}"
    assert mc.attention.cost(induction, prompts).forwards == 8
    with pytest.raises(MechcausalError, match=r"pattern of .* is not here"):
        one.pattern("L1.pattern.H1")
    with pytest.raises(MechcausalError, match="did you mean 'copying'"):
        one.score("copyin")


def test_many_heads_are_drawn_by_layer(hiring):
    from dataclasses import replace

    read = mc.attention(hiring, mc.contrast("hiring/gender", hiring, n=4).clean)
    assert [grid.title for grid in replace(read, tables={}).grids()] == [
        "previous",
        "first",
        "duplicate",
        "induction",
        "copying",
    ]


def test_bad_heads_are_one_sentence(induction):
    prompts = make_pairs(vocab=9).clean
    for heads, said in (("mlp_out", "is not a head"), ("L9.z", "layer 9"), ("L0.z.H9", "head 9")):
        with pytest.raises(MechcausalError, match=said):
            mc.attention(induction, prompts, heads=heads)
    assert torch.is_tensor(prompts.tokens)
