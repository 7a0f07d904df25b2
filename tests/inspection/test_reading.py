"""The numbers of a cell, from logits written by hand."""

import pytest
import torch

from mechcausal.address import Place, Site
from mechcausal.data.prompts import PromptSet
from mechcausal.inspection.reading import read_cells


class Plain:
    """An unembedding that leaves its input as it is."""

    head = torch.nn.Linear(3, 3)

    def __call__(self, stream):
        return stream


def test_the_numbers_of_a_cell():
    site, last = Site("resid_post", 0), Site("resid_post", 1)
    tokens = torch.zeros(1, 2, dtype=torch.long)
    prompts = PromptSet(tokens, torch.ones_like(tokens, dtype=torch.bool))
    chances = torch.tensor([[[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]]])
    output = torch.tensor([[[0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]])
    values = {site: chances.log(), last: output.log()}
    places = [Place.parse("L0.resid_post@0"), Place.parse("L0.resid_post@-1"), Place(last)]
    answer, foil = torch.tensor([[1]]), torch.tensor([[2]])
    first, second, whole = read_cells(Plain(), values, last, places, prompts, answer, foil, lambda _, x: x, 2)
    assert first.value[0] == pytest.approx(float(torch.tensor(0.3 / 0.5).log()))
    assert (first.rank[0], second.rank[0]) == (2, 2)
    assert (first.agrees[0], second.agrees[0]) == (1, 0)
    assert first.kl[0] == pytest.approx(float((output[0, 0] * (output[0, 0] / chances[0, 0]).log()).sum()), abs=1e-5)
    assert [token for token, _ in first.top] == [2, 1]
    assert whole.kl[0] == pytest.approx(0, abs=1e-6)
    assert whole.top[0] == (2, pytest.approx(0.7))
