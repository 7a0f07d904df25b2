"""Which declared answer stands first in a text, against texts whose answer a reader sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from biographies import model, population

import mechcausal as mc
from mechcausal.audits.behavior.writing import declared, first_of, named_first, written_after
from mechcausal.audits.desk import Desk


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I would say the nurse, not the surgeon.", 1),
        ("A SURGEON. Or a nurse?", 0),
        ("nurses and surgeons", -1),  # whole words alone
        ("", -1),
        ("New York", 0),  # the longer one stands there
        ("New Jersey", 1),
        ("a c++ programmer", 1),
    ],
)
def test_the_first_declared_answer_decides(text, expected):
    assert first_of(text, ("nurse", "New", "C++"), ("surgeon", "New York")) == expected


def test_answers_of_several_tokens_are_read_back():
    network, people = model(), population()
    prompts = people.prompts()
    assert declared(prompts, "answer", network) == [(label,) for label in prompts.labels]
    many = mc.PromptSet.from_text(
        network, people.texts[:2], answer=[["senior", "king"], ["junior please"]], foil="queen"
    )
    assert [set(row) for row in declared(many, "answer", network)] == [{"senior", "king"}, {"junior please"}]


def test_what_is_written_is_what_the_plain_model_finds_likeliest():
    network, prompts = model(), population().prompts().take(slice(0, 20))
    with torch.no_grad():
        likeliest = network(prompts.tokens)[:, -1].argmax(-1)
    desk = Desk(network, {"data": prompts}, quiet=True)
    assert written_after(desk, prompts, tokens=1) == [[network.tokenizer.decode(token)] for token in likeliest.tolist()]
    assert desk.counter["forwards"] == 20
    expected = np.where(likeliest == prompts.answer, 1, np.where(likeliest == prompts.foil, 0, -1))
    assert named_first(desk, prompts, 1).tolist() == expected.tolist()
    assert desk.counter["forwards"] == 20  # written once
