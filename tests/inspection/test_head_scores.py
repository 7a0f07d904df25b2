"""Head scores against patterns written by hand."""

import math

import torch

from mechcausal.inspection.head_scores import copying_scores, keys_of, pattern_scores, uniform_scores

TOKENS = [9, 1, 2, 3, 1, 2]


def one_hot(keys):
    return torch.nn.functional.one_hot(torch.tensor(keys), len(keys)).float()[None]


def scores(keys, tokens=TOKENS):
    return {name: float(value[0]) for name, value in pattern_scores(one_hot(keys), keys_of(tokens)).items()}


def test_a_head_by_hand_has_a_score_of_one_for_what_it_is():
    assert scores([0, 0, 1, 2, 3, 4])["previous"] == 1
    assert scores([0, 0, 0, 0, 0, 0])["first"] == 1
    assert scores([0, 0, 0, 0, 1, 2])["duplicate"] == 1
    assert scores([0, 0, 0, 0, 2, 3])["induction"] == 1
    assert scores([0, 0, 1, 2, 3, 4])["induction"] == 0
    assert scores([0, 0, 1, 2, 2, 4])["induction"] == 0.5


def test_without_such_keys_there_is_no_score():
    found = scores([0, 0, 1], [9, 1, 2])
    assert math.isnan(found["duplicate"])
    assert math.isnan(found["induction"])


def test_even_attention():
    even = uniform_scores([9, 1, 2])
    assert even["previous"] == torch.tensor(1 / 3).item()
    assert even["copying"] == 0.5


def test_copying():
    directions = torch.eye(3)  # of the tokens 0, 1, 2
    tokens = [0, 1, 2]
    pattern = one_hot([0, 1, 2])
    copies, suppresses = directions[tokens][:, None], -directions[tokens][:, None]
    assert float(copying_scores(pattern, copies, directions, tokens)[0]) == 1
    assert float(copying_scores(pattern, suppresses, directions, tokens)[0]) == 0
    assert math.isnan(float(copying_scores(one_hot([0, 0, 0]), copies, directions, tokens)[0]))
    assert math.isnan(float(copying_scores(pattern, copies, directions[:1], [0, 0, 0])[0]))
