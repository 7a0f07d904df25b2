"""NaN and infinity in the logits are refused by every method and metric, also where a metric would not show them."""

import pytest
import torch
from zoo import build, make_pairs

import mechcausal as mc
from mechcausal.errors import NumericsError
from mechcausal.models import bridge

BROKEN = (
    18  # a token on which the model below computes NaN; no prompt has it, nor those by which abilities are measured
)


def right(logits, batch):
    return logits[torch.arange(len(batch)), batch.read_columns].argmax(-1) == batch.answer


def broken_at_a_token():
    model = mc.load(build("llama"))
    with torch.no_grad():
        bridge.underlying(model).get_input_embeddings().weight[BROKEN] = torch.nan
    return model


@pytest.fixture(scope="module")
def model():
    return broken_at_a_token()


@pytest.fixture
def broken(pairs):
    """Pairs of which one prompt holds the token."""
    pairs.clean.tokens[2, 3] = pairs.corrupt.tokens[2, 3] = BROKEN
    return pairs


@pytest.mark.parametrize("metric", ["accuracy", "logit_diff", right])
@pytest.mark.parametrize("exact", ["replay", "naive"])
def test_methods_refuse_logits_that_are_no_numbers(model, broken, metric, exact):
    for act in (
        lambda: mc.patch(model, broken, sites="L1.z", metric=metric, exact=exact),
        lambda: mc.ablate(model, broken, sites="L2.mlp_out", metric=metric, exact=exact),
        lambda: mc.measure(model, broken.clean, metric=metric),
        lambda: mc.path_patch(model, broken, senders="L0.z.H1", receivers="logits", metric=metric),
    ):
        with pytest.raises(NumericsError, match="NaN or infinity"):
            act()
    with pytest.raises(NumericsError, match="first in embed"):
        mc.measure(model, broken.clean, metric=metric)
    assert len(mc.patch(model, broken.take([0, 1]), sites="L1.z.H1", metric=metric, exact=exact)) > 0


def test_nothing_is_written_where_there_are_no_numbers(model, broken):
    with pytest.raises(NumericsError, match="first in embed"):
        mc.generate(model, broken.clean, tokens=2)


def test_sides_are_checked_where_the_cells_are_numbers(model):
    """A patch of the whole stream puts the NaN of one side out of sight, and its effect would be NaN."""
    pairs = make_pairs(changed=(3,))
    pairs.corrupt.tokens[:, 3] = BROKEN
    with pytest.raises(NumericsError, match="NaN or infinity"):
        mc.patch(model, pairs, sites="L0.resid_pre", at=3, metric="accuracy", exact="naive")


@pytest.mark.parametrize("act", [mc.lens, mc.discover, mc.patch], ids=["lens", "discover", "patch"])
def test_a_model_that_computes_no_numbers_is_not_said_to_lack_something(pairs, act):
    model = mc.load(build("llama"))
    with torch.no_grad():
        bridge.underlying(model).model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(NumericsError, match=r"first in L1\.mlp_post"):
        act(model, pairs)
