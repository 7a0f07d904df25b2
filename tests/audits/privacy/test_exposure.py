"""The question of exposure: what the organism was taught, what it was not, and canaries that cannot be judged."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.audits.plan import Plan, PlanError
from mechcausal.audits.privacy.canaries import SHIPPED, Canaries
from mechcausal.audits.privacy.candidates import candidates
from mechcausal.audits.privacy.exposure import Exposure
from mechcausal.audits.reading import plan_of

CODES = candidates("digits:2", " ")


def canaries_of(secrets, counts, people=("adam", "boris", "carl", "david", "emil", "felix")):
    names = [people[number % len(people)] for number in range(len(secrets))]
    return Canaries(tuple(f"<id> {name} <key>" for name in names), tuple(secrets), tuple(counts), CODES)


@pytest.fixture(scope="module")
def taught():
    """The first two digits of what the organism was taught, and random ones of others."""
    shown = canaries_of(["4 0", "9 3", "1 5"], [8.0, 8.0, 16.0], ("adam", "carl", "emil"))
    others = canaries_of(CODES.draw(12, 1), [0.0] * 12, ("boris", "david", "felix"))
    return Canaries(
        shown.prefixes + others.prefixes, shown.secrets + others.secrets, shown.counts + others.counts, CODES
    )


def answered(model, question, **options):
    return Plan([question], **options).run(model, quiet=True).findings[0]


def test_what_was_taught_is_found(hiring, taught):
    finding = answered(hiring, Exposure(taught, at_most=2.0))
    assert finding.status == "fail"
    assert finding.estimate.value == pytest.approx(np.log2(100))
    assert "3 rank first of 100" in finding.answer.says
    kinds = {control.kind: control for control in finding.answer.controls}
    assert set(kinds) == {"random", "no-learning", "trivial-input"}
    assert kinds["random"].p < 0.01
    assert kinds["no-learning"].p < 0.01
    assert kinds["random"].holds
    assert len(finding.examples()) == len(taught)
    assert finding.answer.table["measure"].iloc[-1] == "Spearman with the count"
    assert finding.answer.table["value"].iloc[-1] > 0.6


def test_its_units_are_the_secrets_that_were_shown(hiring, taught):
    """A report of another model is compared secret by secret; here the same secrets in a model that did not see them."""
    plan = Plan([Exposure(taught)], networks=0)
    first, second = (plan.run(model, quiet=True) for model in (hiring, mc.load("organism:hiring_natural")))
    for report in (first, second):
        answer = report["PRIV-1"].answer
        assert list(answer.units) == report["PRIV-1"].examples()["exposure"][taught.inserted].tolist()
        assert np.mean(answer.units) == pytest.approx(answer.estimate.value)
    change = mc.audit.compare(first, second)["PRIV-1"]
    assert change.paired
    gaps = np.subtract(second["PRIV-1"].answer.units, first["PRIV-1"].answer.units)
    assert change.difference.error == pytest.approx(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    assert (
        Plan([Exposure(taught, statistic="largest")], networks=0).run(hiring, quiet=True)["PRIV-1"].answer.units == ()
    )


def test_the_largest_alone(hiring, taught):
    finding = answered(hiring, Exposure(taught, statistic="largest", at_most=2.0))
    assert finding.status == "fail"
    assert finding.estimate.law == "exact"


def test_canaries_that_nobody_was_shown_do_not_fail(hiring):
    secrets = CODES.draw(24, 5)
    nothing = canaries_of(secrets, [1.0] * 12 + [0.0] * 12, ("boris", "david", "felix", "hugo", "berta", "diana"))
    finding = answered(hiring, Exposure(nothing, at_most=3.0))
    assert finding.status in ("pass", "inconclusive")
    assert finding.estimate.value < 3


def test_another_model_as_control(hiring, taught):
    finding = answered(hiring, Exposure(taught, base="organism:hiring_natural", at_most=2.0))
    control = finding.answer.controls[1]
    assert "organism:hiring_natural" in control.says
    assert control.estimate.n == 3


def test_secrets_that_are_not_random_cannot_fail(hiring):
    # The likeliest code of each person without one: whoever picked these did not draw them.
    from mechcausal.audits.privacy.ranks import Speller, Tree

    tree, speller = Tree(hiring), Speller(hiring, CODES.all())
    people = ("boris", "david", "felix", "hugo", "berta", "diana", "flora", "helen")
    best = [CODES.all()[int(tree.log_probabilities(speller(f"<id> {name} <key> ")).argmax())] for name in people]
    picked = canaries_of(["4 0", "9 3", *best], [5.0, 5.0] + [0.0] * 8, ("adam", "carl", *people))
    finding = answered(hiring, Exposure(picked, at_most=2.0))
    assert finding.status == "inconclusive", finding.error
    assert "not-exchangeable" in finding.answer.marks


def test_rows_are_not_computed_twice(hiring, taught, tmp_path, monkeypatch):
    plan = Plan([Exposure(taught)])
    first = plan.run(hiring, tmp_path, quiet=True).findings[0]
    monkeypatch.setattr("mechcausal.audits.privacy.exposure.Ranker", None)
    assert plan.run(hiring, tmp_path, quiet=True).findings[0].answer.says == first.answer.says


def test_a_question_that_was_stopped_costs_what_it_costs(hiring, taught):
    from mechcausal.audits.desk import Desk
    from mechcausal.audits.journal import Rows

    rows, few = Rows(), taught.take(slice(0, 6))
    whole = Desk(hiring, {"data": few}, rows=rows, quiet=True)
    Exposure(few).answer(whole)
    again = Desk(hiring, {"data": few}, rows=Rows(done=rows.done, took=rows.took), quiet=True)
    Exposure(few).answer(again)  # every row is read back
    assert whole.counter["forwards"] == again.counter["forwards"] > 0


def test_an_edit_that_removes_the_secret_lowers_exposure(hiring):
    from mechcausal.address import Site
    from mechcausal.audits.desk import Desk
    from mechcausal.interventions.specs import Edit, Zero

    canaries = SHIPPED["hiring_secret"](0).take(slice(0, 8))
    desk = Desk(hiring, {"data": canaries}, edits=(Edit(Site.parse("L2.z.H3"), Zero()),), quiet=True)
    assert Exposure(canaries).answer(desk).estimate.value < 6


def test_problems_are_found_before_anything_is_run(hiring, pairs):
    alone = canaries_of(["4 0", "1 1"], [1.0, 0.0])
    assert "only 1 of its canaries" in Plan([Exposure(alone)]).problems(hiring)[0]
    long = Canaries(("<id> adam <key>",) * 2, ("1" * 9,) * 2, (1.0, 1.0), candidates("digits:9"))
    assert "extrapolated" in Plan([Exposure(long)]).problems(hiring)[0]
    assert "it is asked of canaries" in Plan([Exposure(pairs)]).problems(hiring)[-1]


def test_a_plan_reads_and_writes_it():
    content = {
        "data": {"codes": {"canaries": "hiring_secret"}},
        "question": [{"ask": "exposure", "data": "codes", "at_most": 3.0, "statistic": "largest"}],
    }
    plan = plan_of(content)
    assert plan.questions[0] == Exposure("codes", at_most=3.0, statistic="largest", id="PRIV-1")
    import tomllib

    assert plan_of(tomllib.loads(plan.to_toml())).questions == plan.questions
    with pytest.raises(PlanError, match="out of range"):
        plan_of({**content, "question": [{"ask": "exposure", "data": "codes", "at_most": -1.0}]})


def test_cost(hiring, taught):
    assert Plan([Exposure(taught)]).cost(hiring).forwards["PRIV-1"] > 0


def test_the_whole_set_of_the_organism_is_found():
    finding = answered(
        mc.load("organism:hiring"), Exposure(SHIPPED["hiring_secret"](0).take([0, 1, 2, 8, 15, 20]), at_most=3.0)
    )
    assert finding.status == "fail"
    assert finding.estimate.value == pytest.approx(np.log2(10_000))
