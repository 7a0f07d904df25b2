"""What each receiver of one model makes of the stream that it reads, and what each sender adds to it.

    query, key, value of a head    the norm before attention, then the head's own rows of a linear map
    MLP                            the norm before it, which alone is given another stream
    logits                         the final stream

Where the weights lie is found in the bare model, and what is computed with them is compared with the model once. After
that a head can be shown a stream of its own: only its rows are computed, and the model goes on from there with its own
rotations, masks and attention.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from mechcausal.address import Site
from mechcausal.circuits.edges.wiring import INPUTS
from mechcausal.errors import UnsupportedError
from mechcausal.models import bridge
from mechcausal.models.bare import first, hooked
from mechcausal.models.compared import agree, probes, theirs
from mechcausal.models.counting import uncounted
from mechcausal.models.heads import output_matrix
from mechcausal.models.hooked import forward
from mechcausal.models.replay.verify import Replayer, replayer

_FIX = "use mc.patch or mc.path_patch, which work on every architecture"


@dataclass(frozen=True)
class Projection:
    """One linear map of a layer's attention, and which kinds of receivers it makes.

    Attributes:
        module: The map in the bare model.
        kinds: `q`, `k` or `v`, or all three where they are made at once.
        interleaved: Whether the rows of a map of all three stand head by head, each with its three.
    """

    module: nn.Module
    kinds: tuple[str, ...]
    interleaved: bool = False


@dataclass(frozen=True)
class Layer:
    """One layer of the bare model.

    Attributes:
        norm: What stands between the stream and the projections; None where nothing does.
        projections: The linear maps to queries, keys and values.
        norm_mlp: What stands between the stream and the MLP; None where there is no MLP.
        norm_out: A norm through which the sum of all heads enters the stream, with its weight; None where there is none.
    """

    norm: nn.Module | None
    projections: tuple[Projection, ...]
    norm_mlp: nn.Module | None
    norm_out: tuple[nn.Module, Tensor] | None = None


class Inputs:
    """The receivers and senders of one model; see `inputs_of`, which makes sure that they agree with the model.

    Attributes:
        twin: The bare model.
        layers: Its layers.
    """

    def __init__(self, engine: Replayer) -> None:
        if engine.twin is None:
            why = next(iter(engine.reasons.values()), "its layers cannot be called")
            raise UnsupportedError(f"edges need the layers of the model by themselves, but {why}", fix=_FIX)
        self.twin, self.able = engine.twin, engine.able
        shape = self.able.shape
        self.heads = {"q": shape.n_heads, "k": shape.n_kv_heads, "v": shape.n_kv_heads}
        self.d_head = shape.d_head
        self.device = next(self.twin.model.parameters()).device
        self.layers = [self._layer(number) for number in range(shape.n_layers)]

    def _layer(self, number: int) -> Layer:
        wrapped: Any = self.twin.wrapped()
        model, block = self.twin.model, wrapped.blocks[number]
        parts = dict(block.submodules)

        def module(owner: Any, word: str, path: str) -> nn.Module | None:  # noqa: ANN401 - a part of a bridge
            name = getattr(dict(owner.submodules).get(word), "name", None)
            try:
                return None if name is None else model.get_submodule(f"{path}.{name}")
            except AttributeError:
                return None

        if "attn" not in parts:
            raise UnsupportedError(f"layer {number} has no attention, so it has no edges into heads", fix=_FIX)
        attention = f"{block.name}.{parts['attn'].name}"
        separate = [(kind, module(parts["attn"], kind, attention)) for kind in INPUTS]
        joint = module(parts["attn"], "qkv", attention)
        if all(submodule is not None for _, submodule in separate):
            projections = tuple(Projection(submodule, (kind,)) for kind, submodule in separate if submodule is not None)
        elif joint is not None:
            projections = (Projection(joint, INPUTS),)
        else:
            raise UnsupportedError(f"queries, keys and values of layer {number} are not made by linear maps", fix=_FIX)
        for projection in projections:
            if not isinstance(projection.module, (nn.Linear, Conv1D)):
                kind = type(projection.module).__name__
                raise UnsupportedError(f"queries, keys and values are made by a {kind}, no linear map", fix=_FIX)
        norm_mlp = module(block, "ln2", block.name) if self.able.components["mlp_out"].reads else None
        if norm_mlp is None and self.able.components["mlp_out"].reads:
            raise UnsupportedError(f"the MLP of layer {number} reads the stream through no norm of its own", fix=_FIX)
        after = module(block, "ln1_post", block.name)
        return Layer(
            module(block, "ln1", block.name), projections, norm_mlp, None if after is None else (after, _weight(after, self.able.shape.d_model))
        )  # fmt: skip

    def rows(self, layer: int, kind: str) -> tuple[Tensor, Tensor | None]:
        """Return the weights of a kind, [head d_head model], and its biases, [head d_head]."""
        projection = next(p for p in self.layers[layer].projections if kind in p.kinds)
        module: Any = projection.module
        weight = module.weight.T if isinstance(module, Conv1D) else module.weight
        parts = [weight] if module.bias is None else [weight, module.bias]
        made = [self._of_kind(part, projection, kind).unflatten(0, (self.heads[kind], -1)) for part in parts]
        return made[0], made[1] if len(made) > 1 else None

    def _of_kind(self, value: Tensor, projection: Projection, kind: str) -> Tensor:
        """Return the entries of one kind from what a projection makes, first axis flat."""
        if len(projection.kinds) == 1:
            return value
        if projection.interleaved:
            return value.unflatten(0, (self.heads["q"], 3, -1))[:, INPUTS.index(kind)].flatten(0, 1)
        sizes = [self.heads[word] * self.d_head for word in INPUTS]
        return value.split(sizes)[INPUTS.index(kind)]

    def of_kind(self, value: Tensor, layer: int, kind: str) -> Tensor:
        """Return a view [... head d_head] of one kind in what its projection makes, [... entry]."""
        projection = next(p for p in self.layers[layer].projections if kind in p.kinds)
        if len(projection.kinds) == 1:
            return value.unflatten(-1, (self.heads[kind], -1))
        if projection.interleaved:
            return value.unflatten(-1, (self.heads["q"], 3, -1))[..., INPUTS.index(kind), :]
        start = sum(self.heads[word] for word in INPUTS[: INPUTS.index(kind)]) * self.d_head
        return value[..., start : start + self.heads[kind] * self.d_head].unflatten(-1, (self.heads[kind], -1))

    def normed(self, layer: int, stream: Tensor) -> Tensor:
        """Return what the projections of a layer are given of a stream."""
        norm = self.layers[layer].norm
        return stream if norm is None else first(norm(stream))

    def project(self, layer: int, kind: str, heads: Sequence[int], streams: Tensor) -> Tensor:
        """Return what heads make of a stream of their own each, [row pos head d_head] from [head row pos model]."""
        weight, bias = self.rows(layer, kind)
        made = torch.einsum("nrpd,nkd->rpnk", self.normed(layer, streams), weight[heads].to(streams.dtype))
        return made if bias is None else made + bias[heads]

    def written(self, layer: int) -> Tensor:
        """Return the map from what heads compute to the output of attention, [head d_head model]."""
        # Detached: the weights of the bridge ask for gradients, and nobody here wants those.
        return output_matrix(self.twin.wrapped(), layer, self.heads["q"]).detach()

    def added(self, layer: int, z: Tensor, after: Tensor | None = None) -> Tensor:
        """Return what the heads of a layer add to the stream, [... head model], without the bias that they share.

        Args:
            layer: The layer.
            z: What the heads compute, [... head d_head].
            after: What attention adds altogether, where a norm stands between: its scale is that of this very run.
        """
        made = torch.einsum("...hd,hdm->...hm", z, self.written(layer).to(z.dtype))
        out = self.layers[layer].norm_out
        if out is None:
            return made
        assert after is not None  # `reads` asks for it
        weighted = made * out[1].to(made.dtype)
        total = weighted.sum(-2)
        scale = (after * total).sum(-1, keepdim=True) / (total * total).sum(-1, keepdim=True).clamp(min=1e-30)
        return weighted * scale[..., None, :]

    def reads(self, layer: int) -> list[Site]:
        """Return what of a layer's run says what its heads and its MLP add."""
        sites = [Site("z", layer)]
        sites += [Site("attn_out", layer)] if self.layers[layer].norm_out is not None else []
        return sites + ([Site("mlp_out", layer)] if self.layers[layer].norm_mlp is not None else [])

    @contextmanager
    def during(
        self,
        layer: int,
        projected: Callable[[str, Tensor], Tensor | None] | None = None,
        mlp: Callable[[Tensor], Tensor | None] | None = None,
        seen: dict[str, Tensor] | None = None,
        taken: dict[Site, Tensor] | None = None,
        z: Tensor | None = None,
    ) -> Generator[dict[Site, Tensor]]:
        """Let functions change what a layer reads while it is run, and yield what its senders add.

        Args:
            layer: The layer.
            projected: From a kind and the model's own queries, keys or values [row pos head d_head] to others.
            mlp: From the stream that the MLP reads to another.
            seen: Takes what the projections gave (`p0`, `p1`, ...), the stream of the MLP (`mlp`) and it after its norm.
            taken: Takes what the senders add, as soon as it is known; a new one if None.
            z: What the heads compute, instead of what they would, [row pos head d_head].
        """
        taken = {} if taken is None else taken
        parts = self.layers[layer]

        def at_projection(number: int, projection: Projection, value: Tensor) -> Tensor | None:
            new = value
            if projected is not None:
                changed = {kind: projected(kind, self.of_kind(value, layer, kind)) for kind in projection.kinds}
                if any(part is not None for part in changed.values()):
                    new = self._joined(projection, layer, value, changed)
            if seen is not None:
                seen[f"p{number}"] = new
            return new if new is not value else None

        def before_mlp(stream: Tensor) -> Tensor | None:
            new = None if mlp is None else mlp(stream)
            if seen is not None:
                seen["mlp"] = stream if new is None else new
            return new

        with ExitStack() as hooks:
            if projected is not None or seen is not None:
                for number, projection in enumerate(parts.projections):
                    act = partial(at_projection, number, projection)
                    hooks.callback(hooked((projection.module, False), act).remove)
            if parts.norm_mlp is not None and (mlp is not None or seen is not None):
                hooks.callback(hooked((parts.norm_mlp, True), before_mlp).remove)
                if seen is not None:
                    hooks.callback(hooked((parts.norm_mlp, False), partial(_apart, seen, "normed mlp")).remove)
            if z is not None:
                hooks.callback(hooked(self.twin.ports[Site("z", layer)], lambda given: z.reshape(given.shape)).remove)
            for site in self.reads(layer):
                hooks.callback(hooked(self.twin.ports[site], partial(_keep, taken, site)).remove)
            yield taken

    def attended(
        self,
        layer: int,
        call: Callable[[], object],
        projected: Callable[[str, Tensor], Tensor | None] | None = None,
        seen: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Return what the heads of a layer compute, and run the layer no further.

        Args:
            layer: The layer.
            call: What runs the layer.
            projected: As in `during`.
            seen: As in `during`.
        """
        taken: list[Tensor] = []

        def leave(value: Tensor) -> Tensor:
            taken.append(value)
            raise _Left

        with self.during(layer, projected, seen=seen), suppress(_Left):
            handle = hooked(self.twin.ports[Site("z", layer)], leave)
            try:
                call()
            finally:
                handle.remove()
        return taken[0]

    def _joined(self, projection: Projection, layer: int, value: Tensor, changed: dict[str, Tensor | None]) -> Tensor:
        """Return what a projection gives, with some kinds replaced."""
        parts = []
        for kind in projection.kinds:
            part = changed[kind]
            parts.append(self.of_kind(value, layer, kind) if part is None else part)
        if len(parts) == 1:
            return parts[0].flatten(-2)
        if projection.interleaved:
            return torch.stack(parts, dim=-2).flatten(-3)
        return torch.cat([part.flatten(-2) for part in parts], dim=-1)

    def contributions(self, layer: int, taken: Mapping[Site, Tensor], like: Tensor) -> Tensor:
        """Return what the senders of a layer have added to the stream, [row pos sender model].

        Args:
            layer: The layer.
            taken: What `during` yielded, after the run.
            like: The stream, whose rows and columns it has.
        """
        made = self.of_heads(layer, taken, like)
        if self.layers[layer].norm_mlp is None:
            return made
        return torch.cat([made, taken[Site("mlp_out", layer)].reshape(like.shape)[:, :, None]], dim=2)

    def of_heads(self, layer: int, taken: Mapping[Site, Tensor], like: Tensor) -> Tensor:
        """Return what the heads of a layer have added alone, [row pos head model]; see `contributions`."""
        z = taken[Site("z", layer)].reshape(*like.shape[:2], self.heads["q"], -1)
        after = taken.get(Site("attn_out", layer))
        return self.added(layer, z, None if after is None else after.reshape(like.shape))


class _Left(Exception):
    """A layer was left on purpose, as soon as its heads had computed."""


def _keep(taken: dict[Any, Tensor], name: Any, value: Tensor) -> None:  # noqa: ANN401 - a site or a word
    taken[name] = value


def _apart(seen: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
    """Keep a value as a tensor of its own: where there is no norm it is the stream itself, which others read as well."""
    seen[name] = value.view_as(value)
    return seen[name]


def _weight(norm: nn.Module, width: int) -> Tensor:
    """Return the weight of a norm that only scales: what it makes of ones, up to a factor."""
    parameter = next(norm.parameters())
    with torch.no_grad():
        return first(norm(torch.ones(1, width, dtype=parameter.dtype, device=parameter.device)))[0]


_known: WeakKeyDictionary[Replayer, Inputs | str] = WeakKeyDictionary()


def inputs_of(model: Any) -> Inputs:  # noqa: ANN401 - a TransformerBridge
    """Return the receivers and senders of a model, compared with the model on first use."""
    if foreign := bridge.foreign(model):
        raise UnsupportedError(f"edges are computed on the bare model, but {foreign}", fix="remove the hooks")
    engine = replayer(model)
    if engine not in _known:
        inputs = Inputs(engine)
        _known[engine] = _arranged(model, inputs) or inputs
    entry = _known[engine]
    if isinstance(entry, str):
        raise UnsupportedError(f"edges of this model cannot be computed: {entry}", fix=_FIX)
    return entry


def _arranged(model: Any, inputs: Inputs) -> str:  # noqa: ANN401
    """Find how joint maps are arranged; return why what is computed does not agree with the model, or nothing."""
    for interleaved in (False, True):
        for layer in inputs.layers:
            for number, projection in enumerate(layer.projections):
                if len(projection.kinds) > 1:
                    arranged = list(layer.projections)
                    arranged[number] = Projection(projection.module, projection.kinds, interleaved)
                    object.__setattr__(layer, "projections", tuple(arranged))
        with theirs("its queries, keys and values cannot be computed by themselves"):
            reason = _disagreement(model, inputs)
        if not reason:
            break
    return reason


@uncounted()
@torch.no_grad()
def _disagreement(model: Any, inputs: Inputs) -> str:  # noqa: ANN401
    """Return how receivers or senders fail to be those of the model; empty where they do not."""
    twin, able = inputs.twin, inputs.able
    n_layers = able.shape.n_layers
    chosen = sorted({0, n_layers // 2, n_layers - 1})
    for batch, _ in probes(model):
        base = twin.record(batch)
        rows = torch.arange(len(batch), device=batch.tokens.device)
        for layer in chosen:
            stream, seen = base.hidden[layer], {}
            with inputs.during(layer, seen=seen) as taken:
                out = twin.layer(base, layer, stream, rows, 0)
            for kind in INPUTS:
                number = next(i for i, p in enumerate(inputs.layers[layer].projections) if kind in p.kinds)
                projected = inputs.of_kind(seen[f"p{number}"], layer, kind)
                heads = range(inputs.heads[kind])
                streams = stream[None].expand(len(heads), -1, -1, -1)
                if not agree(
                    inputs.project(layer, kind, list(heads), streams)[batch.mask], projected[batch.mask], model
                ):
                    return f"{kind} is not a linear map of the normed stream"
                if len(inputs.layers[layer].projections) == 1:
                    site = Site(kind, layer)
                    given = forward(model, batch, read=[site]).read[site]
                    if not agree(projected.reshape(given.shape)[batch.mask], given[batch.mask], model):
                        return "its joint map of queries, keys and values is arranged in a way that is not known"
            added = inputs.contributions(layer, taken, stream).sum(2)
            shared = out - stream - added  # the bias of attention: the same everywhere
            spread = shared[batch.mask] - shared[batch.mask][:1]
            if not agree(out[batch.mask] - spread, out[batch.mask], model):
                return "what its heads and MLPs add is not what the stream gains"
    return ""


__all__ = ["Inputs", "inputs_of"]
