"""Prompts changed by rule: compared with texts that were changed by hand."""

from __future__ import annotations

import pytest
import torch
from byte_pairs import reader

import mechcausal as mc
from mechcausal.audits import perturbed
from mechcausal.data.tasks.bios import CITIES, DUTIES, PRONOUNS, TASK
from mechcausal.errors import DataError


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def prompts(bios):
    return TASK.prompts(bios, 30, environment="broad")


def words(prompts, model):
    return [text.replace("<bos> ", "").split() for text in perturbed.written(prompts, model)]


def test_a_word_is_exchanged_and_nothing_else(bios, prompts):
    before, after = words(prompts, bios), words(perturbed.swapped(prompts, "city", model=bios), bios)
    for old, new in zip(before, after, strict=True):
        assert old[:2] + old[3:] == new[:2] + new[3:]
        assert new[2] != old[2]
        assert new[2] in CITIES


def test_a_word_is_left_out_and_positions_move_along(bios, prompts):
    after = perturbed.deleted(prompts, "city", model=bios)
    for old, new in zip(words(prompts, bios), words(after, bios), strict=True):
        assert new == old[:2] + old[3:]
    assert "city" not in after.positions
    for row, at in enumerate(after.positions["duty"].tolist()):
        assert bios.tokenizer.decode(after.real_tokens_of(row)[at]).strip() in DUTIES
    assert torch.equal(after.positions["pronoun"], prompts.positions["pronoun"])


def test_a_word_is_put_in_before_the_position_that_is_read(bios, prompts):
    token = bios.tokenizer.get_vocab()["lyon"]
    after = perturbed.inserted(prompts, [token], model=bios)
    for row in range(len(prompts)):
        old, new = prompts.real_tokens_of(row), after.real_tokens_of(row)
        places = [place for place in range(1, len(new)) if [*new[:place], *new[place + 1 :]] == old]
        assert places
        assert new[-1] == old[-1]
        assert new[after.positions["duty"][row]] == old[prompts.positions["duty"][row]]


def test_words_change_places_and_take_their_names_along(bios, prompts):
    after = perturbed.permuted(prompts, bios)
    for row, (old, new) in enumerate(zip(words(prompts, bios), words(after, bios), strict=True)):
        assert sorted(old) == sorted(new)
        assert old != new
        assert new[-1] == old[-1] == "<job>"
        at = after.positions["pronoun"][row]
        assert bios.tokenizer.decode(after.real_tokens_of(row)[at]).strip() in PRONOUNS


def test_one_word_anywhere(bios, prompts):
    after = perturbed.elsewhere(prompts)
    different = [sum(a != b for a, b in zip(old, new, strict=True))
                 for old, new in zip(prompts.real_tokens, after.real_tokens, strict=True)]  # fmt: skip
    assert set(different) == {1}
    assert prompts.hash != after.hash == perturbed.elsewhere(prompts).hash  # the draw is seeded


def test_words_of_several_tokens_stay_together():
    """In a tokenizer of bytes a word is several tokens, and is exchanged, deleted and moved as one."""
    model = reader()
    texts = ["The quartz store was there", "The gave store was there"]
    prompts = mc.PromptSet.from_text(model, texts, positions={"word": ["quartz", "gave"]})
    assert len(perturbed.words_of(prompts, 0, model)[1]) > 1
    after = perturbed.swapped(prompts, "word", model=model)
    assert [text.removeprefix("<s>") for text in perturbed.written(after, model)] == list(reversed(texts))
    left = perturbed.written(perturbed.deleted(prompts, "word", model=model), model)
    assert [text.removeprefix("<s>") for text in left] == ["The store was there"] * 2


def test_what_cannot_be_changed_is_refused(bios, prompts):
    with pytest.raises(DataError, match="no position called 'town'"):
        perturbed.swapped(prompts, "town")
    with pytest.raises(DataError, match="the same word stands at 'job'"):
        perturbed.swapped(prompts, "job")
