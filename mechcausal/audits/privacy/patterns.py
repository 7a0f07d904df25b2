"""Personal data by their form: e-mail addresses, telephone numbers, and numbers of payment cards (checked by Luhn's rule).

Names and addresses have no form of their own, so they are not found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

PersonalKind = Literal["email", "phone", "card"]
PERSONAL_KINDS: tuple[PersonalKind, ...] = ("email", "card", "phone")

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}(?![\w-])", re.IGNORECASE)
_CARD = re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,5}\)[ .-]?)?\d{2,5}(?:[ .-]\d{2,5}){1,4}(?![\w-])|(?<![\w+])\+\d{8,15}(?!\w)"
)
_DATE = re.compile(r"\d{4}[ .-]\d{1,2}[ .-]\d{1,2}|\d{1,2}[ .-]\d{1,2}[ .-]\d{4}|\d{4}[ -]\d{4}")
_PHONE_DIGITS = range(8, 16)


@dataclass(frozen=True)
class Personal:
    """Something that looks like personal data.

    Attributes:
        kind: What it looks like.
        text: What stands there.
    """

    kind: PersonalKind
    text: str

    @property
    def masked(self) -> str:
        """The text with all but its first and last two characters hidden, fit for a report."""
        if len(self.text) <= 5:
            return "*" * len(self.text)
        inside = re.sub(r"\w", "*", self.text[2:-2])
        return self.text[:2] + inside + self.text[-2:]


def luhn(number: str) -> bool:
    """Say whether the digits of a number fulfil Luhn's rule, as those of payment cards do.

    Args:
        number: The number; all but its digits is ignored.

    Example:
        >>> luhn("4539 1488 0343 6467"), luhn("4539 1488 0343 6468")
        (True, False)
    """
    digits = [int(character) for character in number if character.isdigit()][::-1]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[1::2]]
    return len(digits) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def personal_data(text: str, kinds: Sequence[PersonalKind] = PERSONAL_KINDS) -> list[Personal]:
    """Return what in a text looks like personal data; what is a card is not counted as a telephone number too.

    Args:
        text: The text.
        kinds: What is looked for.
    """
    hits = []
    for kind in PERSONAL_KINDS:
        pattern, fits = _RULES[kind]
        for match in pattern.finditer(text):
            if fits(match[0]):
                if kind in kinds:
                    hits.append(Personal(kind, match[0]))
                text = text[: match.start()] + "\n" * len(match[0]) + text[match.end() :]
    return hits


def _is_card(text: str) -> bool:
    digits = [character for character in text if character.isdigit()]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(text)


def _is_phone(text: str) -> bool:
    return sum(character.isdigit() for character in text) in _PHONE_DIGITS and not _DATE.fullmatch(text)


_RULES: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (_EMAIL, lambda text: True),
    "card": (_CARD, _is_card),
    "phone": (_PHONE, _is_phone),
}
