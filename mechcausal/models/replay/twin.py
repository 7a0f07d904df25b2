"""The bare model beneath a bridge, one decoder layer at a time, on a suffix of its positions.

The twin shares its weights with the bridge and carries no hooks. How a layer is called (masks, rotary positions, what
kind of attention) is not written down here for any architecture: one run of the whole model is watched, and a layer is
called again as it was called then, with the rows and the positions that are wanted.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.models import bridge


@dataclass
class Base:
    """The unedited run of one batch.

    Attributes:
        hidden: The input of every layer, and last the output of the last: [batch pos model] each.
        keys: The keys of every layer, after rotation, [batch head pos feature].
        values: The values.
        calls: How each layer was called: positional and keyword arguments.
        executed: How many token-layers have been run on top of it so far.
    """

    hidden: list[Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    executed: int = 0

    @property
    def width(self) -> int:
        """How many columns it has."""
        return self.hidden[0].shape[1]


class Twin:
    """A bare model that shares the weights of a bridge.

    Attributes:
        model: The `transformers` model.
        layers: Its decoder layers.
    """

    def __init__(self, wrapped: Any) -> None:  # noqa: ANN401 - a TransformerBridge
        module = bridge.underlying(wrapped)
        if not hasattr(module, "config") or not hasattr(module.config, "model_type"):
            raise UnsupportedError("this is no transformers model, whose layers could be called")
        self.model = _bare(module)
        try:
            self.layers = [self.model.get_submodule(block.name) for block in wrapped.blocks]
            self.norm = self.model.get_submodule(wrapped.ln_final.name)
            self.head = self.model.get_submodule(wrapped.unembed.name)
            self.chains = [_chain(self.model, block) for block in wrapped.blocks]
        except (AttributeError, TypeError) as error:
            raise UnsupportedError(f"its parts are not where the bridge says they are: {error}") from error
        if not isinstance(self.head, nn.Linear):
            raise UnsupportedError("its unembedding is no linear map", got=type(self.head).__name__)
        config = self.model.config
        self.softcap = getattr(config, "final_logit_softcapping", None)
        self.scaling = getattr(config, "logits_scaling", None)
        self._takes_positions = "position_ids" in signature(self.model.forward).parameters

    @torch.no_grad()
    def record(self, batch: PromptSet) -> Base:
        """Run the model as it is and remember how every layer was called."""
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        last: list[Tensor] = []
        handles = [
            layer.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
            for layer in self.layers
        ]
        handles.append(self.layers[-1].register_forward_hook(lambda _, args, out: last.append(_first(out))))
        padded = not bool(batch.mask.all())
        options: dict[str, Any] = {"attention_mask": batch.mask.long()} if padded else {}
        if padded and self._takes_positions:
            options["position_ids"] = (batch.mask.long().cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        try:
            self.model(batch.tokens, past_key_values=cache, use_cache=True, logits_to_keep=1, **options)
        except TypeError:
            calls.clear()
            last.clear()
            cache = DynamicCache()
            self.model(batch.tokens, past_key_values=cache, use_cache=True, **options)
        finally:
            for handle in handles:
                handle.remove()
        if len(calls) != len(self.layers) or len(cache.layers) != len(self.layers):
            raise UnsupportedError("its layers are not called once each, with a cache of keys and values")
        return Base(
            hidden=[*(_hidden(args, kwargs) for args, kwargs in calls), last[0]],
            keys=[_present(layer.keys) for layer in cache.layers],
            values=[_present(layer.values) for layer in cache.layers],
            calls=calls,
        )

    @torch.no_grad()
    def layer(self, base: Base, number: int, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        """Run one layer on the columns from `start` on, for these rows of the base run, changed left of nothing."""
        args, kwargs = base.calls[number]
        size = len(base.hidden[0])
        prefix = _Prefix(base.keys[number], base.values[number], rows, start)
        cut = lambda value: _cut(value, rows, start, size, prefix)  # noqa: E731
        new_args = [cut(value) for value in args]
        new_kwargs = {name: cut(value) for name, value in kwargs.items()}
        if new_args:
            new_args[0] = hidden
        else:
            new_kwargs["hidden_states"] = hidden
        base.executed += hidden.shape[0] * hidden.shape[1]
        return _first(self.layers[number](*new_args, **new_kwargs))

    @torch.no_grad()
    def logits(self, hidden: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the logits of final hidden states [n model]: all, or for each its own columns [n k]."""
        normed = self.norm(hidden)
        if columns is None:
            out = self.head(normed)
        else:
            out = torch.einsum("nd,nkd->nk", normed, self.head.weight[columns])
            out = out if self.head.bias is None else out + self.head.bias[columns]
        if self.scaling is not None:
            out = out / self.scaling
        return out if self.softcap is None else torch.tanh(out / self.softcap) * self.softcap

    @torch.no_grad()
    def after_attention(self, number: int, middle: Tensor) -> Tensor:
        """Return what the MLP of a layer adds to the stream between attention and MLP, token by token."""
        value = middle[:, None]  # some MLPs want a position axis
        for module in self.chains[number]:
            value = _first(module(value))
        return value[:, 0]


class _Prefix(DynamicCache):
    """Keys and values of the unedited run left of the suffix."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor, start: int) -> None:
        super().__init__()
        self.own, self.rows, self.start = (keys, values), rows, start

    def update(  # ty: ignore[invalid-method-override]
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        if self.start == 0:
            return key_states, value_states
        keys, values = (kept[:, :, : self.start].index_select(0, self.rows) for kept in self.own)
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)

    def get_seq_length(self, *_: object, **__: object) -> int:  # ty: ignore[invalid-method-override]
        return self.start


def _bare(module: nn.Module) -> nn.Module:
    """Return a model of the same class that shares every parameter and buffer with the instrumented one."""
    state: dict[str, Tensor] = {}
    for name, value in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        state.setdefault(name.replace("._original_component", ""), value)
    config = copy.deepcopy(module.config)
    with torch.device("meta"):
        twin = type(module)(config)
    for name, value in [*twin.named_parameters(remove_duplicate=False), *twin.named_buffers(remove_duplicate=False)]:
        if name not in state or state[name].shape != value.shape:
            raise UnsupportedError(f"the parameter {name!r} is not to be found beneath the bridge")
        owner, _, leaf = name.rpartition(".")
        holder = twin.get_submodule(owner)
        if leaf in holder._parameters:
            holder._parameters[leaf] = nn.Parameter(state[name].detach(), requires_grad=False)
        else:
            holder._buffers[leaf] = state[name]
    return twin.eval()


def _chain(model: nn.Module, block: Any) -> Sequence[nn.Module]:  # noqa: ANN401 - a block of the bridge
    """Return the modules from the stream after attention to what the MLP adds; none where they are not named."""
    parts = dict(block.submodules)
    names = [getattr(parts[word], "name", None) for word in ("ln2", "mlp", "ln2_post") if word in parts]
    if "mlp" not in parts or "ln2" not in parts or None in names:
        return ()
    return [model.get_submodule(f"{block.name}.{name}") for name in names]


def _cut(value: Any, rows: Tensor, start: int, size: int, prefix: _Prefix) -> Any:  # noqa: ANN401 - any argument of a layer
    if isinstance(value, DynamicCache):
        return prefix
    if isinstance(value, tuple):
        return tuple(_cut(item, rows, start, size, prefix) for item in value)
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    own = value if value.ndim == 1 or len(value) != size or size == 1 else value.index_select(0, rows)
    if value.ndim == 4:  # a mask: [batch head query key]
        return own[:, :, start:]
    return own[start:] if value.ndim == 1 else own[:, start:]


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _first(output: Any) -> Tensor:  # noqa: ANN401 - a tensor, or a tuple that begins with it
    return output[0] if isinstance(output, tuple) else output


def _present(value: Tensor | None) -> Tensor:
    if value is None:
        raise UnsupportedError("a layer keeps no keys and values")
    return value
