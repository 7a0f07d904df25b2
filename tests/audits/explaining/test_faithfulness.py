"""Faithfulness of circuits of known worth: all edges, none that matter, and the circuit that is stated."""

from __future__ import annotations

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.models.abilities import abilities


@pytest.fixture(scope="module")
def model():
    return mc.load("organism:by_hand")


@pytest.fixture(scope="module")
def pairs(model):
    return mc.contrast("by_hand/gender", model, n=16)


def whole(model):
    wiring = Wiring.of(abilities(model))
    made = Circuit.of(wiring, [("embed", "logits")])
    return made.keep(np.broadcast_to(wiring.possible[..., None], made.kept.shape))


def asked(model, pairs, circuit=None, **fields):
    question = audit.Faithfulness(pairs, circuit=circuit, **{"ablation": "counterfactual", **fields})
    held = {"data": pairs, **({} if circuit is None else {"circuit": circuit})}
    return question.answer(audit.Desk(model, held, networks=0, quiet=True))


def test_all_edges_keep_everything_and_leave_nothing(model, pairs):
    answer = asked(model, pairs, whole(model), metric="logit_diff")
    table = answer.table.set_index("measure")["value"]
    assert table["faithfulness"] == pytest.approx(1, abs=1e-5)
    assert table["completeness"] == pytest.approx(0, abs=1e-5)
    assert table["sufficiency"] == pytest.approx(0, abs=1e-4)
    clean, corrupt = (mc.measure(model, side, "logit_diff").value() for side in (pairs.clean, pairs.corrupt))
    assert table["m(M)"] == pytest.approx(clean, abs=1e-4)
    assert table["m(0)"] == pytest.approx(
        corrupt, abs=1e-4
    )  # with all edges from the counterpart it is the counterpart
    assert table["comprehensiveness"] == pytest.approx(clean - corrupt, abs=1e-4)
    for row in answer.examples:
        assert row["circuit_alone"] == pytest.approx(row["whole_model"], abs=1e-4)
        assert row["without_the_circuit"] == pytest.approx(row["nothing"], abs=1e-4)
        assert row["clean"] == pairs.clean.texts[row["pair"]]
    assert sorted(row["pair"] for row in answer.examples) == list(range(16))
    assert "m(M) = " in answer.says
    assert "counterfactual ablation" in answer.says


def test_a_circuit_is_found_on_one_half_and_judged_on_the_other():
    hiring = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    plan = audit.Plan([audit.Faithfulness(pairs, share=0.1, random=3, at_least=0.6)])
    finding = plan.run(hiring, quiet=True).findings[0]
    assert finding.estimate.value > 0.8
    assert finding.status == "pass"
    units = Estimate.mean(finding.answer.units, finding.answer.unit_clusters)
    assert (units.value, units.error) == pytest.approx((finding.estimate.value, finding.estimate.error))
    assert units.n < len(pairs)
    assert 18 <= finding.estimate.n <= 22
    assert finding.answer.controls[0].holds  # random circuits of its size keep less
    assert finding.answer.controls[0].estimate.value < 0.7


def test_what_is_wrong_is_said_before_the_run(model, pairs, tmp_path):
    few = pairs.take([0, 1, 2])
    with pytest.raises(PlanError, match="too few clusters"):
        audit.Plan([audit.Faithfulness(few)]).run(model)
    empty = whole(model).keep(np.zeros_like(whole(model).kept))
    assert "keeps no edge" in audit.Plan([audit.Faithfulness(pairs, circuit=empty)]).problems(model)[0]
    assert "must hold a circuit" in audit.Plan([audit.Faithfulness(pairs, circuit=pairs)]).problems(model)[0]


def test_a_plan_reads_a_circuit_from_its_folder(model, pairs, tmp_path):
    circuit = whole(model)
    circuit.save(tmp_path / "own.json")
    plan = plan_of(
        {
            "data": {"x": {"contrast": "by_hand/gender", "n": 16}, "c": {"circuit": "own.json"}},
            "question": [{"ask": "faithfulness", "data": "x", "circuit": "c", "ablation": "counterfactual", "metric": "logit_diff", "at_least": 0.9}],
        },
        tmp_path,
    )  # fmt: skip
    finding = plan.run(model, quiet=True).findings[0]
    assert finding.error == ""
    assert finding.estimate.value == pytest.approx(1, abs=1e-5)
    assert finding.data["circuit"]["digest"] == circuit.hash == Circuit.load(tmp_path / "own.json").hash
    missing = plan_of(
        {**plan.to_json(), "data": {"x": {"contrast": "by_hand/gender"}, "c": {"circuit": "no.json"}}}, tmp_path
    )
    assert "there is no file" in missing.problems()[0]
