"""A mechanism whose parents are given as a list is what it would be written out."""

import inspect

import numpy as np

from mechcausal.data.scm import SCM
from mechcausal.data.tasks.reading import reading


def test_the_parents_are_its_arguments():
    total = reading(["a", "b"], lambda columns: columns.sum(axis=1))
    assert list(inspect.signature(total).parameters) == ["a", "b"]
    scm = SCM("sum", noise={"u": 3, "v": 3}, mechanisms={"a": lambda u: u, "b": lambda v: v, "c": total})
    table = scm.sample(50, 0)
    np.testing.assert_array_equal(table["c"], table["a"] + table["b"])
    assert scm.parents("c") == ("a", "b") or list(scm.parents("c")) == ["a", "b"]
