"""Canaries and texts as a plan names them."""

import pytest

from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.sources import CanariesSource, TextsSource
from mechcausal.audits.sources import source
from mechcausal.errors import DataError


def test_a_file_of_canaries(tmp_path):
    (tmp_path / "codes.csv").write_text("prefix,secret,count\nThe code of Ann is,407,2\nThe code of Bob is,111,0\n")
    made = source({"canaries": "codes.csv", "candidates": "digits:3"})
    assert made == CanariesSource("codes.csv", candidates="digits:3")
    assert source(made.to_json()) == made
    assert made.missing(tmp_path) is None
    canaries = made.read(None, tmp_path)
    assert isinstance(canaries, Canaries)
    assert len(canaries.candidates) == 1000


def test_a_canary_outside_its_candidates_is_refused_by_name(tmp_path):
    (tmp_path / "codes.csv").write_text("prefix,secret,count\nx,4071,2\ny,40711,0\n")
    with pytest.raises(DataError, match=r"codes\.csv line 3 is not among its candidates"):
        source({"canaries": "codes.csv"}).read(None, tmp_path)


def test_candidates_as_a_list(tmp_path):
    (tmp_path / "cities.csv").write_text("prefix,secret\nAnn lives in,Rome\n")
    made = source({"canaries": "cities.csv", "candidates": ["Rome", "Paris"]})
    assert made.read(None, tmp_path).candidates.all() == ["Rome", "Paris"]


def test_sets_that_ship():
    assert isinstance(CanariesSource("hiring_secret").read(None, None), Canaries)
    assert isinstance(TextsSource("hiring_secret").read(None, None), Members)


def test_what_is_missing_is_said(tmp_path):
    assert "no file" in CanariesSource("none.csv").missing(tmp_path)
    assert "did you mean 'hiring_secret'" in CanariesSource("hiring_secrets").missing(tmp_path)
    assert "no file" in TextsSource("none.jsonl").missing(tmp_path)
    assert TextsSource("hiring_secret").missing(tmp_path) is None


def test_a_file_of_texts(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "a b", "member": 1}\n{"text": "c d", "member": 0}\n')
    texts = source({"texts": "texts.jsonl"}).read(None, tmp_path)
    assert texts.members == (True, False)
