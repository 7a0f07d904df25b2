"""What is said of a search, from tables written down: no network is needed to judge one."""

import numpy as np
import pandas as pd
import pytest

from mechcausal.address import Place
from mechcausal.causal.alignment.aligned import LABELS, PLACEBO, RANDOM, UNTRAINED, Aligned, angles_between
from mechcausal.causal.alignment.interchanged import ALIGNED, Interchange
from mechcausal.errors import DataError
from mechcausal.results.provenance import Provenance

PLACE = "L1.resid_post@end"


def row(role, value, *, train=np.nan, iia=None, label=PLACE, reach=0.02, blind=0.5):
    iia = value if iia is None else iia
    return {
        "role": role, "label": label, "variables": "merit", "chance": 1 / 3, "blind": blind, "train": train, "n": 100,
        "train_iia": train, "angle_least": np.nan, "angle": np.nan, "value": value, "value_low": value - reach,
        "value_high": value + reach, "iia": iia, "iia_low": iia - reach, "iia_high": iia + reach,
    }  # fmt: skip


def found(value, train, *others, k=2, **columns):
    rows = [row(ALIGNED, value, train=train) | columns, *others]
    frame = pd.DataFrame(rows)
    told = Provenance(
        method="das", arguments={}, seed=0, model={}, prompts={"n": 200}, compute={"forwards": 10}
    )  # fmt: skip
    result = Interchange(frame, told, np.zeros((len(frame), 100)))
    return Aligned("merit", Place.parse({"site": "L1.resid_post", "at": "end", "basis": np.eye(4)[:k]}), result, (1.0,))


NOTHING = (row(LABELS, 0.4), row(PLACEBO, 0.1, label="L0.resid_post@end"), row(UNTRAINED, 0.3), row(RANDOM, 0.99))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (found(0.99, 1.0, *NOTHING), "2 directions of L1.resid_post@end carry merit: 0.99 [0.97, 1.01] of the answers it changes on held-out prompts (random labels 0.40, placebo place 0.10, untrained network 0.30)"),
        (found(0.99, 1.0, k=1), "1 direction of L1.resid_post@end carries merit: 0.99"),
        (found(0.7, 0.72), "2 directions of L1.resid_post@end carry part of merit: 0.70"),
        (found(0.7, 0.95), "over-fits: 2 directions of L1.resid_post@end give 0.95 of the answers that merit changes on the prompts searched on, but 0.70 [0.68, 0.72] on held-out ones"),
        (found(0.34, 0.95), "over-fits: 2 directions of L1.resid_post@end give 0.95 of the answers that merit changes on the prompts searched on, and 0.34 [0.32, 0.36] on held-out ones, which is not above chance"),
        (found(0.34, 0.4), "not above chance: 2 directions of L1.resid_post@end give 0.34"),
        (found(0.2, 0.35), "not above chance"),  # what is lost was a guess as well
        (found(0.8, 0.82, row(LABELS, 0.79)), "no better than a control: 2 directions of L1.resid_post@end give 0.80 [0.78, 0.82] of the answers that merit changes, random labels 0.79"),
        (found(0.8, 0.82, row(UNTRAINED, 0.9)), "no better than a control"),
    ],
)  # fmt: skip
def test_the_verdict(made, said):
    assert made.verdict.startswith(said)
    assert repr(made).startswith(said)


def test_chance_is_that_of_all_pairs_too():
    """Turning every answer over is right wherever it changes and nowhere else: that is no variable carried."""
    turned = found(1.0, 1.0, iia=0.5, iia_low=0.45, iia_high=0.55)
    assert not turned.above_chance
    assert turned.verdict.startswith("not above chance")


def test_a_placebo_that_does_as_well_is_told():
    alike = found(0.99, 1.0, row(PLACEBO, 0.98, label="L0.resid_post@end[2d]"))
    assert alike.verdict.endswith("; L0.resid_post@end[2d] does as well, so the place is not singled out")
    assert "singled out" not in found(0.99, 1.0, *NOTHING).verdict


def test_the_angle_is_told_where_the_truth_is_known():
    assert "degrees" not in found(0.99, 1.0).verdict
    several = found(0.99, 1.0, angle_least=14.6, angle=88.2)
    assert several.verdict.endswith("; 15 to 88 degrees from the subspace that the hypothesis names")
    one = found(0.99, 1.0, k=1, angle_least=3.0, angle=3.0)
    assert one.verdict.endswith("; 3 degrees from the subspace that the hypothesis names")
    assert one.angle == 3


def test_numbers_and_controls():
    made = found(0.9, 0.95, *NOTHING, iia=0.92)
    assert (made.changed, made.test_iia, made.train_changed, made.train_iia) == (0.9, 0.92, 0.95, 0.95)
    assert list(made.controls["role"]) == [LABELS, PLACEBO, UNTRAINED, RANDOM]
    assert not made.over_fits
    np.testing.assert_array_equal(made.basis, np.eye(4)[:2])


def test_angles():
    made = found(0.99, 1.0)  # the plane of the first two axes
    np.testing.assert_allclose(made.angles([[1, 0, 0, 0]]), [0], atol=1e-6)
    np.testing.assert_allclose(made.angles([0, 0, 1, 0]), [90])
    np.testing.assert_allclose(made.angles([[1, 0, 1, 0], [0, 3, 0, 0]]), [0, 45], atol=1e-6)
    np.testing.assert_allclose(made.angles(made.part), [0, 0], atol=1e-6)
    np.testing.assert_allclose(angles_between(np.eye(3)[:1], np.array([[1.0, 1.0, 0.0]])), [45])
    with pytest.raises(DataError, match=r"another activation \(got 16 features; expected 4"):
        made.angles(np.ones((1, 16)))
