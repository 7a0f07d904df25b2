import numpy as np
import pytest
import torch
from biographies import GENDER, WEIGHTS, coded, draw, model, odds, population

from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.erasing import BIASED, _biased, _left
from mechcausal.errors import ArgumentError
from mechcausal.probes.erasure import Erasing, Guarding
from mechcausal.probes.erasure.erasing import Correlation

WHERE = {"labels": "gender", "sites": "L0.resid_post", "at": "@-1", "guard": False}


def effect(edited, people):
    """Return the mean total effect of he against she on the log-odds of senior."""
    clean, corrupt = edited.both(people.pairs(people.changed(he=~people.he), "gender"))
    return float(np.mean((clean - corrupt) * (2 * people.he.astype(int) - 1)))


def test_an_erasure_that_is_fitted_to_a_biased_world_turns_the_effect_around():
    people, desk = population(), Desk(model(), {})
    assert effect(desk, people) == pytest.approx(2 * GENDER, abs=1e-5)
    with audit.Erase(**WHERE, data=coded()).applied(desk) as edited:
        assert effect(edited, people) == pytest.approx(0, abs=1e-4)
    biased = audit.Erase(**WHERE, data=draw(400, 0.95, seed=1).prompts())
    with biased.applied(desk) as edited:
        # In the fit set the words' sum goes with the pronoun: E[S g] = 0.9 x 0.4 x 2.2, and that is taken off.
        assert effect(edited, people) == pytest.approx(-2 * 0.9 * 0.4 * sum(WEIGHTS), abs=0.3)
    assert list(biased.treatment(desk).notes) == ["biased fit"]


def test_a_share_of_an_erasure():
    people, desk = draw(40), Desk(model(), {})
    with audit.Erase(**WHERE, data=coded(), share=0.5).applied(desk) as edited:
        got = edited.outcomes(people.prompts()) * np.where(people.senior, 1, -1)
    assert got == pytest.approx(odds(people, 0.5), abs=1e-3)


def test_from_where_on_a_fit_is_called_biased():
    class Erasure:
        concept = "gender"

    for v, marked in ((None, False), (BIASED, False), (BIASED + 0.01, True)):
        Erasure.correlation = None if v is None else Correlation("the label", v, 0.5)
        assert bool(_biased(Erasure)) is marked


def test_one_dose_is_the_way_from_one_side_to_the_other():
    people, desk = draw(40), Desk(model(), {})
    he, she = people.changed(he=np.ones(40, bool)), people.changed(he=np.zeros(40, bool))
    steer = audit.Steer(site="L0.resid_post", dose=1, at="@-1", data=he.pairs(she, "gender"))
    with steer.applied(desk) as edited:
        got = edited.outcomes(she.prompts()) * np.where(she.senior, 1, -1)
    assert got == pytest.approx(odds(he), abs=1e-5)
    numbers = audit.Steer(
        site="L0.resid_post", dose=-2, vector=torch.eye(64)[10], at="@-1", data=he.pairs(she, "gender")
    )
    with numbers.applied(desk) as edited:
        got = edited.outcomes(he.prompts()) * np.where(he.senior, 1, -1)
    assert got == pytest.approx(odds(she), abs=1e-5)


def test_what_is_missing_is_said():
    desk = Desk(model(), {})
    with pytest.raises(ArgumentError, match="needs data= to which the erasure is fitted"):
        audit.Erase(labels="gender").made(desk)
    with pytest.raises(ArgumentError, match="is estimated on pairs"):
        audit.Steer(site="L0.resid_post", data=draw(8).prompts()).made(desk)


def test_a6_what_probes_read_after_the_erasure():
    erasure = Erasing(labels="gender", sites="L0.resid_post", at="@-1").run(model(), coded())
    frame = Guarding(kinds=("logistic", "quadratic")).run(model(), erasure).frame.set_index("kind")
    assert frame.loc["logistic", "before"] > 0.95
    assert frame.loc["logistic", "value"] < frame.loc["logistic", "guess"] + 0.03
    assert frame.loc["quadratic", "value"] > 0.7
    assert list(_left(Desk(model(), {}), erasure)) == ["leak (nonlinear)"]
