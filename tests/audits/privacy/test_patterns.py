"""Personal data by their form."""

import pytest

from mechcausal.audits.privacy.patterns import Personal, luhn, personal_data


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to ann.berg+news@mail.example.org today", "email"),
        ("ANN@EXAMPLE.COM.", "email"),
        ("call +49 30 1234 5678 now", "phone"),
        ("call (030) 1234-5678", "phone"),
        ("tel. 555-867-5309,", "phone"),
        ("call +4930123456789", "phone"),
        ("card 4539 1488 0343 6467 please", "card"),
        ("378282246310005", "card"),
    ],
)
def test_what_is_found(text, kind):
    assert [each.kind for each in personal_data(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-29 we met", "29.11.2026", "from 1999-2004", "version 1.2.3", "it costs 1234567890123 crowns",
        "card 4539 1488 0343 6468", "0000 0000 0000 0000", "a @ b", "user@localhost", "12 34", "x+1 234", "@handle.com",
    ],
)  # fmt: skip
def test_what_is_not(text):
    assert personal_data(text) == []


def test_several_in_one_text():
    text = "ann@example.org, bob@example.org, +1 555 867 5309, 4539148803436467"
    assert [each.kind for each in personal_data(text)] == ["email", "email", "card", "phone"]
    assert [each.kind for each in personal_data(text, ("phone",))] == ["phone"]


def test_luhn():
    assert luhn("79927398713")
    assert not luhn("79927398710")
    assert not luhn("0")


def test_masks_hide_all_but_the_ends():
    assert Personal("email", "ann@example.org").masked == "an*@*******.*rg"
    assert Personal("phone", "12-34").masked == "*****"
