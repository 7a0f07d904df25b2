"""What is to be computed: keys, units that do not depend on what is done, and the file of the plan."""

import numpy as np
import pytest

from mechcausal.errors import ResultError
from mechcausal.runs.plan import Group, Plan, key_of


def group(cells=5, prompts=("a", "b", "c", "d", "e", "f", "g"), block=3, chunk=2, **more):
    """Return a group of rows."""
    where = tuple({"site": f"L0.z.H{number}", "at": "@all"} for number in range(cells))
    return Group(
        **{
            "key": "k", "step": "s", "model": "m", "data": "d", "seed": 0, "each": {}, "word": "patch", "kind": "sweep",
            "values": {}, "spec": {}, "cells": where, "joint": tuple((cell["site"],) for cell in where),
            "prompts": prompts, "block": block, "chunk": chunk, **more,
        }
    )  # fmt: skip


def rows_of(units):
    return [(unit.cells[i], prompt) for unit in units for i in range(len(unit.cells)) for prompt in unit.prompts]


def test_units_hold_every_row_once():
    made = group()
    rows = rows_of(made.units(np.zeros((5, 7), dtype=bool)))
    assert sorted(rows) == [(cell, prompt) for cell in range(5) for prompt in range(7)]
    assert made.rows == 35


def test_units_that_are_not_done_keep_their_composition():
    made = group()
    everything = list(made.units(np.zeros((5, 7), dtype=bool)))
    done = np.zeros((5, 7), dtype=bool)
    done[:2, :3] = True  # the first unit
    assert list(made.units(done)) == everything[1:]
    assert list(made.units(np.ones((5, 7), dtype=bool))) == []


def test_a_unit_is_cut_down_to_what_is_missing():
    done = np.ones((5, 7), dtype=bool)
    done[3, 5] = False
    (unit,) = group().units(done)
    assert (unit.cells, unit.prompts) == ((3,), (5,))


def test_equal_prompts_are_computed_once():
    made = group(prompts=("a", "b", "a", "c"))
    assert made.distinct.tolist() == [0, 1, 3]
    assert made.rows == 15
    assert {prompt for _, prompt in rows_of(made.units(np.zeros((5, 3), dtype=bool)))} == {0, 1, 3}


def test_keys_tell_apart_what_differs():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert group().id != group(cells=4).id
    assert group().id == group(step="other").id


def test_a_plan_is_read_back_equal(tmp_path):
    plan = Plan("trial", "which?", {"s": "patch", "a": "link"}, (group(),), ("a",), "/here")
    plan.save(tmp_path)
    read = Plan.load(tmp_path)
    assert read == plan
    assert list(read.steps) == ["s", "a"]
    grown = read.with_groups("a", [group(step="a")])
    assert [each.step for each in grown.groups] == ["s", "a"]
    assert grown.waiting == ()


def test_two_steps_that_ask_the_same_are_one():
    plan = Plan("trial", "", {"s": "patch", "t": "patch"}, (group(), group(step="t")))
    assert plan.rows == 35


def test_a_plan_that_is_damaged_is_refused(tmp_path):
    Plan("trial", "", {}).save(tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text().replace("trial", "trail"))
    with pytest.raises(ResultError, match="damaged"):
        Plan.load(tmp_path)
