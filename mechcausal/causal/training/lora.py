"""Low-rank adapters (LoRA) on the linear maps of a bridge, through peft.

They are put on the maps that the bridge itself runs with. An adapter on the wrapped model's joint query-key-value
matrix would not be seen, because a bridge splits that matrix when it is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mechcausal.errors import DataError, MechcausalError, did_you_mean
from mechcausal.models import bridge

TARGETS = ("q", "k", "v", "o", "in", "gate", "out")
_OPTIONS = ("r", "alpha", "targets", "seed")
_ATTENTION = ("q", "k", "v", "o")


@dataclass
class Adapters:
    """Adapters that are attached to a model.

    Attributes:
        parameters: Their weights by name: all that is trained.
        layers: Each adapted map with the bridge component that holds it.
    """

    parameters: dict[str, nn.Parameter]
    layers: list[tuple[Any, Any]]
    frozen: dict[nn.Parameter, bool]

    @classmethod
    def asked(cls, model: Any, options: Mapping[str, Any]) -> Adapters:  # noqa: ANN401
        """Attach them with options by name, as a configuration has them."""
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise DataError(f"LoRA has no option {unknown[0]!r}", fix=did_you_mean(unknown[0], _OPTIONS))
        return cls.attach(model, **options)

    @classmethod
    def attach(
        cls,
        model: Any,  # noqa: ANN401 - a TransformerBridge
        *,
        r: int = 8,
        alpha: int | None = None,
        targets: Sequence[str] = ("q", "k", "v", "o", "in", "out"),
        seed: int = 0,
    ) -> Adapters:
        """Put an adapter of rank `r` on every target map of every layer; at first it changes nothing.

        Args:
            model: The bridge.
            r: The rank.
            alpha: The change is scaled by alpha / r; twice the rank without it.
            targets: Which maps: q, k, v, o of the attention; in, gate, out of the MLP.
            seed: The seed of the first weights.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MechcausalError(
                "LoRA needs peft, which is not installed", fix="pip install mechcausal[lora]"
            ) from error
        unknown = [word for word in targets if word not in TARGETS]
        if unknown:
            raise DataError(f"there is no map called {unknown[0]!r}", fix=did_you_mean(unknown[0], TARGETS))
        if r < 1:
            raise DataError("the rank of an adapter must be at least 1", got=r)
        wrapped = bridge.underlying(model)
        frozen = {parameter: parameter.requires_grad for parameter in wrapped.parameters()}
        holders = _holders(model, targets)
        names = {id(module): name for name, module in wrapped.named_modules()}
        chosen = [names[id(holder.original_component)] for holder in holders]
        config = LoraConfig(r=r, lora_alpha=2 * r if alpha is None else alpha, target_modules=chosen, lora_dropout=0.0)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about matrices stored transposed, which it handles
            torch.manual_seed(seed)
            inject_adapter_in_model(config, wrapped)
        wrapped.eval()
        layers = [(holder, holder.original_component) for holder in holders]
        named = {
            f"{name}.{what}": parameter
            for name, (_, layer) in zip(chosen, layers, strict=True)
            for what, parameter in layer.named_parameters()
            if "lora_" in what
        }
        return cls(named, layers, frozen)

    def merge(self) -> None:
        """Add the adapters to the weights and take them off."""
        for _, layer in self.layers:
            layer.merge()
        self.remove()

    def remove(self) -> None:
        """Take the adapters off."""
        for holder, layer in self.layers:
            holder.set_original_component(layer.get_base_layer())
        for parameter, was in self.frozen.items():
            parameter.requires_grad_(was)


def _holders(model: Any, targets: Sequence[str]) -> list[Any]:  # noqa: ANN401
    """Return the bridge components that hold the target maps."""
    holders = []
    for block in model.blocks:
        for word in targets:
            section = getattr(block, "attn" if word in _ATTENTION else "mlp", None)
            holder = None if section is None else section._modules.get(word)
            if holder is not None and holder.original_component is not None:
                holders.append(holder)
    if not holders:
        raise DataError("this model has none of these maps", got=list(targets), expected=", ".join(TARGETS))
    return holders
