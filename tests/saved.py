"""Whether what is loaded is what was saved: its class, its numbers, all its properties, what it says and its pictures."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
from plotly.basedatatypes import BaseFigure

import mechcausal as mc


def assert_kept(found, path):
    """Save and load something, and compare all that it can be asked for without arguments; return what was loaded."""
    again = mc.results.load(found.save(path))
    assert type(again) is type(found)
    assert repr(type(found).load(path)) == repr(found)
    for name in _public(type(found)):
        was, now = (_asked(one, name) for one in (found, again))
        _compare(was, now, f"{type(found).__name__}.{name}")
    return again


def _public(kind):
    """Return the names of fields, of properties and of methods that need no argument."""
    properties = [name for name, _ in inspect.getmembers(kind, lambda member: isinstance(member, property))]
    fields = list(getattr(kind, "__dataclass_fields__", {}))
    methods = [
        name
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if all(p.default is not p.empty for p in list(inspect.signature(member).parameters.values())[1:])
    ]
    return [name for name in (*fields, *properties, *methods, "_repr_html_") if name[0] != "_" or name == "_repr_html_"]


def _asked(one, name):
    try:
        value = getattr(one, name)
        return value() if callable(value) else value
    except mc.MechcausalError as error:
        return str(error)


def _compare(was, now, where):
    if isinstance(was, pd.DataFrame):
        pd.testing.assert_frame_equal(now, was, obj=where)
    elif isinstance(was, pd.Series):
        pd.testing.assert_series_equal(now, was, obj=where)
    elif isinstance(was, np.ndarray):
        np.testing.assert_array_equal(now, was, err_msg=where)
    elif isinstance(was, BaseFigure):
        assert now.to_json() == was.to_json(), where
    elif isinstance(was, dict):
        assert now.keys() == was.keys(), where
        for key, value in was.items():
            _compare(value, now[key], f"{where}[{key!r}]")
    elif isinstance(was, (list, tuple)) and type(was) in (list, tuple):
        assert len(now) == len(was), where
        for one, other in zip(was, now, strict=True):
            _compare(one, other, where)
    elif isinstance(was, float):
        np.testing.assert_equal(now, was, err_msg=where)
    elif isinstance(was, mc.Result):  # its tables cannot be compared by ==
        assert repr(now) == repr(was), where
    else:
        assert now == was or repr(now) == repr(was), where
