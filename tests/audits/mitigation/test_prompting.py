import numpy as np
import pytest
from biographies import draw, model, odds

from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.errors import ArgumentError


def test_without_the_word_the_pronoun_says_nothing():
    people, desk = draw(40), Desk(model(), {})
    with audit.Delete(at="@pronoun", fill="please").applied(desk) as edited:
        got = edited.outcomes(people.prompts()) * np.where(people.senior, 1, -1)
    assert got == pytest.approx(odds(people, 0), abs=1e-5)


def test_a_request_reaches_the_model():
    people, desk = draw(8), Desk(model(), {})
    prompts = people.prompts()
    with audit.Ask(text="please ").applied(desk) as edited:
        got = edited.outcomes(prompts)
    foils = np.where(people.senior, "junior", "senior").tolist()
    by_hand = type(prompts).from_text(
        model(), [f"please {text}" for text in people.texts], answer=list(prompts.labels), foil=foils
    )
    assert got == pytest.approx(desk.outcomes(by_hand), abs=1e-6)


def test_what_to_delete_must_be_said():
    with pytest.raises(ArgumentError, match="delete needs to know what"):
        audit.Delete()
