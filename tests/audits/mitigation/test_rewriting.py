from dataclasses import replace

import pytest
import torch
from biographies import WORDS, draw, model

import mechcausal as mc
from mechcausal.audits.mitigation.rewriting import Behind, Without
from mechcausal.errors import DataError, SiteError


@pytest.fixture(scope="module")
def prompts():
    return draw(6).prompts()


def test_tokens_are_taken_out_and_positions_move_along(prompts):
    spans = {"words": torch.tensor([[2, 5]] * 6)}
    given = replace(
        prompts,
        spans=spans,
        read_at=prompts.positions["city"],
        positions={**prompts.positions, "first": torch.zeros(6).long()},
    )
    rewritten = Without(model(), at=("@pronoun",))(given)
    assert rewritten.real_tokens == [row[:1] + row[2:] for row in prompts.real_tokens]
    assert rewritten.positions["city"].tolist() == [4] * 6
    assert rewritten.positions["pronoun"].tolist() == [0] * 6  # the token before it
    assert rewritten.positions["first"].tolist() == [0] * 6
    assert rewritten.read_at.tolist() == [4] * 6
    assert rewritten.spans["words"].tolist() == [[1, 4]] * 6
    assert torch.equal(rewritten.answer, prompts.answer)
    gone = Without(model(), words=("leads", "directs", "chairs", "assists", "supports", "joins"))(given)
    assert set(gone.lengths.tolist()) == {4}
    assert gone.spans["words"].tolist() == [[1, 2]] * 6  # a span keeps one token at least


def test_a_word_in_their_place_moves_nothing(prompts):
    rewritten = Without(model(), words=("he", "she"), fill="please")(prompts)
    assert rewritten.real_tokens == [[row[0], WORDS["please"], *row[2:]] for row in prompts.real_tokens]
    assert rewritten.positions == prompts.positions
    unequal = mc.PromptSet.from_text(model(), ["he leads", "she leads joins <end>"], side="left")
    assert Without(model(), words=("he",))(unequal).real_tokens == [[1, WORDS["leads"]], unequal.real_tokens_of(1)]


def test_a_request_is_put_before_the_prompt(prompts):
    asked = Behind(model(), "please please ")(prompts)
    assert asked.real_tokens == [row[:1] + [WORDS["please"]] * 2 + row[1:] for row in prompts.real_tokens]
    assert asked.positions["city"].tolist() == [7] * 6
    assert asked.texts[0] == f"please please {prompts.texts[0]}"


def test_a_request_is_put_before_tokens_as_before_their_text(prompts):
    """Prompts that were changed token by token have no text; those that a text is read as are read as that text."""
    given = replace(prompts, texts=(), pieces=())
    asked = Behind(model(), "please please ")(given)
    assert asked.real_tokens == Behind(model(), "please please ")(prompts).real_tokens
    assert asked.positions["city"].tolist() == [7] * 6
    odd = replace(given, tokens=given.tokens.clone())
    odd.tokens[0, 3] = 0  # padding, which no text is read as
    asked = Behind(model(), "please ")(odd)
    assert asked.real_tokens[0] == [1, WORDS["please"], *odd.real_tokens_of(0)[1:]]
    assert asked.real_tokens[1:] == Behind(model(), "please ")(given).real_tokens[1:]
    with pytest.raises(DataError, match="nobody"):
        Behind(model(), "nobody ")(given)


def test_what_it_is_says_its_key(prompts):
    keys = {Without(model(), words=("he",)).key, Without(model(), words=("she",)).key, Behind(model(), "he").key}
    assert len(keys) == 3


def test_what_cannot_be_rewritten_is_refused(prompts):
    with pytest.raises(DataError, match="does not know the word 'nobody'"):
        Without(model(), words=("nobody",))(prompts)
    with pytest.raises(DataError, match="nothing is left of prompt 0"):
        Without(model(), at=("@all",))(prompts)
    with pytest.raises(SiteError, match="no position called"):
        Without(model(), at=("@nowhere",))(prompts)
    with pytest.raises(DataError, match="hold their answers"):
        Behind(model(), "please ")(replace(prompts, forced=torch.ones(6).long()))
