"""The files of the suites are those that their authors publish."""

import os
from pathlib import Path

import pytest

from mechcausal.data.suites import FOLDER
from mechcausal.recipes.suites import build, tables

DATA = Path(os.environ.get("MECHCAUSAL_DATA", "no-such-folder"))


@pytest.mark.skipif(not DATA.is_dir(), reason="MECHCAUSAL_DATA does not name the folder of the public data sets")
def test_the_files_are_made_again(tmp_path):
    made = build(DATA, tmp_path)
    assert [path.stem.removesuffix(".jsonl") for path in made] == list(tables(DATA))
    for path in made:
        assert path.read_bytes() == (FOLDER / path.name).read_bytes()
