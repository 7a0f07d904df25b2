import numpy as np
import pytest
import torch
from biographies import PRONOUN_HEAD, draw, model, odds

from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.errors import ArgumentError


@pytest.fixture
def desk():
    return Desk(model(), {})


def test_nothing_is_nothing(desk):
    treatment = audit.Unchanged().made(desk)
    assert (treatment.edits, treatment.rewrite, treatment.runner, treatment.model) == ((), None, None, None)
    assert not audit.Unchanged().control


def test_random_sites_are_as_many_and_not_those_of_the_mitigation(desk):
    seen = set()
    for seed in range(12):
        edits = audit.RandomSites(sites="z", n=2, but=PRONOUN_HEAD, to="zero", seed=seed).made(desk).edits
        sites = {str(edit.site) for edit in edits}
        assert len(sites) == 2
        assert PRONOUN_HEAD not in sites
        seen |= sites
    assert seen == {f"L0.z.H{head}" for head in range(1, 6)}
    again = audit.RandomSites(sites="z", n=2, but=PRONOUN_HEAD, to="zero", seed=11).made(desk).edits
    assert again == edits
    assert audit.RandomSites(sites="z").control


def test_random_directions_take_away_as_many_dimensions(desk):
    edits = audit.RandomDirections(sites="resid_post", n=3, at="@-1").made(desk).edits
    assert [str(edit.site) for edit in edits] == ["L0.resid_post"]
    assert int(torch.linalg.matrix_rank(torch.tensor(edits[0].do.directions))) == 3
    assert str(edits[0].at) == "@-1"


def test_the_mean_stays_where_data_are_given(desk):
    people = draw(20)
    prompts = people.prompts()
    control = audit.RandomDirections(sites="L0.resid_post", n=64, at="@-1", data=prompts)
    with control.applied(desk) as edited:
        got = edited.outcomes(prompts) * np.where(people.senior, 1, -1)
    # All directions are taken out, so everybody is the mean of all.
    assert got == pytest.approx(np.full(20, odds(people).mean()), abs=1e-4)
    with audit.RandomDirections(sites="L0.resid_post", n=64, at="@-1").applied(desk) as edited:
        assert edited.outcomes(prompts) == pytest.approx(np.zeros(20), abs=1e-4)


def test_too_few_to_draw_from(desk):
    with pytest.raises(ArgumentError, match="too few sites to draw from"):
        audit.RandomSites(sites="z", n=6, but=PRONOUN_HEAD, to="zero").made(desk)
