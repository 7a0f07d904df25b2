"""Dictionaries are attached where they say they belong, under a name, and nothing else is taken for one."""

import pytest
import torch

import mechcausal as mc
from mechcausal.dictionaries import folder
from mechcausal.errors import ArgumentError, DataError, ModelError
from mechcausal.models.attached import attached, detach


@pytest.fixture
def saved(tmp_path):
    draw = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (48, 20), "W_dec": (20, 48), "b_enc": (20,), "b_dec": (48,)}
    weights = {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
    config = {"architecture": "standard", "d_in": 48, "d_sae": 20}
    return folder.write(tmp_path / "my sae", config, weights, {"site": "L1.resid_post"})


def test_the_one_that_ships_is_found_by_the_name_of_the_organism(hiring):
    bound = mc.features.load(hiring, "organism:hiring")
    assert (bound.name, str(bound.site), bound.n_features) == ("hiring", "L1.resid_post", 256)
    assert attached(hiring)["hiring"] is bound
    detach(hiring, "hiring")


def test_decoder_rows_have_length_one_unless_asked_otherwise(hiring, saved):
    folded = mc.features.load(hiring, saved)
    assert folded.name == "my-sae"
    plain = mc.features.load(hiring, saved, name="plain", fold=False)
    torch.testing.assert_close(folded.W_dec.norm(dim=-1), torch.ones(20))
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(folded.decode(folded.encode(x)), plain.decode(plain.encode(x)), rtol=1e-4, atol=1e-4)
    for name in ("my-sae", "plain"):
        detach(hiring, name)


def test_what_is_refused(hiring, saved):
    with pytest.raises(
        ModelError, match=r"'hiring' is no folder of a dictionary: the one that ships: \"organism:hiring\""
    ):
        mc.features.load(hiring, "hiring")
    with pytest.raises(DataError, match=r"another site \(got L2.resid_post; expected L1.resid_post\)"):
        mc.features.load(hiring, saved, site="L2.resid_post")
    with pytest.raises(ModelError, match="no dictionary ships with organism:by_hand"):
        mc.features.load(hiring, "organism:by_hand")
    with pytest.raises(ArgumentError, match=r"model from mc\.load"):
        mc.features.load("organism:hiring", hiring)
