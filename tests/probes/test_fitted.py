"""The probe: directions, scores and words of one that is written down by hand."""

import numpy as np
import pytest
import torch

from mechcausal.address import Selection, Site
from mechcausal.errors import UnsupportedError
from mechcausal.probes.fitted import Probe, Report
from mechcausal.probes.held_out import HeldOut
from mechcausal.probes.kinds import Linear, Network
from mechcausal.probes.numbers import HeldOutNumbers, NumberReport


def held_out():
    likely = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]))
    return HeldOut(likely, np.array([0, 1, 0, 1]), np.arange(4), np.array([0, 0, 1, 1]))


def probe(readout, classes=("no", "yes"), report=None):
    where = Site.parse("L1.resid_post"), Selection.parse("@-1")
    return Probe(
        "thing", *where, "mean", "logistic", classes, readout, report or Report.of(held_out(), p=0.05, permutations=19)
    )


def test_two_classes_are_read_along_one_direction():
    fitted = probe(Linear(torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])))
    assert fitted.direction.tolist() == [1.0, -2.0]
    assert float(fitted.bias) == 0.5
    assert fitted.scores(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)).tolist() == [1.5, -1.5]
    assert fitted.predict(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == ["yes", "no"]
    assert fitted.chosen == (0, 1)


def test_more_classes_have_a_direction_each():
    fitted = probe(Linear(torch.eye(3), torch.zeros(3)), ("a", "b", "c"))
    assert fitted.direction.shape == (3, 3)
    assert fitted.predict(torch.eye(3)[[2, 0]]).tolist() == ["c", "a"]


def test_numbers_have_no_classes():
    y = np.array([1.0, 2.0, 3.0, 6.0])
    numbers = HeldOutNumbers(y + 0.5, np.full(4, 3.0), y, np.arange(4), np.array([0, 0, 1, 1]))
    fitted = probe(Linear(torch.tensor([[2.0, 0.0]]), torch.tensor([1.0])), (), NumberReport.of(numbers))
    assert fitted.predict(torch.tensor([[1.0, 9.0]])).tolist() == [3.0]
    assert fitted.report.r2.estimate == pytest.approx(1 - 4 * 0.25 / 14)
    assert "held-out R2 0.929" in fitted.summary()


def test_a_network_has_no_direction():
    fitted = probe(Network(Linear(torch.eye(2), torch.zeros(2)), Linear(torch.ones(1, 2), torch.zeros(1))))
    assert not fitted.linear
    with pytest.raises(UnsupportedError, match="has no direction"):
        _ = fitted.direction


def test_what_is_said():
    text = repr(probe(Linear(torch.ones(1, 2), torch.zeros(1))))
    assert "probe of thing (no / yes) at L1.resid_post@-1" in text
    assert "held-out accuracy 0.500" in text
    assert "p 0.05 by 19 exchanges of labels" in text
    row = Report.of(held_out()).row()
    assert row["accuracy"] == 0.5
    assert row["guess"] == 0.5
