"""Links as a question: a planted direction that is used, and one that only goes along (A5)."""

from __future__ import annotations

import shutil
import tomllib

import linear
import numpy as np
import planted
import pytest
import torch

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.errors import MechcausalError
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE
from mechcausal.models.attached import attached
from mechcausal.models.binding import attach
from mechcausal.models.counting import counting
from mechcausal.models.hooked import forward
from mechcausal.organisms import folder

QUICK = {"random": 8, "details": 0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def pairs(network):
    return planted.pairs(network)


def asked(model, data, held=None, **fields):
    question = audit.Links(data, **{**QUICK, **fields})
    return question.answer(audit.Desk(model, {"data": data, **(held or {})}, networks=0, quiet=True))


def test_the_planted_feature_ranks_first_and_what_goes_along_is_not_flagged(network, pairs):
    """A5: both tell the concept perfectly; the one that is used is first by its effect, the other is correlate-only."""
    streams = torch.cat(
        [forward(network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in (pairs.clean, pairs.corrupt)]
    )
    made = planted.Split(streams, 0)
    attach(network, made, planted.SITE, name="split")
    answer = asked(network, pairs, what="split", concept="high")
    rows = answer.table[answer.table["kind"] == "feature"]
    number = lambda name: int(str(name).rpartition("F")[2])  # noqa: E731
    assert number(rows.iloc[0]["candidate"]) in made.used
    causal = {number(name) for name in rows.loc[rows["verdict"] == CAUSAL, "candidate"]}
    assert causal >= made.used
    assert {
        word for name, word in zip(rows["candidate"], rows["verdict"], strict=True) if number(name) in made.idle
    } == {CORRELATE}
    assert answer.estimate.value == len(causal)
    effect, through = (
        np.array([row[name] for row in answer.examples]) for name in ("effect", f"through {rows.iloc[0]['candidate']}")
    )
    assert len(answer.examples) == len(pairs)
    sides = [mc.measure(network, side, "logit_diff").value() for side in (pairs.clean, pairs.corrupt)]
    assert effect.mean() == pytest.approx(sides[0] - sides[1], abs=1e-3)
    assert through.mean() / effect.mean() == pytest.approx(rows["used_share"].iloc[0], abs=0.1)
    largest = asked(network, pairs, what="split", concept="high", measure="largest")
    assert largest.estimate.value == pytest.approx(rows["used_share"].max(), abs=1e-6)
    units = Estimate.mean(largest.units, largest.unit_clusters)
    assert units.value == pytest.approx(largest.estimate.value)
    row = rows.loc[rows["used_share"].idxmax()]
    assert (units.low, units.high) == pytest.approx((row["used_low"], row["used_high"]), rel=0.1)
    assert answer.units == ()  # a number of candidates is no mean over pairs
    references = " ".join(answer.table.loc[answer.table["kind"] == "reference", "candidate"])
    assert "error node" in references
    assert "all features" in references
    assert "random directions" in references
    assert answer.controls[0].estimate.value < 1


def test_the_heads_of_an_organism_with_what_their_removal_would_cost():
    hiring = mc.load("organism:hiring")
    pairs, merit = mc.contrast("hiring/gender", hiring, n=48), mc.contrast("hiring/merit", hiring, n=16)
    answer = asked(hiring, pairs, {"legitimate": merit}, what="L1.z.H*", at="@decision", legitimate=merit, details=3)
    rows = answer.table.set_index("candidate")
    assert set(rows.index[rows["verdict"] == CAUSAL]) == {"L1.z.H1", "L1.z.H2"}
    assert rows.loc[["L1.z.H1", "L1.z.H2"], "legitimate_share"].abs().max() < 0.1  # merit goes through another head
    assert rows.loc["L1.z.H2", "stable"] == "yes"
    assert "L1.z.H2" in answer.says
    assert answer.controls[2].kind == "trivial-input"


def test_an_incomplete_dictionary_allows_no_judgment(network, pairs):
    """A dictionary without the used direction leaves the effect in its error: marked, and no threshold is judged."""
    mc.features.directions(network, planted.SITE, {"e": planted.E0}, name="idle")

    class Poor:
        W_dec = planted.E0[None]

        def encode(self, x):
            return (x @ planted.E0.to(x))[..., None]

        def decode(self, f):
            return f * planted.E0.to(f)

    attach(network, Poor(), planted.SITE, name="poor")
    answer = asked(network, pairs, what="poor", concept="high")
    assert INCOMPLETE in answer.marks
    assert "%" in answer.cannot_fail
    assert answer.estimate.value == 0


def test_nothing_is_found_for_a_concept_that_does_not_matter(network, pairs):
    """Pairs in which only the idle word differs: no head is causal."""
    swapped = planted.pairs(network, seed=5)
    same = mc.Contrast.from_text(
        network,
        [" ".join([*text.split()[:2], *other.split()[2:]]) for text, other in zip(swapped.clean.texts, swapped.clean.texts, strict=True)],
        [" ".join([*text.split()[:2], *other.split()[2:]]) for text, other in zip(swapped.clean.texts, swapped.corrupt.texts, strict=True)],
        answer="s3", foil="s5", positions={"end": 3},
    )  # fmt: skip
    plan = audit.Plan([audit.Links(same, what="z", at="@end", at_most=0, **QUICK)], networks=0)
    finding = plan.run(network, quiet=True).findings[0]
    assert finding.status in ("pass", "error")  # an effect of nothing has no shares, which a link may refuse


def test_a_dictionary_that_ships_is_attached_meanwhile():
    hiring = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    before = set(attached(hiring))
    answer = asked(hiring, pairs, dictionary="organism:hiring", most=12, at="@decision")
    assert set(attached(hiring)) == before
    assert (answer.table["kind"] == "feature").sum() > 3


def test_what_is_wrong_is_said_before_the_run(network, pairs):
    with pytest.raises(PlanError, match="bring at least 12"):
        audit.Plan([audit.Links(pairs.take(list(range(6))))]).run(network)
    assert "no variable or column 'sex'" in audit.Plan([audit.Links(pairs, concept="sex")]).problems(network)[0]
    assert "must hold pairs" in audit.Plan([audit.Links(pairs, legitimate=pairs.clean)]).problems(network)[0]
    content = {
        "data": {"x": {"contrast": "hiring/gender"}, "fair": {"contrast": "hiring/merit"}},
        "question": [
            {"ask": "links", "data": "x", "legitimate": "fair", "dictionary": "organism:hiring", "at_most": 0}
        ],
    }
    plan = plan_of(content)
    assert plan_of(tomllib.loads(plan.to_toml())).hash == plan.hash


def test_a_dictionary_lies_beside_the_plan(hiring, tmp_path, monkeypatch):
    shutil.copytree(folder("hiring") / "dictionary", tmp_path / "plans" / "features")
    monkeypatch.chdir(tmp_path)
    question = audit.Links(mc.contrast("hiring/gender", hiring, n=24), dictionary="./features", most=4)
    assert question.forwards(audit.Desk(hiring, {"data": question.data}, folder=tmp_path / "plans")) > 0
    with pytest.raises(MechcausalError, match="features"):
        question.forwards(audit.Desk(hiring, {"data": question.data}))


@pytest.mark.slow
def test_its_cost_is_counted_in_the_unit_of_the_plan():
    model = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", model, n=32)
    question = audit.Links(pairs, what="z", **QUICK)
    desk = audit.Desk(model, {"data": pairs}, networks=0, quiet=True)
    with counting(desk.counter.add):
        question.answer(desk)
    assert question.forwards(desk) / 1.25 < desk.counter["forwards"] <= question.forwards(desk)
