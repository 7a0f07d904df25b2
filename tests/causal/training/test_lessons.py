"""Lessons that cannot be taught are refused in one sentence, before the model is run."""

from dataclasses import replace

import pytest
import torch
from adding import TASK, bridge, hypothesis, lesson, network

from mechcausal.causal import SCM, Hypothesis
from mechcausal.causal.training.lessons import Lesson
from mechcausal.causal.training.train import assess, train
from mechcausal.data.prompts import PromptSet
from mechcausal.data.targets import filled
from mechcausal.errors import DataError, MechcausalError, SiteError, UnsupportedError
from mechcausal.models import bridge as bridging


@pytest.fixture(scope="module")
def model():
    return bridge(network())


@pytest.fixture(autouse=True)
def nothing_is_computed(model, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the model was run")

    monkeypatch.setattr(bridging, "run", refuse)


def refused(model, lessons, error, message, **options):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message) as told:
        train(model, lessons, steps=1, progress=False, **options)
    assert "\n" not in str(told.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_no_lesson(model):
    refused(model, [], DataError, "nothing to learn")


def test_answers_of_several_tokens(model):
    own = lesson(model)
    several = replace(own.prompts, answer=None, answers=filled([[[1, 2]]] * len(own.prompts)))
    refused(model, replace(own, prompts=several), DataError, "training teaches answers of one token")


def test_a_share_of_nothing(model):
    own = lesson(model)
    refused(model, Lesson(own.hypothesis, own.prompts, share=0), DataError, "share of the batch must be above 0")


def test_a_site_the_model_lacks(model):
    refused(model, lesson(model, total="L7.mlp_out@ask"), MechcausalError, "L7|layer")


def test_a_position_the_prompts_lack(model):
    refused(model, lesson(model, total="L1.mlp_out@decision"), MechcausalError, "decision")


def test_a_position_no_prompt_reaches(model):
    refused(model, lesson(model, total="L1.mlp_out@9"), MechcausalError, "9")


def test_a_pattern(model):
    message = "cannot be taught: a pattern has no place in another prompt"
    refused(model, lesson(model, total="L1.pattern.H0@ask"), UnsupportedError, message)


def test_a_variable_that_does_not_vary(model):
    table = TASK.scm.counterfactual(TASK.scm.sample(20, 0), x=1)
    one = Lesson(hypothesis(), TASK.prompts(model, table=table))
    refused(model, one, DataError, "'left' has one value only in these 20 prompts")
    refused(model, [lesson(model), one], DataError, "'left' has one value only in these 20 prompts")
    refused(model, lesson(model), DataError, "'left' has one value only", evaluation=one)


def test_prompts_without_the_variables(model):
    texts = PromptSet.from_text(model, ["x0 y1 ask", "x1 y2 ask"], answer=["one", "three"], positions={"ask": 2})
    refused(model, Lesson(hypothesis(), texts), DataError, "do not say what 'left' is")


def test_an_outcome_without_words(model):
    # The prompts are those of the task; the causal model has lost the names of its last variable.
    nameless = SCM("adding", noise={"u_x": 2, "u_y": 3}, mechanisms=TASK.scm.mechanisms)
    own = Hypothesis(nameless, hypothesis().alignment, outcome="answer")
    refused(model, Lesson(own, lesson(model).prompts), DataError, "values of the outcome 'answer' have no words")


def test_answers_that_are_not_the_outcome(model):
    other = SCM(
        "adding", noise={"u_x": 2, "u_y": 3}, values=TASK.scm.values,
        mechanisms={**TASK.scm.mechanisms, "answer": lambda total: 3 - total},
    )  # fmt: skip
    table = other.sample(10, 0)
    mixed = Lesson(hypothesis(), TASK.prompts(model, table=table))
    mixed.prompts.variables["answer"] = 3 - mixed.prompts.variables["answer"]
    refused(model, mixed, DataError, "answer of prompt 0 is not the word of its answer")


def test_strictness_where_an_input_has_no_place(model):
    partial = Hypothesis(TASK.scm, {"left": "L0.z.H0@ask"})
    own = Lesson(partial, lesson(model).prompts)
    refused(model, own, DataError, "'y' reaches 'answer' around left, which has a place, so it cannot be true")
    refused(model, lesson(model), DataError, "'y' reaches 'answer' around left", evaluation=own)
    given = Hypothesis(TASK.scm, {"left": "L0.z.H0@ask"}, given=["right"])
    with pytest.raises(AssertionError, match="the model was run"):
        train(model, Lesson(given, own.prompts), steps=1, progress=False)
    with pytest.raises(AssertionError, match="the model was run"):
        train(model, own, strict=0, steps=1, progress=False)


def test_assessment_refuses_alike(model):
    with pytest.raises(DataError, match="'y' reaches 'answer' around left"):
        assess(model, Lesson(Hypothesis(TASK.scm, {"left": "L0.z.H0@ask"}), lesson(model).prompts))
    with pytest.raises(DataError, match="nothing to assess"):
        assess(model, [])


def test_a_place_that_is_computed_too_late():
    with pytest.raises(SiteError, match="not computed before"):
        hypothesis(left="L1.resid_post@ask")
