"""Texts that were in the training data, and others, as data."""

import numpy as np
import pytest

from mechcausal.audits.privacy.members import Members
from mechcausal.errors import DataError

ROWS = [
    {"text": "a b", "member": 1, "cluster": "x"},
    {"text": "c d", "member": "no", "cluster": "y"},
    {"text": "e f", "member": True, "cluster": "x"},
]


def test_rows_become_texts():
    texts = Members.read(ROWS)
    assert texts.members == (True, False, True)
    assert texts.clusters == ("x", "y", "x")
    assert texts.n_clusters == 2
    assert texts.mask.tolist() == [True, False, True]


def test_some_of_them():
    texts = Members.read(ROWS)
    assert texts.take([1]).texts == ("c d",)
    assert texts.take(texts.mask).clusters == ("x", "x")
    assert texts.take([1]).hash != texts.hash == Members.read(ROWS).hash
    with pytest.raises(DataError, match="empty"):
        texts.take(np.zeros(3, dtype=bool))


def test_each_is_its_own_cluster_unless_said():
    texts = Members.read([{"text": "a", "member": 1}, {"text": "b", "member": 0}])
    assert texts.clusters == ()
    assert texts.n_clusters == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "g", "member": "perhaps"}, "rows row 3 does not say whether it is a member"),
        ({"text": "g"}, "rows row 3 has no member"),
        ({"text": "  ", "member": 1}, "empty"),
    ],
)
def test_what_is_wrong_is_named_by_its_row(row, words):
    with pytest.raises(DataError, match=words):
        Members.read([*ROWS, row])


def test_columns_must_agree():
    with pytest.raises(DataError, match="member or not"):
        Members(("a", "b"), (True,))
