"""What training changed, taken back part by part: some layers of a model are given the weights of the model before.

A layer with the weights of the other model computes what that model would compute from the same stream, so restoring all
parts that differ gives the other model, to the last bit.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from mechcausal.errors import DataError, ModelError
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities, abilities, hand_on
from mechcausal.models.fingerprint import tokenizer_fingerprint

OUTSIDE = "outside the layers"
"""The part that holds all weights that belong to no layer: embeddings, the last norm, the map to the logits."""
Parts = Literal["layer", "sublayer"]
_SUBLAYERS = {
    **dict.fromkeys(("attn", "ln1", "ln1_post"), "attn_out"),
    **dict.fromkeys(("mlp", "ln2", "ln2_post"), "mlp_out"),
}


class Restorer:
    """Gives parts of a model the weights of another of the same sizes; each call begins from the model's own weights.

    Args:
        model: The model.
        base: The model before.
        by: Whether a part is a `"layer"` or one of its two sublayers with the norm before it.

    Attributes:
        parts: The parts, in the order in which they compute.
        changed: By how much the weights of each part differ, relative to those of the model before; 0 where they are equal.
    """

    def __init__(self, model: Any, base: Any, by: Parts = "layer") -> None:  # noqa: ANN401 - TransformerBridges
        self._model = model
        weights, before = _weights(model), _weights(base)
        _refuse_other_sizes(model, base, weights, before)
        self._able: Abilities = abilities(model)
        members = _members(model, list(weights), by)
        self.parts = tuple(members)
        self.changed = {
            part: _distance([weights[name] for name in names], [before[name] for name in names])
            for part, names in members.items()
        }
        differing = {part: members[part] for part in self.parts if self.changed[part]}
        self._swaps = {
            part: [(weights[name], weights[name].clone(), before[name]) for name in names]
            for part, names in differing.items()
        }

    @torch.no_grad()
    def __call__(self, parts: Sequence[str]) -> None:
        """Give these parts the weights of the model before, and all others their own."""
        for part, swaps in self._swaps.items():
            for weight, trained, before in swaps:
                weight.copy_(before if part in parts else trained)
        hand_on(self._model, self._able)


@contextmanager
def restoring(model: Any, base: Any, by: Parts = "layer") -> Generator[Restorer]:  # noqa: ANN401 - TransformerBridges
    """Give what restores parts of a model in place; afterwards its weights are what they were, bit for bit.

    Args:
        model: The model.
        base: The model before, of the same sizes.
        by: What a part is.
    """
    restorer = Restorer(model, base, by)
    try:
        yield restorer
    finally:
        restorer(())


def _weights(model: Any) -> dict[str, Tensor]:  # noqa: ANN401 - a TransformerBridge
    """Return the weights by the names that they have in the bare model."""
    named = bridge.underlying(model).named_parameters()
    return {name.replace("_original_component.", ""): weight.detach() for name, weight in named}


def _refuse_other_sizes(model: Any, base: Any, weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:  # noqa: ANN401
    odd = sorted(weights.keys() ^ before.keys())
    odd += [name for name in weights.keys() & before.keys() if weights[name].shape != before[name].shape]
    if odd:
        raise ModelError(
            f"the model before has other weights than the model: {len(odd)} of {len({*weights, *before})} do not fit",
            got=odd[0][-80:], fix="give the model that it was trained from",
        )  # fmt: skip
    tokenizers = [tokenizer_fingerprint(getattr(each, "tokenizer", None)) for each in (model, base)]
    if None not in tokenizers and tokenizers[0] != tokenizers[1]:
        raise DataError(
            "the model before has another tokenizer, so the same token ids are other texts",
            fix="give the model that it was trained from",
        )


def _members(model: Any, names: Sequence[str], by: Parts) -> dict[str, list[str]]:  # noqa: ANN401 - a TransformerBridge
    """Return the names of the weights of each part, in the order in which the parts compute."""
    members: dict[str, list[str]] = {}
    for number, block in enumerate(model.blocks):
        prefix, kinds = f"{block.name}.", {}
        for word, part in dict(block.submodules).items():
            if word in _SUBLAYERS and getattr(part, "name", None):
                kinds[f"{prefix}{part.name}."] = _SUBLAYERS[word]
        words = ("attn_out", "mlp_out", "rest")
        inside: dict[str, list[str]] = {word: [] for word in words}
        for name in names:
            if name.startswith(prefix):
                inside[next((kind for start, kind in kinds.items() if name.startswith(start)), "rest")].append(name)
        if by == "layer":
            members[f"L{number}"] = [name for word in words for name in inside[word]]
        else:
            members |= {f"L{number}.{word}": inside[word] for word in words if inside[word]}
    of_layers = {name for listed in members.values() for name in listed}
    members[OUTSIDE] = [name for name in names if name not in of_layers]
    return members


def _distance(weights: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """Return the length of the difference over the length of the weights before; 0 only where all are equal."""
    pairs = [(weight, old.to(weight)) for weight, old in zip(weights, before, strict=True)]
    if all(torch.equal(weight, old) for weight, old in pairs):
        return 0.0
    moved = sum(float((weight - old).double().square().sum()) for weight, old in pairs)
    size = sum(float(old.double().square().sum()) for _, old in pairs)
    return max((moved / size) ** 0.5 if size else float("inf"), 1e-300)
