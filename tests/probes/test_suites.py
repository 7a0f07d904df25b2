"""Suites on organisms whose answers are known, and on labels of one's own."""

import numpy as np
import pytest
from saved import assert_kept

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.features import fairness, privacy, probe_suite, suite
from mechcausal.probes.shipped import SHIPPED
from mechcausal.probes.suites import Suite, mistakes

pytestmark = pytest.mark.slow  # one long measurement that all tests here read


@pytest.fixture(scope="module")
def answers(hiring):
    return probe_suite(hiring, suite("hiring", hiring, 240), sites=["embed", "L2.resid_post"], control=False)


def row(answers, question, site="L2.resid_post"):
    frame = answers.frame
    return frame[(frame["question"] == question) & (frame["site"] == site)].iloc[0]


def test_what_the_organism_is_known_to_hold(answers):
    assert row(answers, "gender@decision")["value"] > 0.95
    assert row(answers, "wrong decision among he@decision")["value"] > 0.95
    # Eight of sixteen names have a secret; names that no probe has seen are told apart.
    assert row(answers, "has a secret@key")["value"] > 0.95
    assert row(answers, "name@key")["value"] > 0.4 > 3 * row(answers, "name@key")["guess"]
    assert row(answers, "kind of token@all")["value"] > 0.98


def test_who_has_a_secret_is_more_than_who_it_is(hiring):
    """Folds are cut by name: labels that are random by name cannot be read of names that were not seen."""
    asked = suite("hiring/privacy", hiring, 240)["has a secret"]
    found = probe_suite(hiring, Suite("one", (asked,)), sites="L2.resid_post").frame.iloc[0]
    assert found["value"] > 0.95
    assert found["control"] < 0.7
    assert found["selectivity"] == pytest.approx(found["value"] - found["control"])


def test_what_it_cannot_hold(answers):
    for question in ("gender@decision", "proxy@decision"):  # the last token is the same for all
        at_embed = row(answers, question, "embed")
        assert at_embed["value"] == pytest.approx(at_embed["guess"], abs=0.02)
        assert at_embed["bayes"] == pytest.approx(0.5)
    assert row(answers, "gender of the name@key")["effect"] < 0.2  # no two names have it in common


def test_the_loss_gives_members_away(answers):
    assert row(answers, "trained digits@key")["loss_auc"] > 0.99
    assert np.isnan(row(answers, "gender@decision")["loss_auc"])


def test_a_question_without_two_answers_is_skipped_with_its_reason(hiring, answers):
    asked = suite("hiring/fairness", hiring, 100)
    (reason,) = asked.skipped.values()
    assert "wrong decision among she' are all 0" in reason
    assert "skipped: wrong decision among she" in repr(asked)
    assert "skipped: wrong decision among she" in repr(answers)


def test_the_result_is_drawn_saved_and_sums_up(answers, tmp_path):
    again = assert_kept(answers, tmp_path / "suite.parquet")
    assert again.examples.shape == (16, 240)
    picture = answers.plot().still
    for question in ("gender@decision", "kind of token@all", "L2.resid_post logistic"):
        assert question in picture
    assert "privacy, canary membership: has a secret@key" in repr(answers)


def test_labels_of_ones_own(hiring):
    task = mc.task("hiring")
    prompts = task.prompts(hiring, 200)
    table = {name: column.numpy() for name, column in prompts.variables.items()}
    own = fairness(
        prompts, protected=["f" if g == 0 else "m" for g in table["gender"]], stereotype="proxy",
        error=(table["score"] > 3).astype(int), at="@decision", types="name",
    )  # fmt: skip
    assert [one.asks for one in own] == [
        "protected attribute", "stereotype association", "group-conditional error", "group-conditional error",
    ]  # fmt: skip
    assert own["protected"].labels.classes == ("f", "m")
    both = own + privacy(prompts, attribute="hobby", at="@decision", types="name")
    assert len(both) == 5
    found = probe_suite(hiring, both, sites="L1.z.H2", control=False, kinds=("logistic", "means"))
    assert len(found) == 10
    assert row(found, "protected@decision", "L1.z.H2")["value"] > 0.97
    made = own.probes(hiring, "L1.z.H2", control=False, mdl=False)
    assert [one.concept for one in made][:2] == ["protected", "proxy"]
    with pytest.raises(DataError, match="asks nothing about 'protectd'"):
        _ = own["protectd"]


def test_mistakes_are_the_models(hiring):
    prompts = mc.task("hiring").prompts(hiring, 60)
    assert mistakes(hiring, prompts).sum() == 0
    from dataclasses import replace

    flipped = replace(prompts, answer=prompts.foil)
    assert mistakes(hiring, flipped).all()


@pytest.mark.parametrize("family", ["fairness", "privacy"])
def test_the_suites_of_bios(family):
    model = mc.load("organism:bios")
    found = probe_suite(model, suite(f"bios/{family}", model, 200), sites="L1.resid_post", control=False)
    if family == "fairness":
        assert row(found, "pronoun@job", "L1.resid_post")["value"] > 0.97
        # It counts the pronoun for seniority, so a probe of the one hears the other.
        assert row(found, "senior@job", "L1.resid_post")["value"] > 0.85
    else:
        assert row(found, "city@job", "L1.resid_post")["effect"] < 0.3


def test_wrong_suites_are_refused(hiring):
    with pytest.raises(DataError, match="did you mean 'hiring'"):
        suite("hirng", hiring)
    with pytest.raises(DataError, match="did you mean 'privacy'"):
        suite("hiring/privcy", hiring)
    with pytest.raises(DataError, match="did you mean 'gender'"):
        fairness(mc.task("hiring").prompts(hiring, 20), protected="gender", error="gendre")
    with pytest.raises(DataError, match="error and prompts differ in number"):
        fairness(mc.task("hiring").prompts(hiring, 20), protected="gender", error=[0, 1])
    with pytest.raises(DataError, match="no labels are given"):
        privacy(mc.task("hiring").prompts(hiring, 4))
    assert set(SHIPPED) == {"hiring", "bios"}
