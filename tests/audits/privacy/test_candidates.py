"""The candidates of a secret."""

import pytest

from mechcausal.audits.privacy.candidates import Candidates, candidates
from mechcausal.errors import DataError


def test_codes_over_an_alphabet():
    digits = candidates("digits:2")
    assert len(digits) == 100
    assert digits.all()[:2] == ["00", "01"]
    assert "07" in digits
    assert "7" not in digits
    assert "0x" not in digits
    assert 7 not in digits


def test_codes_with_a_separator_take_secrets_written_without():
    spelled = candidates("digits:3", " ")
    assert spelled.written("407") == "4 0 7"
    assert "4 0 7" in spelled
    assert "407" not in spelled
    assert spelled.all()[-1] == "9 9 9"


def test_a_list_of_candidates():
    listed = candidates(["Rome", "Paris", "Rome"])
    assert listed == Candidates(("Rome", "Paris"))
    assert listed.all() == ["Rome", "Paris"]
    assert "Paris" in listed


def test_draws_are_candidates_and_follow_the_seed():
    spelled = candidates("hex:5")
    drawn = spelled.draw(40, 3)
    assert drawn == spelled.draw(40, 3)
    assert all(secret in spelled for secret in drawn)
    assert drawn != spelled.draw(40, 4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("digit:4", "did you mean 'digits'"),
        ("digits", "an alphabet and a length"),
        ("digits:0", "digits:4"),
        (["a"], "at least two"),
    ],
)
def test_what_is_no_set_of_candidates_is_refused(given, words):
    with pytest.raises(DataError, match=words):
        candidates(given)
