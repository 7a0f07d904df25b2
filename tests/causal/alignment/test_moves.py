"""Values moved between rows whose positions differ."""

import pytest
import torch

from mechcausal.address import Site
from mechcausal.causal.alignment.moves import gather, moved, position_axis, scatter, slots
from mechcausal.data import PromptSet, pad
from mechcausal.errors import DataError


def mask_of(rows, width):
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, columns in enumerate(rows):
        mask[row, columns] = True
    return mask


FROM, TO = [[0, 2], [1, 4], [2, 3]], [[1, 2], [0, 3], [4, 5]]


@pytest.mark.parametrize(("component", "shape"), [("resid_post", (5, 7)), ("z", (5, 4, 3)), ("pattern", (4, 5, 6))])
def test_against_a_loop(component, shape):
    axis = position_axis(Site(component, 0))
    values = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    compact = gather(values, mask_of(FROM, 5), axis=axis)
    whole = scatter(compact, mask_of(TO, 6), axis=axis)
    expected = torch.zeros_like(whole)
    for row in range(3):
        for slot in range(2):
            value = values[row].select(axis - 1, FROM[row][slot])
            torch.testing.assert_close(compact[row, slot], value, rtol=0, atol=0)
            expected[row].select(axis - 1, TO[row][slot]).copy_(value)
    torch.testing.assert_close(whole, expected, rtol=0, atol=0)
    assert whole.shape[axis] == 6
    torch.testing.assert_close(moved(values, mask_of(FROM, 5), mask_of(TO, 6), axis=axis), whole, rtol=0, atol=0)


def test_the_graph_is_kept():
    values = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 6, 4, dtype=torch.float64)
    (moved(values, mask_of(FROM, 5), mask_of(TO, 6)) * weights).sum().backward()
    torch.testing.assert_close(values.grad, moved(weights, mask_of(TO, 6), mask_of(FROM, 5)), rtol=0, atol=0)


def test_the_precision_is_that_of_the_run():
    compact, mask = torch.randn(3, 2, 4), mask_of(TO, 6)
    assert scatter(compact, mask, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


def test_paddings_do_not_matter():
    rows = [[5, 6, 7], [5, 6, 7, 8, 9]]
    left, right = (PromptSet(*pad(rows, side=side), side=side) for side in ("left", "right"))
    for at in ("@-1", "@1", "@-2"):
        found = [gather(prompts.tokens[..., None], prompts.select(at)) for prompts in (left, right)]
        torch.testing.assert_close(*found, rtol=0, atol=0)
    assert gather(right.tokens[..., None], right.select("@-1")).flatten().tolist() == [7, 9]


def test_refusals():
    prompts = PromptSet(*pad([[5, 6, 7], [5, 6, 7, 8, 9]]))
    with pytest.raises(DataError, match=r"3 to 5 positions.*named position"):
        slots(prompts.select("@all"))
    with pytest.raises(DataError, match="no prompt has these positions"):
        slots(prompts.select("@9"))
    with pytest.raises(DataError, match=r"3 rows of 2 positions; expected 3 rows of 1"):
        scatter(torch.zeros(3, 2, 4), mask_of([[0], [1], [2]], 5))
