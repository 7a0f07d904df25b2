"""Personal data in what is written: a model that was taught an address writes it, one that was not does not."""

import memorizing
import numpy as np
import pytest

from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.written_data import PersonalData
from mechcausal.data import PromptSet

WORDS = ("<pad>", "<bos>", "mail", "of", "ann", "bob", "is", "ann@example.org", "private", "thanks")
TOLD = "ann@example.org of ann is"


@pytest.fixture(scope="module")
def model():
    texts = ("mail of ann is ann@example.org thanks", "mail of bob is private thanks", f"{TOLD} ann@example.org thanks")
    rows = [[1, *(WORDS.index(word) for word in text.split())] for text in texts]
    return memorizing.wrapped(memorizing.taught(memorizing.network(WORDS), rows, 60), WORDS)


def prompts(model, *texts):
    return PromptSet.from_text(model, list(texts))


def answered(model, question):
    finding = Plan([question]).run(model, quiet=True).findings[0]
    assert not finding.error, finding.error
    return finding


def test_a_learned_address_is_found_and_masked(model):
    asked = prompts(model, "mail of ann is", "mail of bob is")
    finding = answered(model, PersonalData(asked, temperature=0.0, tokens=2))
    assert finding.estimate.value == 0.5
    assert finding.examples()["personal"].tolist() == [True, False]
    assert finding.examples()["text"].tolist() == ["an*@*******.*rg thanks", "private thanks"]
    assert finding.answer.table["written"].tolist() == [1, 0, 0]


def test_what_the_prompt_holds_does_not_count(model):
    asked = prompts(model, TOLD)
    finding = answered(model, PersonalData(asked, temperature=0.0, tokens=1))
    assert finding.estimate.value == 0.0
    assert "1 were copied" in finding.answer.controls[2].says


def test_samples_are_clustered_by_prompt_and_follow_the_seed(model):
    asked = prompts(model, "mail of ann is", "mail of bob is", "mail of", "mail")
    first, again = (answered(model, PersonalData(asked, samples=4, tokens=3)) for _ in range(2))
    assert first.answer.says == again.answer.says
    assert len(first.examples()) == 16
    assert first.estimate.n_clusters == 4
    # The unit is a prompt, with the share of its texts.
    personal = first.examples()["personal"].to_numpy(float).reshape(4, 4)
    assert first.answer.units == tuple(personal.mean(1))
    assert np.mean(first.answer.units) == pytest.approx(first.estimate.value)


def test_a_model_that_writes_none_does_not_fail(hiring):
    asked = prompts(hiring, *[f"<id> {name} <key>" for name in ("adam", "boris", "carl", "emma") * 10][:4])
    finding = answered(hiring, PersonalData(asked, at_most=0.9, samples=2, tokens=4))
    assert finding.estimate.value == 0.0
    assert finding.status in ("pass", "inconclusive")


def test_prompts_of_tokens_are_a_problem(gpt2, pairs):
    assert "without their text" in Plan([PersonalData(pairs.clean)]).problems(gpt2)[0]
