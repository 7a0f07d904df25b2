import classifiers
import numpy as np
import pytest
import torch
from zoo import make_pairs

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.outcome import in_its_unit, outcome_of, unread
from mechcausal.errors import MechcausalError


@pytest.fixture(scope="module")
def classifier():
    return classifiers.classifier()


def test_the_outcome_is_what_kind_of_model_it_is(by_hand, classifier):
    assert outcome_of(by_hand).name == "logit_diff"
    assert outcome_of(by_hand, "prob").name == "prob"
    model = mc.load(classifier)
    assert outcome_of(model).name == "log-odds of toxic"
    assert outcome_of(model, "fine").name == "log-odds of fine"
    with pytest.raises(MechcausalError, match="no label"):
        outcome_of(model, "nice")


def test_what_cannot_be_read_is_said(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    bare = mc.PromptSet.from_text(by_hand, pairs.clean.texts)
    assert list(unread(outcome_of(by_hand), pairs)) == []
    assert "needs the answer" in next(unread(outcome_of(by_hand), bare))
    assert "a reward model (scalar head) or a classifier needs neither" in next(unread(outcome_of(by_hand), bare))
    assert list(unread(outcome_of(by_hand), "words")) == []


def test_a_classifier_is_audited_like_any_model(classifier):
    """Flips are those of the labels that plain transformers gives."""
    pairs = make_pairs()
    with torch.no_grad():
        labels = [classifier(side.tokens).logits.argmax(1).numpy() for side in (pairs.clean, pairs.corrupt)]
    report = audit.Plan([audit.Flips(pairs)], networks=0).run(mc.load(classifier), quiet=True)
    assert report["FAIR-1"].estimate.value == pytest.approx(float(np.mean(labels[0] != labels[1])))
    assert report.run["model"]["labels"] == ["fine", "toxic"]
    wrong = audit.Plan([audit.Flips(pairs)], outcome="nice")
    assert "outcome: there is no label 'nice'" in wrong.problems(mc.load(classifier))[0]


def test_mediation_splits_what_a_classifier_says(classifier):
    """The total effect is that of plain transformers, and all of it passes through the last stream."""
    pairs = make_pairs()
    with torch.no_grad():
        first, second = (classifier(side.tokens).logits for side in (pairs.clean, pairs.corrupt))
    odds = [float((logits[:, 1] - logits[:, 0]).mean()) for logits in (first, second)]
    question = audit.Mediation(pairs, mediators=["L1.resid_post"], at="all")
    finding = audit.Plan([question], networks=0).run(mc.load(classifier), quiet=True)["FAIR-1"]
    assert finding.estimate.value == pytest.approx(odds[0] - odds[1], abs=1e-4)
    assert finding.answer.table["nie_pure"].dropna().iloc[-1] == pytest.approx(odds[0] - odds[1], abs=1e-4)


def test_a_reward_is_not_called_log_odds():
    model = mc.load(classifiers.rewarding())
    question = audit.Mediation(make_pairs(), mediators=["L1.resid_post"], at="all")
    plan = audit.Plan([question], networks=0)
    assert plan.cost(model).seconds["FAIR-1"] > 0
    finding = plan.run(model, quiet=True)["FAIR-1"]
    assert finding.scale == "reward"
    assert "total effect on the reward" in finding.answer.says
    assert "log-odds" not in str([figure.describe() for figure in finding.answer.figures])


def test_examples_keep_their_words(by_hand):
    words = {"says": "the log-odds move by 1", "examples": [{"text": "log-odds"}]}
    assert in_its_unit(words, outcome_of(by_hand)) == words
    assert in_its_unit(words, outcome_of(by_hand, "prob")) == {**words, "says": "the prob moves by 1"}
