"""Suites: what is drawn, what is left out, and how names are told from those of tasks."""

from random import Random

import pytest
from byte_pairs import reader

import mechcausal as mc
from mechcausal.catalog import TASKS
from mechcausal.data.suites import FOLDER, SUITES, draw, written
from mechcausal.data.suites.drawing import pair, shipped, shuffled, suite
from mechcausal.errors import DataError


def test_names_of_suites_are_no_names_of_tasks_with_factors(monkeypatch):
    monkeypatch.setattr(written, "_MOST", 200)
    ioi = mc.load("organism:ioi")
    assert mc.contrast("ioi/order", ioi, n=4).name == "ioi/order"
    with pytest.raises(DataError, match=r"can take none of the pairs of ioi.*words that the tokenizer does not know"):
        mc.contrast("ioi", ioi, n=4)
    assert not {f"{name}/" for name in TASKS} & {f"{name.partition('/')[0]}/" for name in SUITES if "/" in name}


@pytest.mark.parametrize(
    ("name", "said"),
    [("iio", "did you mean 'ioi'"), ("bbq/Age", "did you mean 'bbq/age'"), ("sva/simpl", "did you mean 'sva/simple'")],
)
def test_unknown_names(name, said):
    with pytest.raises(DataError, match=said):
        mc.contrast(name, reader())


def test_options_that_do_not_apply(by_hand):
    with pytest.raises(DataError, match="all have equal lengths"):
        mc.contrast("by_hand/gender", by_hand, lengths="any")
    with pytest.raises(DataError, match="have no environments"):
        mc.contrast("ioi", reader(), environment="world")


def test_lengths_that_differ_are_left_out_or_matched():
    equal, every = (mc.contrast("professions/gender", reader(), n=30, lengths=kind) for kind in ("equal", "any"))
    assert equal.even
    assert dict(equal.dropped)["prompts of different length"] > 0
    assert not every.even
    assert draw("professions/gender", reader(), 30).hash == equal.hash


def test_a_seed_is_a_draw():
    first, again, other = (mc.contrast("crows_pairs", reader(), n=8, seed=seed) for seed in (1, 1, 2))
    assert first.hash == again.hash != other.hash


def test_fewer_pairs_than_asked_for_are_said(caplog):
    with caplog.at_level("WARNING", "mechcausal"):
        pairs = mc.contrast("crows_pairs", reader(), n=2000)
    assert f"crows_pairs has {len(pairs)} different pairs" in caplog.text
    assert "fewer than the 2000 asked for" in caplog.text
    caplog.clear()
    mc.contrast("crows_pairs", reader(), n=8)
    assert "asked for" not in caplog.text


def test_every_suite_has_a_license():
    names = {path.name for path in FOLDER.iterdir()}
    told = (FOLDER / "README.md").read_text()
    assert all(name in told for name in names - {"README.md"})
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


def test_parts():
    assert suite("ioi").factor == "subject"
    assert len(shipped("crows_pairs")) == 1508
    assert sorted(shuffled([1, 2, 3], Random(0))) == [1, 2, 3]
    record = pair("x", "a b", "a c", " d", cluster="k")
    assert record.cells == {"clean": "a b", "corrupt": "a c", "answer": " d", "cluster": "k"}
    assert record.places == ({"end": [2, 3]}, {"end": [2, 3]})
