"""What a desk does to texts before they are run, and where a text starts that has no prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechcausal.audits.desk import Desk
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tokens import tokenizer_of, wants_bos


def rewritten(desk: Desk, texts: Sequence[str]) -> tuple[str, ...]:
    """Return prompts as a mitigation has them written: the texts that its `rewrite` makes."""
    if desk.rewrite is None:
        return tuple(texts)
    return desk.rewrite(PromptSet.from_text(desk.model, list(texts))).texts


def bare_start(model: Any) -> str | None:  # noqa: ANN401
    """Return the text that stands for the beginning of a document: nothing where a BOS token leads, else the end of one."""
    tokenizer = tokenizer_of(model)
    if wants_bos(model) and tokenizer.bos_token_id is not None:
        return ""
    return tokenizer.eos_token
