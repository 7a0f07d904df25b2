"""Prompts and models of the questions of privacy: what a mitigation writes, what stands before a secret, who is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mechcausal.arguments import Model
from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.sources import FILE
from mechcausal.data.prompts import PromptSet, pad
from mechcausal.data.targets import filled
from mechcausal.data.tokens import encode_all, tokenizer_of, wants_bos
from mechcausal.errors import DataError
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.load import load

OtherModel = str | Model | None
"""Another model: as `mc.load` takes it, its path from the folder of the plan; or loaded."""


def _written(value: Any) -> Any:  # noqa: ANN401 - a name, a model or None
    return value if value is None or isinstance(value, str) else weights_fingerprint(value)


OTHER: dict[str, Any] = {**FILE, "write": _written}
"""The metadata of a field that names another model."""


def other_model(desk: Desk, given: Any) -> Any:  # noqa: ANN401 - a name or a model
    """Return another model, loaded once for all questions of a run."""
    return desk.once(("model", given), lambda: load(desk.path(given))) if isinstance(given, str) else given


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


def asked_for(model: Any, canaries: Canaries, prompts: Sequence[str], last: int | None = None) -> PromptSet:  # noqa: ANN401
    """Return prompts whose answers are the secrets, in the tokens that prompt and secret have when written together.

    Args:
        model: The model.
        canaries: The canaries.
        prompts: What is written before each secret.
        last: How many tokens before the secret are kept, besides a BOS token; all where None.
    """
    tokenizer, bos = tokenizer_of(model), wants_bos(model)
    rows, secrets = [], []
    for prompt, secret in zip(prompts, canaries.secrets, strict=True):
        (full, _), *alone = encode_all(tokenizer, [prompt + secret, *([prompt] if prompt else [])], bos=bos)
        before = alone[0][0] if alone else full[:1]
        shared = next((i for i, (a, b) in enumerate(zip(before, full, strict=False)) if a != b), len(before))
        shared = min(shared, len(full) - 1)
        kept = full[:shared] if last is None else _last(full[:shared], last, tokenizer.bos_token_id if bos else None)
        if not kept:
            raise DataError("nothing stands before the secret that the model could read", fix="give it a prefix")
        rows.append(kept)
        secrets.append([full[shared:]])
    tokens, mask = pad(rows)
    several = any(len(row[0]) > 1 for row in secrets)
    answers = filled(secrets) if several else None
    single = None if several else torch.tensor([row[0][0] for row in secrets])
    texts = tuple(prompts) if last is None else ()
    return PromptSet(tokens, mask, texts=texts, clusters=canaries.prefixes, answer=single, answers=answers)


def _last(tokens: list[int], count: int, begin: int | None) -> list[int]:
    """Return the last tokens, behind the BOS token where one leads."""
    leads = begin is not None and tokens[:1] == [begin]
    rest = tokens[1:] if leads else tokens
    return [*(tokens[:1] if leads else []), *rest[max(0, len(rest) - count) :]]
