"""Sites crossed with positions: what is chosen where nothing is said, labels, and what is refused."""

import pytest
import torch

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data import PromptSet, pad
from mechcausal.data.places import places, plain, position_label
from mechcausal.errors import SiteError

STREAM, HEAD, NEURON = (Site.parse(text) for text in ("L0.resid_post", "L0.z.H1", "L0.mlp_post.N2"))
PROMPTS = PromptSet(*pad([[1, 2, 3], [4, 5, 6]]), positions={"name": torch.tensor([1, 1])})


def test_streams_get_each_position_and_parts_get_all_at_once():
    assert [str(place.at) for place in places([STREAM], None, PROMPTS)] == ["@0", "@1", "@2"]
    assert [str(place.at) for place in places([HEAD, NEURON], None, PROMPTS)] == ["@all", "@all"]
    assert [place.label for place in places([HEAD], "each", PROMPTS)] == ["0", "1 name", "2"]


def test_a_row_says_where_it_is():
    (place,) = places([NEURON], [-1], PROMPTS)
    row = place.row()
    assert (row["site"], row["component"], row["layer"], row["neuron"]) == ("L0.mlp_post.N2", "mlp_post", 0, 2)
    assert (row["at"], row["position"], row["label"]) == ("@-1", -1, "-1")


def test_what_is_refused():
    with pytest.raises(SiteError, match=r"L0\.resid_post@1 is asked for twice"):
        places([STREAM, STREAM], [1], PROMPTS)
    with pytest.raises(SiteError, match="asked for twice"):
        places([HEAD], [0, "@0"], PROMPTS)
    with pytest.raises(SiteError, match="no prompt has the position @7"):
        places([HEAD], 7, PROMPTS)
    with pytest.raises(SiteError, match="list of positions is empty"):
        places([HEAD], [], PROMPTS)


def test_a_name_is_shown_where_all_prompts_agree():
    assert position_label(1, PROMPTS) == "1 name"
    assert position_label(0, PROMPTS) == "0"
    uneven = PromptSet(*pad([[1, 2], [4, 5, 6]]), positions={"name": torch.tensor([1, 1])})
    assert position_label(1, uneven) == "1"


def test_what_was_asked_for_is_written_as_plain_data():
    assert plain([STREAM, -1, slice(1, 3), None]) == ["L0.resid_post", -1, "@1:3", None]


def test_a_position_is_called_by_the_token_that_all_prompts_have_there():
    model = mc.load("organism:by_hand")
    prompts = PromptSet.from_text(model, ["he low ask", "he high ask"])
    labels = [position_label(index, prompts) for index in range(4)]
    assert labels == ["0", "1 he", "2", "3 ask"]
    assert [position_label(index, prompts.take([1])) for index in (1, 2)] == ["1 he", "2 high"]
