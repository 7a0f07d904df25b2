"""Mitigations that leave the model alone: take the words out of the prompt, or ask the model not to use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mechcausal.arguments import Text, Texts
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.rewriting import Behind, Without
from mechcausal.audits.mitigation.spec import Mitigation, Treatment, require_any
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Delete(Mitigation):
    """Take tokens out of every prompt: the baseline that any edit of the inside must beat.

    Attributes:
        at: Positions whose tokens are taken out: a name such as `"@pronoun"`, or several.
        words: Words that are taken out wherever they stand.
        fill: A word of one token that is put in their place, so that nothing moves; they are left out where None.
    """

    word: ClassVar[str] = "delete"
    at: str | Sequence[str] = ()
    words: Texts = ()
    fill: Text | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.at and not self.words:
            raise ArgumentError("delete needs to know what", fix='give at="@pronoun", or words=["he", "she"]')

    def made(self, desk: Desk) -> Treatment:
        """Return the rewrite of prompts."""
        return Treatment(rewrite=self._rewrite(desk))

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse words that the tokenizer does not know, and positions that no prompt has."""
        require_any(self._rewrite(desk), prompts)

    def _rewrite(self, desk: Desk) -> Without:
        at = (self.at,) if isinstance(self.at, str) else tuple(self.at)
        return Without(desk.model, at, tuple(self.words), self.fill)


@dataclass(frozen=True, kw_only=True)
class Ask(Mitigation):
    """Put a request before every prompt.

    Attributes:
        text: The request, with the space or the line break that ends it.
    """

    word: ClassVar[str] = "ask"
    text: Text

    def made(self, desk: Desk) -> Treatment:
        """Return the rewrite of prompts."""
        return Treatment(rewrite=Behind(desk.model, self.text))

    def require_fit(self, desk: Desk, prompts: Sequence[PromptSet]) -> None:
        """Refuse prompts without their text."""
        require_any(Behind(desk.model, self.text), prompts)
