"""Who makes the source run: another model, or prompts of another length."""

import pytest
import torch
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.errors import MechcausalError
from mechcausal.models.sources import SourceRun, check_source


def test_positions_are_matched_in_their_order(gpt2):
    base, rows = make_pairs((7, 6)).clean, make_pairs((4, 5), seed=3).clean
    site, last = Site("resid_post", 1), Selection.parse("@-2:")
    values, run = SourceRun(at=last).recorded(gpt2, base, rows, [site])
    plain, expected = SourceRun().recorded(gpt2, rows, rows, [site])
    torch.testing.assert_close(run.logits, expected.logits)
    torch.testing.assert_close(values[site][base.select(last)], plain[site][rows.select(last)])
    assert values[site].shape == (2, 7, 32)
    assert not values[site][~base.select(last)].any()


def test_another_model_makes_the_run(gpt2, pairs):
    torch.manual_seed(1)
    other = build("gpt2")
    for parameter in other.parameters():
        parameter.copy_(parameter + 0.01 * torch.randn(parameter.shape))
    other = mc.load(other)
    site = Site("z", 1)
    ours, theirs = (SourceRun(model).recorded(gpt2, pairs.clean, pairs.clean, [site])[0] for model in (None, other))
    expected = other.original_model(pairs.clean.tokens).logits
    torch.testing.assert_close(SourceRun(other).recorded(gpt2, pairs.clean, pairs.clean, [])[1].logits, expected)
    assert (ours[site] - theirs[site]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("other", "site", "said"),
    [
        ("llama", "L1.v", "another shape in the source model"),
        ("hiring", "L3.z", r"has no L3\.z|another shape"),
        ("gpt2", "L1.resid_post.sae:own", "features belong to the weights of one model"),
    ],
)
def test_what_does_not_fit_is_refused(gpt2, hiring, other, site, said):
    model, other = (hiring, gpt2) if other == "hiring" else (gpt2, loaded(other))
    with pytest.raises(MechcausalError, match=said):
        check_source(model, other, [Site.parse(site)])


def test_a_pattern_cannot_be_taken_from_another_length(gpt2):
    base, rows = make_pairs((7, 6)).clean, make_pairs((4, 5)).clean
    with pytest.raises(MechcausalError, match="its keys are positions"):
        SourceRun(at=Selection.parse("@-1")).recorded(gpt2, base, rows, [Site("pattern", 1)])
