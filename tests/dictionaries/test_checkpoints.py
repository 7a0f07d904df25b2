"""Checkpoints: what is not theirs stays, and what was changed is refused."""

import json

import pytest
from limited import small_files

from mechcausal.dictionaries import checkpoints
from mechcausal.errors import DataError, ModelError, ResultError
from mechcausal.results.storage import write_json

FACTS = {"recipe": {"width": 16, "rate": 0.002}, "site": "L1.resid_post"}


class Counter:
    """A trainer that has a number."""

    def __init__(self, steps=0):
        self.steps = steps

    def save(self, folder):
        (folder / "weights.pt").write_bytes(bytes([self.steps]) * 100)

    def load(self, folder):
        self.steps = (folder / "weights.pt").read_bytes()[0]


def test_the_last_one_is_gone_on_from_and_the_others_are_removed(tmp_path):
    for steps in (7, 14):
        checkpoints.keep(Counter(steps), tmp_path, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["00000014"]
    again = Counter()
    checkpoints.resume(again, tmp_path, FACTS)
    assert again.steps == 14
    checkpoints.remove(tmp_path)
    assert not tmp_path.exists()


def test_what_a_user_had_there_stays(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "00000007").mkdir()
    (tmp_path / "00000007" / "mine.txt").write_text("mine as well")
    (tmp_path / "list.txt").write_text("and this")
    checkpoints.keep(Counter(7), tmp_path / "sub", FACTS)
    (tmp_path / "sub" / "00000007" / "added.txt").write_text("put into a checkpoint of ours")
    checkpoints.keep(Counter(14), tmp_path / "sub", FACTS)
    assert (tmp_path / "sub" / "00000007" / "added.txt").is_file()
    checkpoints.remove(tmp_path / "sub")
    checkpoints.remove(tmp_path)
    kept = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt"))
    assert kept == ["00000007/mine.txt", "list.txt", "notes/mine.txt", "sub/00000007/added.txt"]


def test_one_of_another_training_is_refused(tmp_path):
    checkpoints.keep(Counter(7), tmp_path, FACTS)
    with pytest.raises(DataError, match="checkpoint of another training"):
        checkpoints.resume(Counter(), tmp_path, FACTS | {"site": "L0.resid_post"})


@pytest.mark.parametrize("name", ["weights.pt", "facts.json"])
def test_a_flipped_bit_is_refused(name, tmp_path):
    checkpoints.keep(Counter(7), tmp_path, FACTS)
    path = tmp_path / "00000007" / name
    content = bytearray(path.read_bytes())
    for position in range(3, len(content), 41):
        content[position] ^= 4
        path.write_bytes(content)
        trainer = Counter()
        with pytest.raises(ModelError, match=r"damaged.*delete"):
            checkpoints.resume(trainer, tmp_path, FACTS)
        assert trainer.steps == 0
        content[position] ^= 4
    (tmp_path / "00000007" / "weights.pt").unlink()
    path.write_bytes(content) if name == "facts.json" else None
    with pytest.raises(ModelError, match="damaged"):
        checkpoints.resume(Counter(), tmp_path, FACTS)


def test_facts_that_name_files_elsewhere_remove_nothing_there(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    folder = tmp_path / "checkpoint"
    checkpoints.keep(Counter(7), folder, FACTS)
    facts = json.loads((folder / "00000007" / "facts.json").read_text())
    del facts["checksum"]
    write_json(folder / "00000007" / "facts.json", facts | {"files": {"../../precious.txt": "x"}})
    checkpoints.remove(folder)
    assert (tmp_path / "precious.txt").is_file()


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path):
    checkpoints.keep(Counter(7), tmp_path, FACTS)
    with (
        small_files(64),
        pytest.raises(ResultError, match=r"00000014 could not be written .got File too large.*00000007 stays"),
    ):
        checkpoints.keep(Counter(14), tmp_path, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["00000007"]
    again = Counter()
    checkpoints.resume(again, tmp_path, FACTS)
    assert again.steps == 7
