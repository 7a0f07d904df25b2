"""The candidates of a secret: all codes over an alphabet, or a list. Exposure is a rank among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mechcausal.arguments import described
from mechcausal.errors import DataError, did_you_mean

ALPHABETS = {
    "digits": tuple("0123456789"),
    "hex": tuple("0123456789abcdef"),
    "letters": tuple("abcdefghijklmnopqrstuvwxyz"),
    "capitals": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
}
_EXAMPLE = '"digits:4", or a list of texts'
_LONGEST = 64


@dataclass(frozen=True)
class Candidates:
    """What a secret could have been.

    Attributes:
        symbols: The alphabet; with a length of 1 the candidates themselves.
        length: How many symbols a candidate has.
        separator: What stands between two symbols.
    """

    symbols: tuple[str, ...]
    length: int = 1
    separator: str = ""

    def __len__(self) -> int:
        """Return how many candidates there are."""
        return len(self.symbols) ** self.length

    def __contains__(self, secret: object) -> bool:
        """Say whether a secret is one of the candidates."""
        if not isinstance(secret, str):
            return False
        if self.length == 1:
            return secret in self.symbols
        parts = secret.split(self.separator) if self.separator else list(secret)
        return len(parts) == self.length and set(parts) <= set(self.symbols)

    def written(self, secret: str) -> str:
        """Return a secret as candidates are written: with the separator, where it was given without."""
        if secret not in self and self.separator and len(secret) == self.length:
            return self.separator.join(secret)
        return secret

    def __getitem__(self, number: int) -> str:
        """Return the candidate of a number, counted in the order of the alphabet."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        places = np.unravel_index(number, (len(self.symbols),) * self.length)
        return self.separator.join(self.symbols[int(place)] for place in places)

    def number(self, secret: str) -> int:
        """Return the number of a candidate."""
        parts = [secret] if self.length == 1 else secret.split(self.separator) if self.separator else list(secret)
        return int(
            np.ravel_multi_index([self.symbols.index(part) for part in parts], (len(self.symbols),) * self.length)
        )

    def all(self) -> list[str]:
        """Return all candidates, in the order of the alphabet."""
        return [self.separator.join(parts) for parts in product(self.symbols, repeat=self.length)]

    def draw(self, n: int, seed: int | Sequence[int]) -> list[str]:
        """Return random candidates, each as likely as any other."""
        numbers = np.random.default_rng(seed).integers(0, len(self.symbols), (n, self.length))
        return [self.separator.join(self.symbols[number] for number in row) for row in numbers.tolist()]


def candidates(given: str | Sequence[str], separator: str = "") -> Candidates:
    """Return the candidates that `"digits:4"` or a list of texts names.

    Args:
        given: An alphabet and a length, or the candidates.
        separator: What stands between two symbols of a code.

    Example:
        >>> len(candidates("digits:4")), "4071" in candidates("digits:4"), "abc" in candidates(["abc", "abd"])
        (10000, True, True)
    """
    if not isinstance(given, str):
        listed = tuple(dict.fromkeys(given))
        if len(listed) < 2 or not all(isinstance(text, str) and text for text in listed):
            raise DataError("a secret has at least two candidates", got=f"{len(listed)} texts", expected=_EXAMPLE)
        return Candidates(listed)
    word, _, length = given.partition(":")
    if word not in ALPHABETS:
        raise DataError(f"there is no alphabet {word!r}", expected=_EXAMPLE, fix=did_you_mean(word, ALPHABETS))
    if not length.isdecimal() or not 1 <= int(length) <= _LONGEST:
        raise DataError(
            "candidates are an alphabet and a length",
            got=described(given),
            expected=f"such as {word}:4, 1 to {_LONGEST}",
        )
    return Candidates(ALPHABETS[word], int(length), separator)
