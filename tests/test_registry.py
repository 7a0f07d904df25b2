"""A registry keeps its order, refuses a second thing of one name, and answers a wrong name with the nearest."""

import pytest

from mechcausal.errors import DataError
from mechcausal.registry import Registry


def numbers():
    registry = Registry("number", DataError)
    registry.register("two")(2)
    assert registry.register("one")(1) == 1  # a decorator returns what it decorates
    return registry


def test_names_are_kept_in_order():
    registry = numbers()
    assert list(registry) == ["two", "one"]
    assert len(registry) == 2
    assert registry["one"] == 1
    assert "one" in registry
    assert "three" not in registry


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match="there is no number called 'onne': did you mean 'one'"):
        numbers()["onne"]
    with pytest.raises(DataError, match="use one of two, one"):
        numbers()["zzzzzz"]


def test_a_name_is_given_once():
    with pytest.raises(DataError, match="the number 'one' is registered already"):
        numbers().register("one")(3)
