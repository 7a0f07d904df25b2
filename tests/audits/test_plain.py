import math
from pathlib import Path

import numpy as np

from mechcausal.audits.plain import number, plain


def test_everything_becomes_json():
    given = {1: np.float64(0.5), "a": (np.int64(2), float("nan")), "b": np.arange(2), "c": float("inf"), "d": Path("x")}
    assert plain(given) == {"1": 0.5, "a": [2, None], "b": [0, 1], "c": "inf", "d": "x"}
    assert plain([True, None, "x", -math.inf]) == [True, None, "x", "-inf"]


def test_numbers_come_back():
    assert math.isnan(number(plain(float("nan"))))
    assert number(plain(float("inf"))) == math.inf
    assert number(plain(0.25)) == 0.25
