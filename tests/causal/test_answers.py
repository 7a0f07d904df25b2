"""The tokens of answers: words are looked up, token ids are taken as they are."""

import pytest
import torch

from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.scm import SCM
from mechcausal.errors import DataError


def stated(values):
    values = {} if values is None else {"answer": values}
    scm = SCM("own", noise={"u": 2}, mechanisms={"answer": lambda u: u}, values=values)
    return Hypothesis(scm, {"u": "L0.z.H0"}, outcome="answer")


def test_words_and_ids_may_be_mixed(by_hand):
    word = by_hand.tokenizer.convert_ids_to_tokens(4)
    assert torch.equal(answer_tokens(by_hand, stated((word, 3))), torch.tensor([4, 3]))


def test_what_is_no_answer_is_refused(by_hand):
    with pytest.raises(DataError, match=r"values of the outcome 'answer' have no words.*token ids"):
        answer_tokens(by_hand, stated(None))
    with pytest.raises(DataError, match=r"the answer 'yes no' is 2 tokens.*one token"):  # training, DAS, interchange
        answer_tokens(by_hand, stated(("yes no", 3)))
    for outside in (-1, by_hand.cfg.d_vocab):
        with pytest.raises(DataError, match=f"{outside} is no token of this model"):
            answer_tokens(by_hand, stated((0, outside)))
