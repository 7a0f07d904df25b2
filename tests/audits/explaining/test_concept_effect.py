"""The effect of the pronoun from biographies as they are: the network's formula says it is 5, and swapping the pronoun too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.explaining import concept_effect, nuisances
from mechcausal.audits.explaining.concept_effect import DIFFERS, signs
from mechcausal.audits.explaining.double import double
from mechcausal.audits.explaining.observational import NO_OVERLAP
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.audits.selftest import biographies
from mechcausal.audits.selftest.biographies import GENDER, odds
from mechcausal.audits.selftest.observed import edited, of_medicine
from mechcausal.errors import ArgumentError, DataError

ADJUSTED, NAIVE, DO = (
    "adjusted, partially linear",
    "not adjusted: difference of the means",
    "do(): what the edit changes",
)


@pytest.fixture(scope="module")
def people():
    return biographies.draw(300, 0.9, seed=4)


@pytest.fixture(scope="module")
def pairs(people):
    return edited(people)


@pytest.fixture(scope="module", autouse=True)
def small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuisances, "_TREES", 8)
        yield


def asked(data, networks=0, **fields):
    question = audit.ConceptEffect(data, concept="pronoun", **fields)
    held = {name: value for name, value in question.sources.items() if value is not None}
    answer = question.answer(audit.Desk(biographies.model(), held, networks=networks, quiet=True))
    return answer, answer.table.set_index("what")["value"]


@pytest.fixture(scope="module")
def found(pairs):
    return asked(pairs, networks=3)


def test_the_adjusted_number_is_that_of_the_edit_and_the_naive_one_is_not(found, people):
    answer, table = found
    truth, he = 2 * GENDER, people.he
    assert answer.estimate.value == pytest.approx(truth, rel=0.05)
    assert answer.estimate.low <= truth <= answer.estimate.high
    assert table[ADJUSTED] == answer.estimate.value
    assert table[DO] == pytest.approx(truth, abs=1e-4)
    assert table[NAIVE] == pytest.approx(odds(people)[he].mean() - odds(people)[~he].mean(), abs=1e-3)
    assert table[NAIVE] / truth - 1 > 0.15
    assert answer.marks == {}
    assert table["share that an omitted cause must explain to leave nothing"] > 0.8


def test_all_three_numbers_are_said_and_drawn(found):
    answer, table = found
    for name in (ADJUSTED, NAIVE, DO):
        assert f"{table[name]:.3g}" in answer.says
    assert {bar.label for bar in answer.figures[0].rows} >= {ADJUSTED, NAIVE, DO}


def test_the_controls(found, people):
    random, learned, trivial = found[0].controls
    assert random.kind == "random"
    assert random.holds
    assert random.estimate.value < 1
    assert learned.kind == "no-learning"
    assert learned.guards
    assert trivial.estimate.value > 1  # the words tell the pronoun, and with it the answer


def test_a_concept_that_does_nothing(people):
    """The city is read by no answer; what goes along with it by chance is no effect."""
    prompts = replace(
        people.pairs(people.changed(he=~people.he), "pronoun").clean,
        variables={"pronoun": torch.as_tensor((people.city == "oslo") | (people.city == "graz")).int()},
    )
    answer, _ = asked(prompts, without=list(biographies.CITIES))
    assert answer.estimate.low < 0 < answer.estimate.high
    assert not answer.controls[0].holds


def test_the_units_are_those_of_the_estimate(found):
    answer = found[0]
    again = audit.Estimate.mean(np.array(answer.units), answer.unit_clusters)
    assert len(answer.units) == 300
    assert again.value == pytest.approx(answer.estimate.value)
    assert again.error == pytest.approx(answer.estimate.error)


def test_where_the_rest_gives_the_concept_away_no_number_is_given(pairs):
    answer, table = asked(pairs.clean)  # she and he are counted with the other words
    assert NO_OVERLAP in answer.marks
    assert "'he'" in answer.marks[NO_OVERLAP]
    assert np.isnan(answer.estimate.value)
    assert np.isnan(table[ADJUSTED])
    assert np.isfinite(table[NAIVE])
    assert answer.cannot_fail
    assert answer.units == ()
    report = audit.Plan([audit.ConceptEffect(pairs.clean, concept="pronoun", at_most=1)], networks=0).run(
        biographies.model(), quiet=True
    )
    assert report.findings[0].status == "inconclusive"
    assert NO_OVERLAP in report.findings[0].answer.marks


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_where_the_effect_differs_the_interactive_model_is_the_plain_mean_of_the_edit(seed):
    """The pronoun moves the log-odds of this organism by 2 to 21; the mean in which texts count alike is another one."""
    model = mc.load("organism:bios")
    pairs = of_medicine(model, seed=seed)
    desk = audit.Desk(model, {"data": pairs}, networks=0, quiet=True)
    clean, corrupt = desk.both(pairs)
    do = float(np.mean(np.where(pairs.clean.variables["pronoun"].numpy() == 1, 1, -1) * (clean - corrupt)))
    plain, weighted = (
        audit.ConceptEffect(pairs, concept="pronoun", model=name).answer(desk)
        for name in ("interactive", "partially_linear")
    )
    assert plain.estimate.low <= do <= plain.estimate.high
    assert plain.estimate.value == pytest.approx(do, rel=0.08)
    assert plain.marks == {}
    assert abs(weighted.estimate.value / do - 1) > 0.05


@pytest.mark.slow
def test_where_the_concept_is_certain_in_some_texts_there_is_no_mean_over_all(pairs, monkeypatch):
    def certain_in(share):
        def fitted(*arguments, **options):
            found = double(*arguments, **options)
            sure = np.arange(len(found.concept)) < share * len(found.concept)
            values = np.where(sure, found.concept, found.chance.values)
            return replace(found, chance=replace(found.chance, values=values))

        monkeypatch.setattr(concept_effect, "double", fitted)

    certain_in(0.1)
    answer, _ = asked(pairs, model="interactive", overlap=0.99)
    assert "in 10.0% of the texts, more than 5%" in answer.marks[NO_OVERLAP]
    assert np.isnan(answer.estimate.value)
    assert answer.cannot_fail
    assert np.isfinite(asked(pairs, overlap=0.99)[0].estimate.value)  # which leaves these texts out
    certain_in(0.04)
    assert np.isfinite(asked(pairs, model="interactive", overlap=0.99)[0].estimate.value)


def test_with_a_cause_left_out_the_edit_says_so(pairs):
    """Adjusted for the city alone the number stays as wrong as the naive one, and is marked."""
    answer, table = asked(_in_cities(pairs), words=False, columns=["group"])
    assert answer.estimate.value == pytest.approx(table[NAIVE], rel=0.05)
    assert DIFFERS in answer.marks
    assert "the edit is the reference" in answer.marks[DIFFERS]


def _in_cities(pairs):
    cities = tuple(text.split()[4] for text in pairs.clean.texts)
    return replace(pairs, clean=replace(pairs.clean, groups=cities), corrupt=replace(pairs.corrupt, groups=cities))


@pytest.mark.slow
def test_declared_columns_adjust_as_words_do(pairs, people):
    pointing = {f"w{place}": torch.as_tensor(people.words[:, place]) for place in range(3)}
    data = replace(pairs, clean=replace(pairs.clean, variables={**pairs.clean.variables, **pointing}))
    for model in ("partially_linear", "interactive"):
        answer, _ = asked(data, words=False, columns=sorted(pointing), model=model)
        assert answer.estimate.value == pytest.approx(2 * GENDER, rel=0.02)


def test_the_other_value_turns_the_sign(pairs, people):
    answer, table = asked(pairs.clean, pairs=pairs.take(list(range(40))), value="0")
    assert answer.estimate.value == pytest.approx(-2 * GENDER, rel=0.05)
    assert table[DO] == pytest.approx(-2 * GENDER, abs=1e-4)


def test_prompts_without_a_label_are_left_out_and_counted(pairs, people):
    labels = tuple(None if row < 20 else "he" if he else "she" for row, he in enumerate(people.he))
    prompts = replace(pairs.clean, labels=labels)
    question = audit.ConceptEffect(prompts, concept="label", value="he", without=["she", "he"])
    answer = question.answer(audit.Desk(biographies.model(), {"data": prompts}, networks=0, quiet=True))
    assert answer.dropped == (("prompts without a label", 20),)
    assert len(answer.examples) == 280


def test_which_side_has_the_value(pairs, people):
    assert signs(pairs, "pronoun", "1").tolist() == np.where(people.he, 1, -1).tolist()
    cities = _in_cities(pairs)
    assert signs(cities, "group", "oslo").tolist() == [
        1 if group == "oslo" else -1 for group in cities.clean.groups
    ]  # a column of the pair speaks of its clean prompt
    with pytest.raises(DataError, match="same on both sides of 300 of 300 pairs"):
        signs(replace(pairs, corrupt=replace(pairs.corrupt, variables=pairs.clean.variables)), "pronoun", "1")


def problems(data, **fields):
    fields = {"concept": "pronoun", **fields}
    return audit.Plan([audit.ConceptEffect(data, **fields)]).problems(biographies.model())


def test_what_is_wrong_is_said_before_the_run(pairs, people):
    prompts = pairs.clean
    few = prompts.take(np.flatnonzero(people.he)[:60].tolist() + np.flatnonzero(~people.he)[:3].tolist())
    for said, got in {
        "are all 1": problems(prompts.take(np.flatnonzero(people.he).tolist())),
        "no variable or column 'pronuon'": problems(prompts, concept="pronuon"),
        "are all missing": problems(replace(prompts, labels=(None,) * 300), concept="label"),
        "has 4 values": problems(_in_cities(pairs), concept="group"),
        "has no value '2'": problems(prompts, value="2"),
        "is in 3 clusters of 'data_1', and 8 are needed": problems(few),
        "nothing to adjust for": problems(prompts, words=False),
        "stands among the columns": problems(prompts, columns=["pronoun"]),
        "no variable or column 'job'": problems(prompts, columns=["job"]),
        "pairs must hold pairs": problems(prompts, pairs=prompts),
        "same on both sides": problems(prompts, pairs=replace(pairs, corrupt=replace(pairs.corrupt, variables=prompts.variables))),
    }.items():  # fmt: skip
        assert len(got) == 1, (said, got)
        assert said in got[0]
        assert len(got[0]) < 400
    with pytest.raises(PlanError, match="all 1"):
        audit.Plan([audit.ConceptEffect(prompts.take(np.flatnonzero(people.he).tolist()), concept="pronoun")]).run(
            biographies.model()
        )


@pytest.mark.parametrize(
    "wrong", [{"concept": 3}, {"overlap": 1.0}, {"folds": 1}, {"model": "linear"}, {"columns": "job"}]
)
def test_what_no_question_is(pairs, wrong):
    with pytest.raises(ArgumentError) as refused:
        audit.ConceptEffect(pairs, **{"concept": "pronoun", **wrong})
    assert len(str(refused.value)) < 400


def test_in_a_file_it_is_a_table():
    plan = plan_of(
        {
            "data": {"texts": {"task": "bios", "n": 40, "answer": "surgeon", "foil": "nurse"}, "swaps": {"contrast": "bios/pronoun", "n": 20}},
            "question": [{"ask": "concept_effect", "data": "texts", "pairs": "swaps", "concept": "pronoun", "columns": ["field"]}],
        }
    )  # fmt: skip
    assert plan.questions[0].pairs == "swaps"
    assert plan.questions[0].model == "partially_linear"
    model = mc.load("organism:bios")
    assert plan.problems(model) == []
    assert plan.cost(model).forwards["EXPL-1"] == 40 + plan.networks * 40 + 2 * 20
