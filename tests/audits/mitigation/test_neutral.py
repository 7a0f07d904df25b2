import numpy as np
import pytest
from biographies import PRONOUN_HEAD, draw, model

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.neutral import cost_on_neutral
from mechcausal.errors import UnsupportedError
from mechcausal.models.hooked import forward


def by_hand(texts, edits=()):
    """Return log-probabilities of each text, [text token vocabulary]."""
    batch = mc.PromptSet.from_text(model(), texts)
    return forward(model(), batch, edits).logits.log_softmax(-1), batch.tokens


def test_an_edit_costs_what_the_formulas_say():
    prompts, desk = draw(20).prompts(), Desk(model(), {})
    zero = audit.Ablate(sites=PRONOUN_HEAD, to="zero", at="@city")
    with zero.applied(desk) as edited:
        divergence, rise = cost_on_neutral(desk, edited, prompts)
        plain = mc.PromptSet.from_text(model(), list(prompts.texts))  # it has no city, so it is edited everywhere
        everywhere, _ = cost_on_neutral(desk, edited, plain)
    old, tokens = by_hand(list(prompts.texts))
    with zero.applied(desk) as edited:
        new = forward(model(), prompts, edited.edits).logits.log_softmax(-1)
    kl = (old.exp() * (old - new)).sum(-1).mean(1)
    loss = (old - new)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0].mean(1)
    assert divergence == pytest.approx(kl.numpy(), abs=1e-6)
    assert rise == pytest.approx(loss.numpy(), abs=1e-5)
    assert (everywhere > divergence - 1e-9).all()


def test_rewritten_texts_are_compared_where_they_end_alike():
    people, desk = draw(6), Desk(model(), {})
    with audit.Delete(words=["he", "she"]).applied(desk) as edited:
        divergence, _ = cost_on_neutral(desk, edited, people.prompts())
    shorter = [text.split(" ", 1)[1] for text in people.texts]
    old, new = by_hand(people.texts)[0][:, 2:], by_hand(shorter)[0][:, 1:]
    assert divergence == pytest.approx((old.exp() * (old - new)).sum(-1).mean(1).numpy(), abs=1e-6)
    alone = mc.PromptSet.from_text(model(), ["he"])
    with audit.Delete(words=["he"], fill="she").applied(desk) as edited:
        assert np.isnan(cost_on_neutral(desk, edited, alone)).all()


def test_a_path_is_not_measured():
    prompts, desk = draw(6).prompts(), Desk(model(), {})
    path = audit.MeanPath(sender=PRONOUN_HEAD, receiver="logits", data=prompts)
    with path.applied(desk) as edited, pytest.raises(UnsupportedError, match="not measured"):
        cost_on_neutral(desk, edited, prompts)
