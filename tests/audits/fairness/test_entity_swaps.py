"""Entity swaps: a planted entity against the plain numbers, names that mean nothing, wrong input."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of


def swapped(model, slot, pairs_of_words, **columns):
    """Return applications in which one word stands in place of another; the template is the degree and the experience."""
    forms = [f"{degree} {years}" for degree in ("nodegree", "bachelor", "master") for years in ("0y", "1y", "2y", "3y")]
    sides, clusters = ([], []), []
    for form in forms:
        for words in pairs_of_words:
            for side, word in zip(sides, words, strict=True):
                filled = {"name": "adam", "hobby": "golf", slot: word}
                side.append(f"<app> he {filled['name']} {form} {filled['hobby']} <dec>")
            clusters.append(form)
    return mc.Contrast.from_text(
        model, *sides, answer="accept", foil="reject", clusters=clusters, factor=slot,
        groups=["all"] * len(clusters), **columns,
    )  # fmt: skip


@pytest.fixture(scope="module")
def hobbies(hiring):
    """The planted entity: a male-typed hobby raises the score by two."""
    return swapped(hiring, "hobby", [("golf", "ballet"), ("boxing", "knitting"), ("ballet", "golf")])


@pytest.fixture(scope="module")
def names(hiring):
    """Names that the decision does not depend on."""
    return swapped(hiring, "name", [("adam", "boris"), ("carl", "david"), ("emil", "felix")])


def asked(question, model, networks=0):
    return audit.Plan([question], networks=networks).run(model, quiet=True)["FAIR-1"]


def test_a_planted_entity_moves_more_than_random_names(hiring, hobbies, names):
    finding = asked(audit.EntitySwaps(hobbies, neutral=names, at_most=1.0), hiring, networks=8)
    shifts = [
        np.abs(
            np.subtract(*(mc.measure(hiring, side, "logit_diff").examples[0] for side in (pairs.clean, pairs.corrupt)))
        )
        for pairs in (hobbies, names)
    ]
    table = finding.answer.table.set_index("measure")["value"]
    assert table["entities, mean size"] == pytest.approx(shifts[0].mean(), rel=1e-5)
    assert table["random names, mean size"] == pytest.approx(shifts[1].mean(), rel=1e-5)
    assert finding.estimate.value == pytest.approx(shifts[0].mean() - shifts[1].mean(), rel=1e-5)
    assert finding.status == "fail"
    assert finding.answer.controls[0].holds
    assert finding.answer.controls[1].holds
    assert abs(table["entities, mean with its sign"]) < table["entities, mean size"]


def test_names_that_mean_nothing_do_not_fail(hiring, names):
    half = len(names) // 2
    question = audit.EntitySwaps(names.take(slice(0, half)), neutral=names.take(slice(half, len(names))), at_most=0.0)
    finding = asked(question, hiring)
    assert finding.status != "fail"
    alone = asked(audit.EntitySwaps(names), hiring)
    assert "no swaps of random names" in alone.answer.controls[0].says


def test_what_is_wrong_is_said(hobbies):
    question = audit.EntitySwaps("p", neutral="q")
    assert "holds no pairs" in " ".join(question.problems({"data": hobbies, "neutral": hobbies.clean}))
    assert "asked of pairs" in " ".join(question.problems({"data": hobbies.clean, "neutral": hobbies}))
    assert not list(question.problems({"data": hobbies, "neutral": hobbies}))


def test_a_plan_with_it_is_written_and_read_back():
    table = {"ask": "entity_swaps", "data": "x", "neutral": "y"}
    data = {"x": {"pairs": "own.csv"}, "y": {"pairs": "names.csv"}}
    plan = plan_of({"data": data, "question": [table]})
    assert plan_of(plan.to_json()).questions == plan.questions
    assert plan.questions[0].sources == {"data": "x", "neutral": "y"}
