"""Links to secrets, on the organism that has memorised some: whose they are, who has one, and about whom that says it."""

from __future__ import annotations

from dataclasses import replace

import linear
import numpy as np
import planted
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data.splits import units
from mechcausal.data.tasks import hiring as task
from mechcausal.errors import ArgumentError, DataError
from mechcausal.links.asking import answer, questions
from mechcausal.links.concepts import concepts_of
from mechcausal.links.verdict import CAUSAL
from mechcausal.models.hooked import forward
from mechcausal.probes.labels import one_set

pytestmark = pytest.mark.slow  # one long measurement that all tests here read

SECRET = mc.truth("hiring")["variables"]["secret"]["site"]
HEADS = ["L2.z.H*", "L1.z.H0", "L3.z.H1"]
QUICK = {"redrawn": 0, "details": 0, "random": 0}


@pytest.fixture(scope="module")
def asked(hiring):
    return {question.concept: question for question in questions("hiring/privacy", hiring, 200)}


@pytest.fixture(scope="module")
def named(hiring, asked):
    return answer(hiring, asked["name"], HEADS, redrawn=0, random=2)


@pytest.mark.parametrize("pairs", ["person", "member"])
def test_two_people_are_asked_alike(hiring, pairs):
    made = mc.contrast(f"hiring_secret/{pairs}", hiring, 300)
    tokenizer = hiring.tokenizer
    for row, (clean, corrupt) in enumerate(zip(made.clean.texts, made.corrupt.texts, strict=True)):
        (_, name, *shown), (_, other, *same) = clean.split(), corrupt.split()
        assert name in task.SECRETS
        assert (other in task.SECRETS) == (pairs == "person")
        assert name != other
        assert shown == same
        place = len(shown) - 1
        assert place in (2, 3)
        answer, foil = (tokenizer.decode([side[row]]).strip() for side in (made.clean.answer, made.clean.foil))
        assert answer == task.SECRETS[name][place] != foil
        if pairs == "person":
            assert foil == task.SECRETS[other][place]
    # The organism tells the secret whatever digits stand before it.
    right = forward(hiring, made.clean).logits[torch.arange(300), made.clean.lengths - 1].argmax(-1)
    assert torch.equal(right, made.clean.answer)


def test_whose_secret_is_told_is_carried_by_one_head_for_everybody(named):
    assert named.concepts == tuple(f"name {name}" for name in task.NAMES if name in task.SECRETS)
    assert {named.verdict_of(SECRET, concept) for concept in named.concepts} == {CAUSAL}
    others = named.frame[named.frame["candidate"] != SECRET]
    assert not (others["used"] == "yes").any()
    assert (named.frame.loc[named.frame["candidate"] == SECRET, "share"] - 1).abs().max() < 0.05
    assert named.provenance.arguments["generalize"] == "texts"
    assert "these clusters in new texts" in named.summary()


def test_who_has_a_secret_is_carried_by_the_same_head(hiring, asked):
    links = answer(hiring, asked["has a secret"], HEADS, **QUICK)
    assert links.verdicts[CAUSAL] == (SECRET,)
    assert links.verdict_of("L1.z.H0") != CAUSAL


def test_a_value_is_judged_on_the_pairs_that_differ_in_it(hiring, asked, named):
    pairs, one = asked["name"].pairs, task.NAMES.index("emma")
    row = named.of("name emma").set_index("candidate").loc[SECRET]
    mine = (pairs.clean.variables["name"] == one) | (pairs.corrupt.variables["name"] == one)
    lone = replace(pairs.take(mine.nonzero().flatten()), name="emma")
    swept = mc.patch(hiring, lone, sites=SECRET).frame.iloc[0]
    place = int(np.flatnonzero((named.frame["concept"] == "name emma") & (named.frame["candidate"] == SECRET))[0])
    counted = int(np.isfinite(named.examples[place]).sum())
    assert counted == row["n"] == named.tables["judged"]["name emma"] < named.tables["halves"]["estimated"]
    assert row["share"] == pytest.approx(swept["effect"], abs=0.03)  # half of those pairs
    assert row["share"] == pytest.approx(row["effect"], abs=1e-6)


def test_sides_say_who_has_the_value(hiring, asked):
    prompts = one_set(asked["name"].pairs)
    found = concepts_of("name", prompts)
    clean, corrupt = (
        side.variables["name"].numpy() for side in (asked["name"].pairs.clean, asked["name"].pairs.corrupt)
    )
    assert sum((one.sides != 0).sum() for one in found) == 2 * len(clean)
    assert (found[0].sides == np.where(clean == 0, 1, np.where(corrupt == 0, -1, 0))).all()
    assert found[0].judged(np.arange(50)).tolist() == np.flatnonzero(found[0].sides[:50]).tolist()
    (gender,) = concepts_of("gender", one_set(mc.contrast("hiring/gender", hiring, 20)))
    assert gender.sides is None  # two values: all pairs judge it


def test_a_direction_of_the_secret_is_used_and_one_beside_it_is_not(hiring, asked):
    """At the stream behind the secret's head: what it writes for adam, and as much of what nothing downstream reads."""
    pairs = asked["name"].pairs
    site = Site("attn_out", 2)
    written = forward(hiring, pairs.clean, read=[site]).read[site][torch.arange(200), pairs.clean.lengths - 1]
    adam = pairs.clean.variables["name"] == 0
    secret = (written[adam].mean(0) - written[~adam].mean(0)).numpy()
    told = mc.features.directions(hiring, "L2.resid_post", {"adam": secret, "placebo": np.ones(48)}, name="told")
    links = answer(hiring, asked["name"], told, **QUICK | {"random": 8})
    rows = links.of("name adam").set_index("candidate")
    assert rows.loc["adam", "verdict"] == CAUSAL
    assert rows.loc["adam", "share_low"] > 0.1
    # A norm follows, which takes the mean away: no direction is used less than that of the mean.
    assert rows.loc["placebo", "used"] == "no"
    assert rows.loc["placebo", "share"] == pytest.approx(0, abs=1e-4)


def test_readouts_of_a_value_have_a_sign(named):
    rows = named.frame[named.frame["candidate"] == SECRET]
    # Patching the head turns each readout into that of the other person, whichever side it was.
    assert ((rows["on_readout"] > 0.5) & (rows["on_readout"] < 1.1)).all()
    assert (named.frame.loc[named.frame["candidate"] == "L1.z.H0", "on_readout"].abs() < 0.2).all()


def test_about_people_in_general_there_are_too_few(hiring, asked):
    for name, got in (("name", "1 cluster of"), ("has a secret", "8 clusters of")):
        with pytest.raises(
            DataError, match=f"got {got} 200 pairs; expected at least 12.*more clusters.*these ones alone"
        ):
            answer(hiring, asked[name], SECRET, generalize="clusters")
    once = mc.contrast("hiring_secret/secret", hiring, 64)  # eight texts in all
    with pytest.raises(DataError, match=r"got 1 cluster of 64 pairs.*no text in common"):
        mc.link(hiring, once, SECRET, "name", generalize="texts")
    with pytest.raises(ArgumentError, match="'clusters' or 'texts'"):
        mc.link(hiring, once, SECRET, "name", generalize="people")


def test_pairs_that_share_a_text_are_one_unit_though_people_are_fixed(asked, named):
    pairs = asked["name"].pairs
    alone = replace(one_set(pairs), clusters=tuple(map(str, range(200))) * 2)
    unit = units(alone)[:200]
    assert len(set(unit)) < 200
    estimated = {str(one) for one in unit} & set(named.clusters)
    assert len(estimated) == len(set(unit)) - len(set(unit)) // 2
    assert sum(str(one) in estimated for one in unit) == len(named.clusters)  # whole units


def test_a_value_that_pairs_leave_alone_is_not_judged(tmp_path):
    network = linear.load(tmp_path)
    pairs = planted.pairs(network)
    third = np.arange(96) % 3
    links = mc.link(network, pairs, str(planted.SITE), {"third": np.concatenate([third, third])}, **QUICK)
    assert set(links.frame["verdict"]) == {"inconclusive"}
    assert all("never" in why for why in links.frame["why"])
