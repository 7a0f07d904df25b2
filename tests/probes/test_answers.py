"""Answers to suites: the association of a stereotype, questions about numbers, and what it would cost."""

from dataclasses import replace

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.features import privacy, probe_suite
from mechcausal.probes.answers import association
from mechcausal.probes.suites import Suite
from mechcausal.results.multiplicity import benjamini_hochberg


def test_association_is_the_slope_within_groups():
    draw = np.random.default_rng(0)
    group = draw.integers(0, 2, 4000)
    trait = (draw.random(4000) < 0.2 + 0.6 * group).astype(int)
    clusters = np.arange(4000)
    noise = draw.normal(size=4000)
    # The group alone moves the log-odds: a trait that goes with it is not taken for it.
    fair = association(3 * group + noise, trait, group, clusters)
    assert fair.low < 0 < fair.high
    biased = association(3 * group + 1.5 * trait + noise, trait, group, clusters)
    assert biased.low < 1.5 < biased.high
    assert biased.low > 1.3
    unknown = np.where(draw.random(4000) < 0.5, -1, trait)
    assert association(3 * group + 1.5 * trait + noise, unknown, group, clusters).estimate == pytest.approx(
        1.5, abs=0.15
    )


@pytest.mark.slow
def test_a_question_about_a_number_is_answered_by_ridge_beside_one_about_classes(hiring):
    prompts = mc.task("hiring").prompts(hiring, 160)
    merit = prompts.variables["merit"].numpy() + 0.5
    asked = privacy(prompts, attribute=merit, identity="gender", at="@decision", types="name")
    frame = probe_suite(hiring, asked, sites="L1.resid_post", control=False).frame.set_index("question")
    assert frame.loc["attribute@decision", "kind"] == "ridge"
    assert frame.loc["attribute@decision", "r2"] > 0.8
    assert frame.loc["gender@decision", "kind"] == "logistic"
    assert frame.loc["gender@decision", "accuracy"] > 0.9
    assert np.isnan(frame.loc["gender@decision", "r2"])
    np.testing.assert_allclose(frame["q"], benjamini_hochberg(frame["p"]))  # over both questions
    alone = probe_suite(
        hiring, privacy(prompts, identity="gender", at="@decision"), sites="L1.resid_post", control=False
    )
    assert frame.loc["gender@decision", "p_max"] == pytest.approx(2 * alone.frame["p_max"].item())
    cost = probe_suite.cost(hiring, asked, sites=["embed", "L1.resid_post"], kinds=["logistic", "means"])
    assert cost.cells == 2 * (1 + 2)
    assert cost.forwards == 2 * 160


def test_templates_of_any_question_are_said(hiring):
    declared = mc.task("hiring").prompts(hiring, 40)
    bare = replace(declared, clusters=())
    ask = lambda prompts: privacy(prompts, identity="gender", at="@decision").questions  # noqa: E731
    both = probe_suite(hiring, Suite("both", ask(declared) + ask(bare)), sites="L1.resid_post", control=False)
    assert "note: no clusters are declared, but the 40 texts look like" in both.summary()
    told = probe_suite(hiring, Suite("told", ask(declared)), sites="L1.resid_post", control=False)
    assert "no clusters are declared" not in told.summary()


def test_nothing_to_answer_is_refused(hiring):
    with pytest.raises(DataError, match="nothing to answer"):
        probe_suite(hiring, Suite("empty", ()))
