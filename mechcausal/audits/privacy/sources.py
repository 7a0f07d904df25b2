"""Data of the questions of privacy, as a plan names them.

[data.codes]
canaries = "canaries.csv"         # columns prefix, secret, count
candidates = "digits:4"

[data.documents]
texts = "documents.jsonl"         # columns text, member, cluster
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mechcausal.arguments import Seed
from mechcausal.audits.privacy.canaries import SHIPPED as CANARIES
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.members import SHIPPED as MEMBERS
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.sources import Source
from mechcausal.errors import did_you_mean


@dataclass(frozen=True)
class CanariesSource(Source):
    """Canaries of a file, or those that ship.

    Attributes:
        name: The file, from the folder of the plan, or a set that ships, such as `hiring_secret`.
        candidates: What each secret could have been: `"digits:4"`, or a list of texts.
        between: What stands between prefix and secret where the prefix ends without a space.
        separator: What stands between two symbols of a code: a space where each digit is a word.
        seed: The seed of the secrets that were never shown, where a set that ships draws them.
    """

    word: ClassVar[str] = "canaries"
    candidates: str | tuple[str, ...] = "digits:4"
    between: str = " "
    separator: str = ""
    seed: Seed = 0

    def read(self, model: Any, folder: Path) -> Canaries:  # noqa: ANN401 - a model
        """Read the file, or draw the set."""
        if self.name in CANARIES:
            return CANARIES[self.name](self.seed)
        options = {"candidates_are": self.candidates, "between": self.between, "separator": self.separator}
        return Canaries.read(folder / self.name, **options)

    def missing(self, folder: Path) -> str | None:
        """Say what is not there."""
        return _missing(folder, self.name, list(CANARIES))


@dataclass(frozen=True)
class TextsSource(Source):
    """Texts of a file that were in the training data or were not, or those that ship.

    Attributes:
        name: The file, from the folder of the plan, or a set that ships, such as `hiring_secret`.
        seed: The seed of the texts that were not, where a set that ships draws them.
    """

    word: ClassVar[str] = "texts"
    seed: Seed = 0

    def read(self, model: Any, folder: Path) -> Members:  # noqa: ANN401 - a model
        """Read the file, or draw the set."""
        return MEMBERS[self.name](self.seed) if self.name in MEMBERS else Members.read(folder / self.name)

    def missing(self, folder: Path) -> str | None:
        """Say what is not there."""
        return _missing(folder, self.name, list(MEMBERS))


def _missing(folder: Path, name: str, shipped: list[str]) -> str | None:
    if name in shipped or (folder / name).is_file():
        return None
    fix = did_you_mean(name, shipped) if "." not in name else ""
    return f"there is no file {folder / name}" + (f", and no set that ships: {fix}" if fix else "")
