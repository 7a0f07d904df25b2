"""The questions: each has true edges and others, goes in one direction, and is found by its organism's name."""

import pytest

import mechcausal as mc
from mechcausal.circuits.benchmark.questions import QUESTIONS, questions
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.known.truth import truth
from mechcausal.errors import ArgumentError


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
