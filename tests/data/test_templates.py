"""Templates that nobody declared are noticed; texts of their own and declared clusters are left alone."""

from dataclasses import replace

import torch

from mechcausal.data import PromptSet, pad
from mechcausal.data.templates import undeclared_templates

NAMES = ["Anna", "Ben", "Carla", "Dirk", "Eva", "Finn"]


def prompts(texts):
    return PromptSet(*pad([[1, 2]] * len(texts)), texts=tuple(texts))


def test_texts_equal_but_for_the_slots_are_counted():
    known = prompts(
        [f"The person called {n} said that it was" for n in NAMES] + [f"At work {n} is a good" for n in NAMES]
    )
    assert undeclared_templates(known) == 2
    assert undeclared_templates(replace(known, clusters=tuple(map(str, range(12))))) is None


def test_texts_of_their_own_are_no_templates():
    words = torch.randint(0, 500, (40, 8), generator=torch.Generator().manual_seed(0)).tolist()
    assert undeclared_templates(prompts([" ".join(map(str, row)) for row in words])) is None
    assert undeclared_templates(prompts(["a b c", "a b d"])) is None  # too few to say


def test_prompts_given_as_tokens_are_compared_by_tokens():
    rows = [[0, 1, 2, 3, 4, i] for i in range(5, 15)]
    assert undeclared_templates(PromptSet(*pad(rows))) == 1
