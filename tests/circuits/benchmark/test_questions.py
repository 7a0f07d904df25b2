"""The questions: each has true edges and others, goes in one direction, and is found by its organism's name."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.circuits.benchmark.methods import scorers
from mechcausal.circuits.benchmark.questions import QUESTIONS, questions
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.known.auc import roc_auc
from mechcausal.circuits.known.truth import truth
from mechcausal.errors import ArgumentError


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_a_question_has_true_edges_and_an_effect(question):
    model = mc.load(f"organism:{question.organism}")
    pairs = mc.contrast(question.contrast, model, n=24)
    known = truth(model, pairs)
    assert known.organism == question.organism
    assert 2 <= known.true_units.sum() < len(known.true_units) / 4
    assert 1 <= known.nodes[1:].sum() < len(known.nodes) - 1
    masked = Masked(model, pairs)
    assert masked.clean.mean() - masked.corrupt.mean() > 1


# What the best published implementation reaches on the same two programs and questions, positions told apart:
# reverse EAP .999, EAP-IG 1.000, ACDC .998; proportion .933, 1.000, 1.000.
PUBLISHED = {"eap": 0.93, "eap-ig": 0.995, "acdc": 0.995, "exact": 0.995}


@pytest.mark.slow
@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.metric == "kl"], ids=lambda question: question.name)
def test_the_published_questions_are_answered_as_well_as_by_the_best_published_implementation(question):
    model = mc.load(f"organism:{question.organism}")
    pairs = mc.contrast(question.contrast, model, n=32)
    known = truth(model, pairs)
    for method, scorer in scorers(list(PUBLISHED), question.metric).items():
        assert known.edge_auc(scorer(model, pairs, 0)) >= PUBLISHED[method]
    chance = [known.edge_auc(scorers(["random"])["random"](model, pairs, seed)) for seed in range(60)]
    assert np.mean(chance) == pytest.approx(0.5, abs=4 * np.std(chance) / 60**0.5)


def test_the_same_with_positions_told_apart():
    """A letter acts where it stands, and the answer is read at the end: nine edges of 276."""
    model = mc.load("organism:fraction_linear")
    pairs = mc.contrast("fraction/letters", model, n=32)
    for method, least in PUBLISHED.items():
        metric = "logit_diff" if method == "eap" else "kl"
        circuit = mc.discover(model, pairs, method=method, metric=metric, at="each")
        wiring, true = circuit.wiring, np.zeros(circuit.scores.shape, dtype=bool)
        assert len(circuit.positions) == 6
        true[wiring.sender("embed"), wiring.receiver("L0.mlp_out"), 1:5] = True
        true[wiring.sender("L0.mlp_out"), wiring.receiver("L1.v.H0"), 1:5] = True
        true[wiring.sender("L1.z.H0"), wiring.receiver("logits"), 5] = True
        there = wiring.possible
        assert roc_auc(np.abs(circuit.scores[there]).ravel(), true[there].ravel()) >= least


@pytest.mark.slow
def test_where_slopes_are_flat_more_steps_find_the_edges():
    """In reverse/answer attention moves from one place to another within a hundredth of the path between two prompts."""
    question = next(q for q in QUESTIONS if q.name == "reverse/answer")
    assert question.flat
    model = mc.load("organism:reverse")
    pairs = mc.contrast(question.contrast, model, n=4)
    known = truth(model, pairs)
    few, many = (known.edge_auc(mc.discover(model, pairs, method="eap-ig", steps=steps)) for steps in (10, 1000))
    assert few < 0.7
    assert many == 1


def test_questions_by_organism():
    assert questions(None) == QUESTIONS
    assert {question.organism for question in questions(["ioi", "bios"])} == {"ioi", "bios"}
    assert [question.name for question in questions(["hiring"], quick=True)] == ["hiring/gender"]
    assert len(questions(None, quick=True)) == len({question.organism for question in QUESTIONS})
    assert len({question.name for question in QUESTIONS}) == len(QUESTIONS)


def test_refusals():
    with pytest.raises(ArgumentError, match="did you mean 'hiring'"):
        questions(["hirring"])
    with pytest.raises(ArgumentError, match="the circuit of organism:hiring_natural is not known"):
        questions(["hiring_natural"])
