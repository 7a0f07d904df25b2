"""The stream of every layer at chosen positions, and the tokens that stand there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.data.places import position_label
from mechcausal.data.prompts import PromptSet
from mechcausal.models import bridge
from mechcausal.models.hooked import readings


@torch.no_grad()
def streams(model: Any, prompts: PromptSet, sites: Sequence[Site], batch_size: int) -> dict[Site, Tensor]:  # noqa: ANN401
    """Return whole activations of all prompts, [prompt pos model], with real tokens from the left on."""
    wide = prompts.padded(prompts.tokens.shape[1], "right")
    parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for rows in torch.arange(len(wide)).split(batch_size):
        for site, value in readings(model, wide.take(rows).to(bridge.device_of(model)), sites).items():
            parts[site].append(value.float())
    return {site: torch.cat(values) for site, values in parts.items()}


def chosen(prompts: PromptSet, place: Place) -> tuple[Tensor, Tensor]:
    """Return (rows, columns) of the tokens that a place selects, where real tokens stand from the left on."""
    wide = prompts.padded(prompts.tokens.shape[1], "right")
    rows, columns = wide.select(place.at).nonzero(as_tuple=True)
    return rows, columns


def token_texts(model: Any, tokens: Sequence[int]) -> list[str]:  # noqa: ANN401
    """Return tokens as readable texts: with their leading space, line breaks written out."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return [str(token) for token in tokens]
    return [
        _readable(str(tokenizer.decode([token]))) or str(tokenizer.convert_ids_to_tokens(token)) for token in tokens
    ]


def _readable(text: str) -> str:
    """Return a text with its line breaks written out, in quotes where it is blank."""
    shown = text.replace("\n", "\\n").replace("\t", "\\t")
    return f"'{shown}'" if shown and not shown.strip() else shown


def position_labels(model: Any, prompts: PromptSet) -> list[str]:  # noqa: ANN401
    """Return what each token is called: by itself where all prompts have the same there, else by the name of its position."""
    rows, labels = prompts.real_tokens, []
    for index in range(int(prompts.lengths.max())):
        tokens = {row[index] for row in rows if len(row) > index}
        if len(tokens) == 1:
            labels.append(f"{index}{_spaced(token_texts(model, list(tokens))[0])}")
        else:
            labels.append(position_label(index, prompts.unaligned))
    return labels


def _spaced(text: str) -> str:
    return text if text.startswith(" ") else f" {text}"
