"""What a search for directions descends on."""

import math

import numpy as np
import pytest
import torch

from mechcausal.causal.alignment.rotation import Cooling, Rotation, rows_of


@pytest.fixture
def span():
    return torch.linalg.qr(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)))[0]


def test_columns_are_orthonormal_and_inside_the_span(span):
    rotation = Rotation(span, 3, seed=0)
    columns = rotation.columns(0.0).detach()
    torch.testing.assert_close(columns.T @ columns, torch.eye(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(span @ span.T @ columns, columns, rtol=0, atol=1e-5)
    assert rotation.penalty == 0
    np.testing.assert_allclose(np.array(rotation.basis()).T, columns, atol=1e-6)
    assert not torch.equal(Rotation(span, 3, seed=1).raw, rotation.raw)


def test_the_boundary_is_soft_at_first_and_sharp_at_last(span):
    rotation = Rotation(span, None, seed=0)
    with torch.no_grad():
        rotation.boundary.fill_(0.4)  # two of five
    shares = [rotation.columns(at).detach().square().sum(0) for at in (0.0, 1.0)]
    assert shares[0].max() < 0.8
    assert shares[0].min() > 0.05
    np.testing.assert_allclose(shares[1], [1, 1, 0, 0, 0], atol=0.01)
    assert rotation.penalty.item() == pytest.approx(0.4)
    columns = rotation.columns(0.3)
    moved = columns @ columns.T  # moves each coordinate by its share
    gains = torch.linalg.eigvalsh(moved.detach()).flip(0)[:5]
    torch.testing.assert_close(gains, rotation.columns(0.3).detach().square().sum(0).sort(descending=True)[0])


@pytest.mark.parametrize(("boundary", "count"), [(0.4, 2), (-0.2, 1), (0.05, 1), (1.7, 5)])
def test_what_is_within_the_boundary_goes_on(span, boundary, count):
    rotation = Rotation(span, None, seed=0)
    with torch.no_grad():
        rotation.boundary.fill_(boundary)
    settled = rotation.settled()
    assert settled.boundary is None
    torch.testing.assert_close(
        torch.tensor(settled.basis()), torch.tensor(rotation.basis())[:count], rtol=0, atol=1e-5
    )  # fmt: skip
    assert [rate for _, rate in settled.parameters(0.2)] == [0.2]
    assert [rate for _, rate in rotation.parameters(0.2)] == pytest.approx([0.2, 0.02])


def test_the_temperature_falls_to_one():
    """A first loss of 20 nats over four answers is that of a guess at the temperature 20 / log 4."""
    cooling = Cooling(100, 4)
    logits = torch.tensor([[0.0, 20.0, 0.0, 0.0]])
    told = [cooling.temperature(logits, torch.tensor([0]), step) for step in range(100)]
    assert told[0] == pytest.approx(20 / math.log(4), rel=1e-4)
    assert told == sorted(told, reverse=True)
    assert set(told[70:]) == {1.0}
    assert told[69] > 1
    sure = Cooling(100, 4)
    assert sure.temperature(logits, torch.tensor([1]), 0) == 1  # what is right already is not heated


def test_rows_are_plain_numbers():
    assert rows_of(np.eye(2)) == rows_of(torch.eye(2)) == ((1.0, 0.0), (0.0, 1.0))
