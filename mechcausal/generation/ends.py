"""When a text ends: at an end-of-text token, at a stop text, or when it has as many tokens as were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mechcausal.models import bridge

END, STOP, LENGTH = "end of text", "stop", "length"


def end_tokens(model: Any) -> frozenset[int]:  # noqa: ANN401 - a TransformerBridge
    """Return the tokens that end a text: those of the generation configuration, else that of the tokenizer."""
    configured = getattr(getattr(bridge.underlying(model), "generation_config", None), "eos_token_id", None)
    if configured is None:
        configured = getattr(getattr(model, "tokenizer", None), "eos_token_id", None)
    if configured is None:
        return frozenset()
    return frozenset(configured if isinstance(configured, (list, tuple)) else [configured])


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:  # noqa: ANN401
    """Return tokens as text, without special tokens; as numbers where there is no tokenizer."""
    if tokenizer is None:
        return " ".join(map(str, tokens))
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True))


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Return where in a text the first of the stop texts begins; None where none occurs."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(places) if places else None
