"""Groups of prompts by their columns."""

from __future__ import annotations

import numpy as np

import mechcausal as mc
from mechcausal.audits.desk import Desk
from mechcausal.audits.grouped import bars_of, by_group, groups_of, wrong_groups
from mechcausal.data.tasks.bios import TASK


def test_groups_are_the_values_of_their_columns():
    model = mc.load("organism:bios")
    prompts = TASK.prompts(model, 60, truth="profession")
    groups = groups_of(prompts, ("label", "group"))
    assert groups.tolist() == [f"{label}, {group}" for label, group in zip(prompts.labels, prompts.groups, strict=True)]
    right = (groups_of(prompts, ("group",)) == "he").astype(float)
    table = by_group(Desk(model, {"data": prompts}), right, groups_of(prompts, ("group",)), prompts.clusters)
    assert dict(zip(table["group"], table["accuracy"], strict=True)) == {"he": 1.0, "she": 0.0}
    assert table["n"].sum() == 60
    assert [bar.label for bar in bars_of(table).rows] == ["he", "she"]
    assert list(wrong_groups(prompts, ("group",), 10)) == []
    assert "fewer than 1000" in next(iter(wrong_groups(prompts, ("group",), 1000)))
    assert "no variable or column 'grop'" in next(iter(wrong_groups(prompts, ("grop",), 1)))
    alone = prompts.take(np.flatnonzero(right).tolist())
    assert "one group" in next(iter(wrong_groups(alone, ("group",), 1)))
