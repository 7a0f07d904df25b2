"""Pairs against a causal model written out by hand, and what is refused before anything runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.alignment.interchange import interchange, interchange_sweep
from mechcausal.causal.alignment.pairs import (
    base_rows,
    check_exchange,
    check_movable,
    draw_pairs,
    refuse_unchanged,
)
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.hypothesis import Hypothesis, table_of
from mechcausal.data import PromptSet, pad
from mechcausal.data.scm import SCM
from mechcausal.errors import DataError, MechcausalError, SiteError
from mechcausal.models import hooked

HIRING = Hypothesis.of("hiring")


@pytest.fixture(scope="module")
def table():
    return mc.task("hiring").table(200, seed=3, environment="broad")


def decided(merit, proxy, bias):
    score = merit + 2 * proxy + bias
    return 0 if score < 3 else 1 if score < 5 else 2


def drawn(table, variables, base, seed=0, **options):
    return draw_pairs(HIRING, table, variables, base, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("variables", [("merit",), ("merit", "bias"), ("proxy", "bias", "merit")])
@pytest.mark.parametrize("shared", [False, True])
def test_against_the_formula(table, variables, shared):
    base = base_rows(300, np.arange(200), np.random.default_rng(1))
    pairs = drawn(table, variables, base, shared=shared)
    for row in range(len(pairs)):
        own = {v: table[v][base[row]] for v in ("merit", "proxy", "bias")}
        given = {v: table[v][pairs.sources[v][row]] for v in variables}
        assert pairs.before[row] == decided(**own)
        assert pairs.expected[row] == decided(**(own | given))
        assert all(pairs.sources[v][row] != base[row] for v in variables)
    distinct = {id(source) for source in pairs.sources.values()}
    assert len(distinct) == (1 if shared else len(variables))
    np.testing.assert_array_equal(pairs.changed, pairs.expected != pairs.before)
    half = pairs.take(np.arange(0, 300, 2))
    assert len(half) == 150
    np.testing.assert_array_equal(half.sources["merit"], pairs.sources["merit"][::2])
    np.testing.assert_array_equal(half.guess, pairs.guess[::2])


def test_sources_come_from_the_pool_and_from_all_of_it(table):
    pool = np.array([4, 8, 15])
    pairs = drawn(table, ["merit"], np.tile([4, 16], 300), pool=pool)
    assert set(pairs.sources["merit"][::2]) == {8, 15}  # never the base itself
    counts = np.bincount(pairs.sources["merit"][1::2])[pool]
    assert counts.min() > 75  # 100 are expected of each


def test_only_pairs_that_change_the_answer(table):
    base = np.arange(200)
    assert drawn(table, ["merit"], base).changed.mean() < 0.7
    assert drawn(table, ["merit"], base, changed_only=True).changed.all()


def test_bases_that_cannot_change_are_kept():
    """The neuron of the by-hand network decides no answer, so no source of it changes one."""
    table = mc.task("by_hand").table(60)
    draw = np.random.default_rng(0)
    pairs = draw_pairs(Hypothesis.of("by_hand"), table, ["joint"], np.arange(60), draw, changed_only=True)
    assert len(pairs) == 60
    assert not pairs.changed.any()
    assert pairs.blind == 1


def test_every_row_is_a_base_equally_often():
    counts = np.bincount(base_rows(25, np.arange(10), np.random.default_rng(0)), minlength=10)
    assert sorted(set(counts)) == [2, 3]


def test_what_a_blind_guess_gets(table):
    """Whoever knows the base alone says the answer that most sources call for."""
    base = np.arange(200)
    for changed_only in (False, True):
        pairs = drawn(table, ["merit"], base, changed_only=changed_only)
        for row in range(0, 200, 7):
            proxy, bias = table["proxy"][row], table["bias"][row]
            counts = np.bincount([decided(merit, proxy, bias) for merit in table["merit"]], minlength=3)
            if changed_only:
                counts[pairs.before[row]] = 0
            assert pairs.guess[row] == pytest.approx(counts.max() / counts.sum())
        assert pairs.blind == pytest.approx(pairs.guess.mean())


def test_nothing_blind_beats_the_blind_guess(table):
    """The answer of a network that ignores the source agrees at most as often, whatever it says."""
    base = base_rows(4000, np.arange(200), np.random.default_rng(2))
    pairs = drawn(table, ["merit", "bias"], base)
    for say in range(3):
        assert (pairs.expected == say).mean() <= pairs.blind + 0.02
    assert (pairs.expected == pairs.before).mean() <= pairs.blind + 0.02


def test_answer_tokens(by_hand):
    words = answer_tokens(by_hand, Hypothesis.of("by_hand"))
    assert by_hand.tokenizer.convert_ids_to_tokens(words.tolist()) == ["no", "yes"]
    bare = replace_values(Hypothesis.of("by_hand"), {})
    with pytest.raises(DataError, match="'answer' have no words"):
        answer_tokens(by_hand, bare)


def replace_values(hypothesis, values):
    scm = hypothesis.scm
    return hypothesis.replaced(scm=SCM(scm.name, noise=scm.noise, mechanisms=scm.mechanisms, values=values))


# What is refused, before the model runs


@pytest.fixture
def idle(monkeypatch, by_hand):
    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(hooked.bridge, "run", refuse)
    return by_hand


@pytest.fixture
def prompts(by_hand):
    return mc.task("by_hand").prompts(by_hand, 16)


def same_gender(prompts):
    return prompts.take(torch.as_tensor(np.flatnonzero(table_of(prompts)["gender"] == 1)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"variables": ["gendr"]}, "gives 'gendr' no place.*did you mean 'gender'"),
        ({"variables": []}, "no variable is named"),
        ({"variables": [()]}, "no variable is named"),
        ({"n": 0}, "cannot take this 'n'.*at least 1"),
        ({"sources": "seperate"}, "expected 'distinct' or 'shared'"),
    ],
)
def test_refused_by_interchange(idle, prompts, wrong, said):
    with pytest.raises(MechcausalError, match=said):
        interchange(idle, prompts, Hypothesis.of("by_hand"), **wrong)


def test_refused_prompts(idle, prompts):
    hypothesis = Hypothesis.of("by_hand")
    with pytest.raises(DataError, match=r"'gender' has the same value in every prompt.*nothing to exchange"):
        interchange(idle, same_gender(prompts), hypothesis)
    with pytest.raises(DataError, match=r"a base and a source.*got 1 prompt"):
        interchange(idle, prompts.take(torch.tensor([0])), hypothesis)
    with pytest.raises(DataError, match="do not say what"):
        interchange(idle, replace(prompts, variables={}), hypothesis)
    with pytest.raises(MechcausalError, match=r"'gendre'.*did you mean 'gender'"):
        interchange_sweep(idle, prompts, mc.task("by_hand"), "gendre")
    with pytest.raises(SiteError, match="no position called 'subject'"):
        interchange(idle, prompts, hypothesis.moved("level", "L0.z.H2@subject"))
    with pytest.raises(SiteError, match="not in this model"):
        interchange(idle, prompts, hypothesis.moved("joint", "L7.mlp_out@end"))


def test_a_variable_that_decides_nothing_is_refused(idle, prompts):
    scm = SCM(
        "idle",
        noise={"u_gender": 2, "u_level": 2},
        mechanisms={"gender": lambda u_gender: u_gender, "level": lambda u_level: u_level, "answer": lambda gender: gender},
        values={"answer": ("no", "yes")},
    )  # fmt: skip
    hypothesis = Hypothesis(scm, {"level": "L0.z.H2@end"}, outcome="answer")
    with pytest.raises(DataError, match="exchanging level changes the answer of none of"):
        interchange(idle, prompts, hypothesis, variables=["level"])


def test_parts_that_cannot_move():
    uneven = PromptSet(*pad([[5, 6, 7], [5, 6, 7, 8, 9]]))
    check_movable(Place.parse("L0.resid_post@-1"), uneven)
    with pytest.raises(SiteError, match=r"several numbers of positions \(got 3 to 5 positions"):
        check_movable(Place.parse("L0.resid_post"), uneven)
    with pytest.raises(SiteError, match="no value to move"):
        check_movable(Place.parse("L0.resid_post@4"), uneven)
    with pytest.raises(SiteError, match="cannot move between prompts of unequal length"):
        check_movable(Place.parse("L0.pattern.H0@-1"), uneven)


def test_pairs_without_change_are_refused(table):
    pairs = drawn(table, ["merit"], np.arange(200))
    kept = pairs.take(np.flatnonzero(~pairs.changed))
    with pytest.raises(DataError, match="merit changes the answer of none"):
        refuse_unchanged(kept, ["merit"])


def test_a_check_returns_the_table(by_hand, prompts):
    found = check_exchange(by_hand, Hypothesis.of("by_hand"), prompts, ["gender"])
    np.testing.assert_array_equal(found["gender"], prompts.variables["gender"].numpy())
