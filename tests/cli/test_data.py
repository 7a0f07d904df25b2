"""What a verb runs on: one source, files that are there, and labels by column or by side."""

from pathlib import Path

import pytest

import mechcausal as mc
from mechcausal.cli.data import Chosen, concept_labels
from mechcausal.errors import ArgumentError


def test_one_source_of_data(tmp_path):
    Chosen(contrast="x").check("contrast", "pairs")
    with pytest.raises(ArgumentError, match="name the data: give --contrast NAME or --pairs FILE or --task NAME"):
        Chosen().check("contrast", "pairs", "task")
    with pytest.raises(ArgumentError, match=r"name the data once .got --contrast and --pairs"):
        Chosen("x", tmp_path / "y").check("contrast", "pairs")
    with pytest.raises(ArgumentError, match="there is no file"):
        Chosen(pairs=tmp_path / "y").check("pairs")


def test_what_is_read(by_hand, tmp_path):
    path = mc.contrast("by_hand/gender", by_hand, n=6).write(tmp_path / "p.jsonl")
    assert len(Chosen(pairs=path).read(by_hand)) == 6
    assert len(Chosen(pairs=path, n=4).read(by_hand)) == 4
    assert len(Chosen("by_hand/gender", n=5).read(by_hand)) == 5
    assert len(Chosen(task="by_hand", n=3).read(by_hand)) == 3
    prompts = mc.task("by_hand").prompts(by_hand, 3).write(tmp_path / "q.csv")
    assert len(Chosen(prompts=prompts).read(by_hand)) == 3
    Path(path).write_text(
        path.read_text() + '{"clean": "he unheard ask", "corrupt": "she high ask", "answer": "yes", "foil": "no"}\n'
    )
    rows = [line for line in path.read_text().splitlines() if "position" not in line]
    path.write_text("\n".join([*rows, rows[0].replace("unheard", "low")]))
    assert len(Chosen(pairs=path, drop=True).read(by_hand)) == 1


def test_labels_of_a_concept(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=3)
    assert concept_labels(pairs, None) == ("gender", ["clean"] * 3 + ["corrupt"] * 3)
    name, values = concept_labels(pairs, "gender")
    assert (name, len(values)) == ("gender", 6)
    with pytest.raises(ArgumentError, match="give --concept COLUMN"):
        concept_labels(pairs.clean, None)
