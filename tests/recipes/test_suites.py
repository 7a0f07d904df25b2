"""The files of the suites are those that their authors publish."""

from pathlib import Path

import pytest

import mechcausal as mc
from mechcausal.data.suites import FOLDER
from mechcausal.recipes.suites import build, tables

DATA = Path(mc.__file__).parents[1].parent / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not there: ../shared/data")
def test_the_files_are_made_again(tmp_path):
    made = build(DATA, tmp_path)
    assert [path.stem.removesuffix(".jsonl") for path in made] == list(tables(DATA))
    for path in made:
        assert path.read_bytes() == (FOLDER / path.name).read_bytes()
