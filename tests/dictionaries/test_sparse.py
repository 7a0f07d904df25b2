"""Products with sparse codes: against the dense product and autograd, however many features are active."""

import pytest
import torch

from mechcausal.dictionaries import sparse

N, D, FEATURES = 70, 5, 96


@pytest.fixture(params=[1, 9, 10, 40, FEATURES])
def code(request):
    """Return the distinct features that each token names, from one of them to all; up to 9 they count as few."""
    draw = torch.Generator().manual_seed(request.param)
    index = torch.rand(N, FEATURES, generator=draw).topk(request.param).indices
    assert sparse._few(index, FEATURES) == (request.param <= 9)
    return index


def leaves(*shapes):
    draw = torch.Generator().manual_seed(9)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]


def test_decoded(code):
    values, rows, goal = leaves(tuple(code.shape), (FEATURES, D), (N, D))
    found = sparse.decoded(values, code, rows)
    dense = torch.zeros(N, FEATURES, dtype=torch.float64).scatter(1, code, values) @ rows
    torch.testing.assert_close(found, dense)
    slopes = (torch.autograd.grad((out * goal).sum(), [values, rows]) for out in (found, dense))
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("held", [1, 100, 1 << 20])
def test_encoded(code, held, monkeypatch):
    monkeypatch.setattr(sparse, "_HELD", held)
    x, weights, bias, shift, goal = leaves((N, D), (D, FEATURES), (FEATURES,), (D,), tuple(code.shape))
    whole = (x.detach() - shift) @ weights + bias
    dense = whole.gather(1, code)
    found = sparse.encoded(dense.detach(), code, (x - shift).detach(), weights, bias, shift)
    assert torch.equal(found, dense)
    slopes = (torch.autograd.grad((out * goal).sum(), [weights, bias, shift]) for out in (found, dense))
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
