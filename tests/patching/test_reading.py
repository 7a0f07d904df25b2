"""Reading activations: those of the bare model, with named dimensions."""

import numpy as np
import pytest
import torch
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError


def test_the_streams_of_the_bare_model():
    prompts = make_pairs((5, 7, 6), side="left").clean
    found = mc.read(loaded("gpt2"), prompts, ["resid_post", "L0.resid_pre"], batch_size=2)
    assert set(found) == {"L0.resid_post", "L1.resid_post", "L2.resid_post", "L0.resid_pre"}
    assert found.dims["L1.resid_post"] == ("prompt", "pos", "unit")
    for row, tokens in enumerate(prompts.real_tokens):
        hidden = bare("gpt2")(torch.tensor([tokens]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(found["L1.resid_post"][row, : len(tokens)], hidden[2][0], atol=1e-5, rtol=1e-5)
        assert found["L1.resid_post"][row, len(tokens) :].isnan().all()
        assert found.positions[row].tolist() == [*range(len(tokens)), *[-1] * (7 - len(tokens))]


@pytest.mark.parametrize("at", ["@-1", -1, 2, "@0:2"])
def test_positions(gpt2, at):
    prompts = make_pairs((5, 7)).clean
    whole, part = (mc.read(gpt2, prompts, "L1.z.H2", at=where)["L1.z.H2"] for where in (None, at))
    for row, length in enumerate((5, 7)):
        expected = {"@-1": whole[row, length - 1], -1: whole[row, length - 1], 2: whole[row, 2], "@0:2": whole[row, :2]}
        torch.testing.assert_close(part[row], expected[at])


def test_patterns_have_keys(gpt2):
    prompts = make_pairs((4, 6)).clean
    found = mc.read(gpt2, prompts, ["L1.pattern", "L1.pattern.H3"])
    assert found.dims["L1.pattern"] == ("prompt", "pos", "head", "key")
    assert found.dims["L1.pattern.H3"] == ("prompt", "pos", "key")
    torch.testing.assert_close(found["L1.pattern"][:, :, 3], found["L1.pattern.H3"], equal_nan=True)
    alone = bare("gpt2")(torch.tensor([prompts.real_tokens[0]]), output_attentions=True).attentions[1][0]
    torch.testing.assert_close(found["L1.pattern"][0, :4, :, :4], alone.transpose(0, 1), atol=1e-5, rtol=1e-5)
    assert found["L1.pattern"][0, 4:].isnan().all()
    assert found["L1.pattern"][0, :, :, 4:].isnan().all()


def test_the_table_holds_the_numbers(gpt2):
    prompts = make_pairs((4, 6)).clean
    found = mc.read(gpt2, prompts, ["L1.mlp_post.N3", "L0.z.H1"], at=[0, 3][1])
    frame = found.frame
    assert list(frame.columns[:2]) == ["site", "prompt"]
    neuron = frame[frame["site"] == "L1.mlp_post.N3"]
    np.testing.assert_allclose(neuron["value"], found["L1.mlp_post.N3"].numpy())
    wide = mc.read(gpt2, prompts, "L1.mlp_post.N3").frame
    assert len(wide) == 10  # no row for positions that are not there
    assert wide["pos"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]


def test_it_says_what_it_read(gpt2, pairs):
    assert str(mc.read(gpt2, pairs.clean, "L1.z", at=-1)) == "L1.z: prompt 6 x head 4 x unit 8"
    assert mc.read.cost(gpt2, pairs.clean, "z").forwards == 6
    assert mc.methods.read({"run": "read", "sites": "z", "at": -1}).at == -1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sites": "L9.z"}, "layer 9"), ({"sites": "zz"}, "no component called"), ({"at": 99}, "no prompt has"),
        ({"at": "@subject"}, "no position called"), ({"batch_size": 0}, "at least 1"), ({"sites": None}, "a site such"),
    ],
)  # fmt: skip
def test_bad_input(gpt2, pairs, options, said):
    with pytest.raises(MechcausalError, match=said):
        mc.read(gpt2, pairs.clean, **options)


def test_pairs_are_two_sets(gpt2, pairs):
    with pytest.raises(MechcausalError, match="a PromptSet"):
        mc.read(gpt2, pairs, "z")
    with pytest.raises(MechcausalError, match="was not read"):
        mc.read(gpt2, pairs.clean, "L1.z")["L2.z"]
