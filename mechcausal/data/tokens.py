"""From text to tokens by one rule, with the place of every character span: BOS once, spans to positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mechcausal.errors import DataError, shortened


def tokenizer_of(model: Any) -> Any:  # noqa: ANN401 - any object with a tokenizer
    """Return the model's tokenizer, or say how to give it one."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise DataError("this model has no tokenizer, so text cannot be read", fix="mc.load(model, tokenizer=...)")
    return tokenizer


def wants_bos(model: Any) -> bool:  # noqa: ANN401 - a bridge
    """Say whether prompts to this model begin with its BOS token (the transformer-lens convention)."""
    return bool(getattr(model.cfg, "default_prepend_bos", True))


def encode(tokenizer: Any, text: str, *, bos: bool) -> tuple[list[int], list[tuple[int, int]]]:  # noqa: ANN401
    """Return the token ids of a text and the character span of each.

    With `bos`, exactly one BOS token leads, whether or not the tokenizer adds its own; without it none does. A
    tokenizer without a BOS token is left to its own special tokens ([CLS] and [SEP], say).
    """
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(text, return_offsets_mapping=fast)
    ids = [int(token) for token in encoded["input_ids"]]
    spans = [(int(a), int(b)) for a, b in encoded["offset_mapping"]] if fast else [(0, 0)] * len(ids)
    begin = tokenizer.bos_token_id
    if begin is not None and bos and ids[:1] != [begin]:
        return [begin, *ids], [(0, 0), *spans]
    if begin is not None and not bos and ids[:1] == [begin]:
        return ids[1:], spans[1:]
    return ids, spans


def encode_all(tokenizer: Any, texts: Sequence[str], *, bos: bool) -> list[tuple[list[int], list[tuple[int, int]]]]:  # noqa: ANN401
    """Return ids and spans of each text; refuse texts with words that the tokenizer would replace by another token."""
    encoded = [encode(tokenizer, text, bos=bos) for text in texts]
    unknown = {
        row: words
        for row, (text, (ids, spans)) in enumerate(zip(texts, encoded, strict=True))
        if (words := unknown_words(tokenizer, text, ids, spans))
    }
    if unknown:
        row, words = next(iter(unknown.items()))
        others = f", and words of {len(unknown) - 1} other prompts" if len(unknown) > 1 else ""
        more = f" and {len(words) - 3} more" if len(words) > 3 else ""
        shown = ", ".join(repr(shortened(word, 30)) for word in words[:3])
        raise DataError(
            f"the tokenizer does not know {shown}{more} in prompt {row}{others}", got=repr(shortened(texts[row], 100)),
            fix="use words of its vocabulary: model.tokenizer.get_vocab()",
        )  # fmt: skip
    return encoded


def unknown_words(tokenizer: Any, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[str]:  # noqa: ANN401
    """Return the words of a text that became the token for unknown ones, each once, in their order."""
    unknown, name = getattr(tokenizer, "unk_token_id", None), str(getattr(tokenizer, "unk_token", ""))
    if unknown is None or unknown not in ids:
        return []
    if getattr(tokenizer, "is_fast", False):
        pieces = [text[begin:end] for token, (begin, end) in zip(ids, spans, strict=True) if token == unknown]
    else:
        pieces = [piece for piece in tokenizer.tokenize(text) if tokenizer.convert_tokens_to_ids(piece) == unknown]
    # Special tokens that were added have an empty span, and the token's own name means itself.
    return list(dict.fromkeys(piece for piece in pieces if piece.strip() and piece.strip() != name))


def position_of(spans: Sequence[tuple[int, int]], text: str, place: str | int | Sequence[int]) -> int:
    """Return the position of a place in a text: the last token that it covers."""
    return span_of(spans, text, place)[1] - 1


def span_of(spans: Sequence[tuple[int, int]], text: str, place: str | int | Sequence[int]) -> tuple[int, int]:
    """Return the tokens that a place in a text covers, as (first, last + 1).

    Args:
        spans: The characters of each token.
        text: The text.
        place: A substring, a word number, or the first character and the one behind the last.
    """
    begin, end = characters_of(text, place)
    inside = [i for i, (a, b) in enumerate(spans) if a < end and b > begin and b > a]
    if not inside:
        raise DataError(
            f"no token covers characters {(begin, end)} of {text!r}", fix="use a fast tokenizer or positions"
        )
    return inside[0], inside[-1] + 1


def characters_of(text: str, place: str | int | Sequence[int]) -> tuple[int, int]:
    """Return the characters that a place covers; a substring must occur, a word and a span must lie in the text."""
    if isinstance(place, str):
        begin = text.find(place)
        if begin < 0 or not place:
            raise DataError(f"{place!r} does not occur in {text!r}", fix="name a substring of the prompt")
        return begin, begin + len(place)
    if isinstance(place, int):
        words = [match.span() for match in re.finditer(r"\S+", text)]
        if not 0 <= place < len(words):
            raise DataError(f"{text!r} has no word {place}", expected=f"0 to {len(words) - 1}")
        return words[place]
    begin, end = (int(number) for number in place)
    if not 0 <= begin < end <= len(text):
        raise DataError(
            f"the span {[begin, end]} does not lie in {shortened(text)!r}", expected=f"characters 0 to {len(text)}"
        )
    return begin, end


def single_token(tokenizer: Any, answer: str | int) -> int:  # noqa: ANN401
    """Return the id of an answer that must be one token; say which tokens it is otherwise."""
    if isinstance(answer, int):
        return answer
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    unknown = getattr(tokenizer, "unk_token_id", None)
    if len(ids) != 1:
        pieces = tokenizer.convert_ids_to_tokens(ids)
        raise DataError(
            f"the answer {answer!r} is {len(ids)} tokens",
            got=pieces,
            expected="one token",
            fix="shorten it, or mind the leading space",
        )
    if unknown is not None and ids[0] == unknown:
        raise DataError(f"the answer {answer!r} is unknown to the tokenizer", fix="use a word of its vocabulary")
    return int(ids[0])
