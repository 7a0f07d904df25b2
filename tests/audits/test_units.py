"""Questions that give a number for each unit: its mean is the estimate, and it has the estimate's uncertainty."""

import numpy as np
import pytest
from biographies import draw, model

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.accuracy.accuracy import Accuracy
from mechcausal.audits.accuracy.calibration import Calibration
from mechcausal.audits.behavior.generated import Generated
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.explaining.concept_effect import ConceptEffect
from mechcausal.audits.fairness.entity_swaps import EntitySwaps
from mechcausal.audits.fairness.group_gaps import GroupGaps
from mechcausal.audits.invariance.selective import SelectiveInvariance
from mechcausal.audits.mitigation.sweep import difference, paired
from mechcausal.audits.robustness.environments import Environments
from mechcausal.audits.robustness.irrelevant import Irrelevant
from mechcausal.audits.robustness.worst_group import WorstGroup


@pytest.fixture(scope="module")
def people():
    return draw(120, seed=7)


def questions(people):
    names = [f"city {city}" for city in people.city]
    prompts, pairs = people.prompts(clusters=names), people.pairs(people.changed(he=~people.he), "gender")
    one_answer = mc.PromptSet.from_text(
        model(), people.texts, answer="senior", foil="junior", groups=["he" if g else "she" for g in people.he]
    )
    return [
        audit.Flips(pairs),
        Accuracy(prompts, against="foil"),
        WorstGroup(people.prompts(), against="foil"),
        SelectiveInvariance(prompts, must_stay=["swap pronoun"]),
        EntitySwaps(pairs),
        Irrelevant(prompts, positions=["city"]),
        Generated(prompts, words=["senior"], tokens=1),
        GroupGaps(one_answer),
        ConceptEffect(one_answer, concept="group", without=["he", "she"]),
    ]


@pytest.mark.parametrize("number", range(9))
def test_the_units_are_those_of_the_estimate(people, number):
    question = questions(people)[number]
    answer = question.answer(Desk(model(), {"data": question.data}, networks=0, quiet=True))
    assert len(answer.units) == len(question.data)
    again = Estimate.mean(np.array(answer.units), answer.unit_clusters)
    assert again.value == pytest.approx(answer.estimate.value)
    assert again.n_clusters == answer.estimate.n_clusters or isinstance(question, WorstGroup)
    if np.isfinite(answer.estimate.error):  # the interval of the largest of several has no single error
        assert again.error == pytest.approx(answer.estimate.error)
    elif isinstance(question, WorstGroup):
        worst = np.array([name == answer.examples[0]["group"] for name in question.data.groups])
        right = np.array(answer.units)[worst]
        assert again.error == pytest.approx(Estimate.mean(right).error * worst.mean(), rel=0.1)


def of_several_parts():
    """Return questions whose number is of a part of the data, and what else they hold."""
    people = draw(240, seed=9)
    prompts = people.prompts(clusters=[f"template {number // 4}" for number in range(240)])
    pairs = [people.pairs(people.changed(he=~people.he), name) for name in ("gender", "again")]
    cities = mc.PromptSet.from_text(model(), people.texts, answer="senior", foil="junior", groups=list(people.city))
    others = {"second": draw(80, 0.9, seed=10).prompts(), "third": draw(60, 0.1, seed=11).prompts()}
    return [
        (Environments(prompts, environments=others, against="foil"), {f"environments.{name}": each for name, each in others.items()}, 380),
        (Calibration(prompts, against="foil"), {}, 240),
        (GroupGaps(cities), {}, 120),
        (EntitySwaps(pairs[0], neutral=pairs[1].take(range(60))), {"neutral": pairs[1].take(range(60))}, 300),
        (SelectiveInvariance(prompts, must_stay=["swap city", "permute"]), {}, 480),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(5))
def test_units_of_a_part_stand_for_all_of_the_data(number):
    """So that they are the same units in another model, also where another part is the worst there."""
    question, held, count = of_several_parts()[number]
    answer = question.answer(Desk(model(), {"data": question.data, **held}, networks=0, quiet=True))
    units = Estimate.mean(np.array(answer.units), answer.unit_clusters)
    assert units.n == count
    assert units.value == pytest.approx(answer.estimate.value)
    assert units.error == pytest.approx(answer.estimate.error, rel=0.05)
    assert answer.estimate.error > 0
    assert difference(answer, answer)[0].value == 0
    assert paired(answer, answer)
