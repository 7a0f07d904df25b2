import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Place, Site
from mechcausal.causal.hypothesis import Hypothesis, column_of, complement, same_kind, table_of
from mechcausal.data.scm import SCM
from mechcausal.errors import DataError, MechcausalError, SiteError
from mechcausal.models.abilities import abilities

SCORE = {"merit": "L1.z.H0@decision", "score": "L2.mlp_out@decision"}


@pytest.fixture(scope="module")
def scm():
    return mc.task("hiring").scm


# Hypotheses


def test_parents_are_found_through_what_has_no_place(scm):
    full = Hypothesis.of("hiring")
    assert full.variables == ("merit", "proxy", "bias", "score")
    assert full.parents("decision") == ("score",)
    assert full.parents("score") == ("merit", "proxy", "bias")
    assert full.parents("merit") == ()
    inputs = Hypothesis(scm, {"gender": "embed@gender", "score": "L2.mlp_out@decision"}, outcome="decision")
    assert inputs.parents("score") == ("gender",)  # through bias, and through hobby and proxy
    assert full.without("score").parents("decision") == ("merit", "proxy", "bias")


def test_variables_come_causes_first_whatever_order_they_are_given_in(scm):
    assert Hypothesis(scm, dict(reversed(SCORE.items()))).variables == ("merit", "score")


def test_the_outcome_is_the_one_last_variable_that_has_words(scm):
    assert (
        Hypothesis(scm, SCORE).outcome == "decision"
    )  # nothing reads the name either, but the score has no part in it
    with pytest.raises(DataError, match="2 last variables"):
        Hypothesis(scm, {"gender": "embed"})
    two = SCM(
        "two",
        noise={"u": 2},
        mechanisms={"a": lambda u: u, "b": lambda u: 1 - u},
        values={"a": ("no", "yes"), "b": ("no", "yes")},
    )
    with pytest.raises(DataError, match="2 last variables"):
        Hypothesis(two, {"u": "embed"})
    assert Hypothesis(two, {"u": "embed"}, outcome="b").outcome == "b"


def test_answers_are_the_counterfactuals_of_the_causal_model(scm):
    table = scm.sample(500, 3)
    hypothesis = Hypothesis.of("hiring")
    score = np.random.default_rng(0).integers(0, 9, 500)
    expected = (score >= 3).astype(int) + (score >= 5)
    np.testing.assert_array_equal(hypothesis.answers(table, score=score), expected)
    proxy = 1 - table["proxy"]
    moved = table["merit"] + 2 * proxy + table["bias"]
    np.testing.assert_array_equal(hypothesis.answers(table, proxy=proxy), (moved >= 3).astype(int) + (moved >= 5))
    np.testing.assert_array_equal(hypothesis.answers(table), table["decision"])


def test_changes_leave_the_hypothesis_as_it_was(scm):
    edges = {("merit", "score"): "direct", ("score", "decision"): "direct"}
    first = Hypothesis(scm, SCORE, edges=edges)
    assert first.edge("merit", "score") == "direct"
    fewer = first.without("merit")
    assert fewer.variables == ("score",)
    assert fewer.edges == {("score", "decision"): "direct"}
    moved = first.moved("merit", "L0.z.H3@decision")
    assert str(moved.alignment["merit"][0]) == "L0.z.H3@decision"
    assert moved.edges == edges
    assert first.variables == ("merit", "score")
    assert str(first.alignment["merit"][0]) == "L1.z.H0@decision"
    with pytest.raises(DataError, match="no variable of the hypothesis has a place"):
        fewer.without("score")
    assert repr(first) == "Hypothesis('hiring', merit: L1.z.H0@decision, score: L2.mlp_out@decision -> decision)"


@pytest.mark.parametrize(
    ("alignment", "options", "message"),
    [
        ({}, {"outcome": "decision"}, "no variable of the hypothesis has a place"),
        ({"merrit": "L1.z.H0"}, {}, "did you mean 'merit'"),
        ({"decision": "L1.z.H0"}, {"outcome": "decision"}, "is the outcome"),
        ({"score": []}, {}, "aligned to no place"),
        ({"score": "logits"}, {}, "the logits are the outcome's"),
        ({"score": "L1.z.H0", "merit": "L2.z.H0"}, {}, "'merit' at L2.z.H0 is not computed before 'score' at L1.z.H0"),
        ({"score": "L1.z.H0", "merit": "L1.z.H1"}, {}, "not computed before"),
        ({"score": ["L2.z.H0", "L0.z.H0"], "merit": "L1.z.H0"}, {}, "before 'score' at L0.z.H0"),
        (SCORE, {"edges": {("score", "merit"): "direct"}}, "no edge score -> merit"),
        (SCORE, {"edges": {("merit", "decision"): "direct"}}, "no edge merit -> decision"),
        (SCORE, {"edges": {("merit", "score"): "short"}}, "'all' or 'direct', not 'short'"),
        (SCORE, {"given": ["height"]}, "no variable 'height'"),
        (SCORE, {"outcome": "verdict"}, "no variable 'verdict'"),
    ],
)
def test_a_hypothesis_that_cannot_be_is_refused(scm, alignment, options, message):
    with pytest.raises(MechcausalError, match=message):
        Hypothesis(scm, alignment, **options)


def test_the_hypotheses_of_organisms_are_their_truth():
    for organism in ("hiring", "by_hand"):
        known = mc.truth(organism)
        for name in known["tasks"]:
            told = {v: one["parts"] for v, one in known["variables"].items() if one["task"] == name}
            found = Hypothesis.of(organism, name)
            assert {v: [str(part) for part in parts] for v, parts in found.alignment.items()} == told
            assert found.given == tuple(known.get("given", {}).get(name, ()))
            assert found.outcome == mc.task(name).outcome
    with pytest.raises(DataError, match="did you mean 'hiring_secret'"):
        Hypothesis.of("hiring", "hiring_secrets")
    with pytest.raises(DataError, match="'smollm2_bias' states effects, and no hypothesis"):
        Hypothesis.of("smollm2_bias")


def test_prompts_and_models_that_do_not_fit_are_refused(hiring, gpt2):
    hypothesis = Hypothesis.of("hiring")
    told = mc.task("hiring").prompts(hiring, 8)
    hypothesis.check(abilities(hiring), told)
    with pytest.raises(SiteError, match="layer 3"):
        hypothesis.moved("score", "L3.mlp_out@decision").check(abilities(gpt2), told)
    with pytest.raises(SiteError, match="no position called 'end'"):
        hypothesis.moved("score", "L2.mlp_out@end").check(abilities(hiring), told)
    told.variables.pop("score")
    with pytest.raises(DataError, match="what 'score' is"):
        hypothesis.check(abilities(hiring), told)
    with pytest.raises(DataError, match="what 'score' is"):
        column_of(told, "score")


def test_the_table_of_prompts_is_the_table_they_were_drawn_from(hiring):
    task = mc.task("hiring")
    table = task.table(20, seed=4)
    found = table_of(task.prompts(hiring, 20, seed=4))
    assert set(found) == set(table)
    for name, column in table.items():
        np.testing.assert_array_equal(found[name], column)
    np.testing.assert_array_equal(column_of(task.prompts(hiring, 20, seed=4), "merit"), table["merit"])


# What is not in the hypothesis


def test_the_complement_is_every_head_and_mlp_that_no_hypothesis_names(hiring):
    able = abilities(hiring)
    both = [Hypothesis.of("hiring"), Hypothesis.of("hiring", "hiring_secret")]
    outside = {str(site) for site in complement(able, both)}
    everything = {f"L{layer}.z.H{head}" for layer in range(4) for head in range(4)} | {
        f"L{i}.mlp_out" for i in range(4)
    }
    assert outside == everything - set(mc.truth("hiring")["circuit"])
    assert len(complement(able, both[:1])) == len(outside) + 2


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ("L1.z", {f"L1.z.H{head}" for head in range(4)}),
        ("L1.attn_out", {f"L1.z.H{head}" for head in range(4)}),
        ("L1.pattern.H2", {"L1.z.H2"}),
        ("L1.mlp_post.N5", {"L1.mlp_out"}),
    ],
)
def test_what_computes_or_carries_a_named_place_is_not_outside_the_hypothesis(scm, hiring, place, inside):
    outside = {str(site) for site in complement(abilities(hiring), [Hypothesis(scm, {"merit": place})])}
    assert len(outside) == 20 - len(inside)
    assert not outside & inside


def test_places_of_the_same_kind_keep_position_and_subspace(hiring):
    able = abilities(hiring)
    part = Place.parse({"site": "L1.z.H0", "at": "decision", "basis": torch.eye(12)[:2]})
    found = same_kind(able, part, [part.site, Site.parse("L3.z.H3")])
    assert len(found) == 14
    assert {(one.at, one.basis) for one in found} == {(part.at, part.basis)}
    assert {one.site.component for one in found} == {"z"}
    mlps = same_kind(able, Place.parse("L2.mlp_out@decision"), [Site.parse("L2.mlp_out")])
    assert [str(one) for one in mlps] == ["L0.mlp_out@decision", "L1.mlp_out@decision", "L3.mlp_out@decision"]
