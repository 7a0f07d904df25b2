"""What can be read and written in this very model: measured once, by doing it.

An architecture may accept a hook and ignore what it returns, or apply it to one branch of two. So each kind of site
is written with noise and the effect is looked for at the next place that must feel it: the head output for a
pattern, the stream for a sublayer output. What does not show the effect is not offered.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import COMPONENTS, GLOBAL_COMPONENTS, HEAD_COMPONENTS, ModelShape, Site
from mechcausal.arguments import Model, checked
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import InterventionError, MechcausalError, ModelError, SiteError, UnsupportedError, of_each
from mechcausal.interventions.specs import AddDelta, Edit
from mechcausal.method import once
from mechcausal.metrics import is_finite
from mechcausal.models import bridge
from mechcausal.models.attached import with_dictionaries
from mechcausal.models.cache import keep, recall, versions
from mechcausal.models.condition import Condition, condition, digest_of, remember
from mechcausal.models.counting import uncounted
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.finite import refuse_nan
from mechcausal.models.hooked import forward, readings

if TYPE_CHECKING:
    import pandas as pd

# The nearest place downstream that must feel a change; the first of these that can be read is used.
_WITNESSES = {
    "embed": ("resid_pre",),
    "resid_pre": ("resid_post",),
    "resid_mid": ("resid_post",),
    "resid_post": ("resid_pre", "logits"),
    "attn_out": ("resid_post",),
    "mlp_out": ("resid_post",),
    "mlp_post": ("mlp_out",),
    "q": ("z",),
    "k": ("z",),
    "v": ("z",),
    "pattern": ("z",),
    "z": ("attn_out",),
    "result": ("attn_out",),
}


@dataclass(frozen=True)
class Ability:
    """What one component of one model can do, and why not where it cannot."""

    component: str
    hook: str = ""
    shape: tuple[int, ...] = ()
    reads: bool = False
    writes: bool = False
    note: str = ""


@dataclass(frozen=True)
class Abilities:
    """The measured abilities of a model.

    Attributes:
        architecture: The architecture's name.
        shape: Its sizes.
        components: One entry per component.
        additive: Whether `resid_pre + attn_out + mlp_out` is `resid_post`, as direct paths require.
    """

    architecture: str
    shape: ModelShape
    components: dict[str, Ability]
    additive: bool

    def to_json(self) -> dict[str, Any]:
        """Return what a file may hold."""
        return {
            "architecture": self.architecture,
            "shape": {name: value for name, value in vars(self.shape).items() if name != "dictionaries"},
            "components": [vars(ability) for ability in self.components.values()],
            "additive": self.additive,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Abilities:
        """Return what `to_json` wrote."""
        described: list[dict[str, Any]] = data["components"]
        entries = [replace(Ability(**entry), shape=tuple(entry["shape"])) for entry in described]
        components = {ability.component: ability for ability in entries}
        return cls(data["architecture"], ModelShape(**data["shape"]), components, data["additive"])

    def shape_at(self, site: Site) -> tuple[int, ...]:
        """Return the shape of a whole site at one position."""
        if site.dictionary is not None and not site.error:
            return (self.shape.dictionaries[site.dictionary].n_features,)
        return self.components[site.component].shape[2:]

    def require(self, sites: Sequence[Site], *, writes: bool = True) -> None:
        """Refuse, by name and before any compute, what this model cannot do; of a component that it lacks the first site."""
        of_each(lambda site: site.check(self.shape), sites)
        first = {site.component: site for site in reversed(sites)}
        of_each(lambda site: self._require(site, writes), first.values())

    def _require(self, site: Site, writes: bool) -> None:
        ability = self.components[site.component]
        if not ability.reads or (writes and not ability.writes):
            can = [name for name, other in self.components.items() if other.reads and (other.writes or not writes)]
            raise UnsupportedError(
                f"{site} cannot be {'written' if writes else 'read'} on {self.architecture}: {ability.note}",
                fix="use one of " + ", ".join(can),
            )


LONG = 1.0  # seconds; what took less is measured again in every process
_AT_ONCE = 10  # layers whose activations are held at once
_measured: dict[tuple[Any, ...], Abilities] = {}


def abilities(model: Any) -> Abilities:  # noqa: ANN401 - a TransformerBridge
    """Return what this model can do, measured on first use and remembered by its weights and shape."""
    if bridge.require_bridge(model).training:
        raise ModelError("the model is in training mode, where dropout makes its numbers random", fix="model.eval()")
    able = once(model, "abilities", lambda: _known(model))
    shape = with_dictionaries(model, able.shape, weights_fingerprint(model))
    return able if shape is able.shape else replace(able, shape=shape)


def hand_on(model: Any, able: Abilities) -> None:  # noqa: ANN401
    """Say that a model can do what it could before its weights were redrawn, so that nothing is measured again.

    What can be read and written depends on the modules and on the sizes of weights, which a redraw leaves as they are.
    """
    state = condition(model)
    remember(model, state)
    _measured[_key(model, state)] = able


def _known(model: Any) -> Abilities:  # noqa: ANN401
    state = condition(model)
    remember(model, state)
    key = _key(model, state)
    if key not in _measured:
        _measured[key] = _recalled_or_measured(model, state)
    return _measured[key]


def _key(model: Any, state: Condition) -> tuple[Any, ...]:  # noqa: ANN401
    # The same weights may be cut into heads in more than one way, and run under other settings or hooks.
    return (
        weights_fingerprint(model),
        bridge.architecture_of(model),
        bridge.shape_of(model),
        bridge.transformer_lens_version(),
        state,
    )


@checked
def sites(model: Model) -> pd.DataFrame:
    """Return the table of sites: component, how it is written down, sizes, hook point, what can be done there."""
    import pandas as pd

    able = abilities(model)
    rows: list[dict[str, Any]] = []
    for name, ability in able.components.items():
        layered = name not in GLOBAL_COMPONENTS
        units = able.shape.heads(name) if name in HEAD_COMPONENTS else None
        rows.append(
            {
                "component": name,
                "site": str(Site(name, 0, head=0) if units else Site(name, 0 if layered else None)),
                "layers": able.shape.n_layers if layered else None,
                "heads": units,
                "width": ability.shape[-1] if ability.shape else None,
                "reads": ability.reads,
                "writes": ability.writes,
                "hook": ability.hook,
                "note": ability.note,
            }
        )
    for name, dictionary in able.shape.dictionaries.items():
        ability, layered = able.components[dictionary.site.component], dictionary.site.layer is not None
        rows.append(
            {
                "component": dictionary.site.component,
                "site": f"{dictionary.site}.sae:{name}.F0",
                "layers": 1 if layered else None,
                "width": dictionary.n_features,
                "reads": ability.reads and not dictionary.stale,
                "writes": ability.writes and not dictionary.stale,
                "hook": ability.hook,
                "note": "a dictionary of weights that have changed since" if dictionary.stale else "a dictionary",
            }
        )
    return pd.DataFrame(rows).astype({"layers": "Int64", "heads": "Int64", "width": "Int64"})


def key_on_disk(model: Any, state: Condition) -> dict[str, Any] | None:  # noqa: ANN401
    """Return all that what is measured of a model depends on, for other processes; None where that cannot be written."""
    digest = digest_of(state)
    if digest is None:
        return None
    kind = bridge.device_of(model).type
    return {
        "weights": weights_fingerprint(model),
        "architecture": bridge.architecture_of(model),
        "shape": str(bridge.shape_of(model)),
        "condition": digest,
        "device": torch.backends.cpu.get_cpu_capability() if kind == "cpu" else kind,
        "matmul": torch.get_float32_matmul_precision(),
        "versions": versions("torch", "transformers", "transformer-lens"),
    }


def _recalled_or_measured(model: Any, state: Condition) -> Abilities:  # noqa: ANN401
    """Return abilities from the user's cache, or measure them, and keep those that took long."""
    key = key_on_disk(model, state)
    kept = None if key is None else recall("abilities", key)
    if kept is not None:
        return Abilities.from_json(kept)
    started = time.perf_counter()
    able = _measure(model)
    if key is not None and time.perf_counter() - started > LONG:
        keep("abilities", key, able.to_json())
    return able


@uncounted()
def _measure(model: Any) -> Abilities:  # noqa: ANN401
    shape = bridge.shape_of(model)
    batch = _probe_batch(model)
    names = tqdm(COMPONENTS, desc="measuring what can be read", unit="component", disable=None, leave=False)
    measured = {name: _readable(model, batch, name, shape) for name in names}
    if measured["mlp_post"].reads:  # the configuration is wrong about it in some adapters (OPT)
        shape = replace(shape, d_mlp=measured["mlp_post"].shape[-1])
    if not bool(is_finite(forward(model, batch).output).all()):  # nothing could be told from what it computes
        refuse_nan(model, batch, measured)
    additive = _is_additive(model, batch, measured, shape)
    if not additive and measured["resid_mid"].reads:
        note = "the stream after attention is normalised before it is added (post-norm), so there is no resid_mid"
        measured["resid_mid"] = Ability("resid_mid", note=note)
    bar = tqdm(measured.items(), desc="measuring what can be written", unit="component", disable=None, leave=False)
    for name, ability in bar:
        if ability.reads and name != "logits":
            measured[name] = _writable(model, batch, ability, measured, shape)
    return Abilities(bridge.architecture_of(model), shape, measured, additive)


def _probe_batch(model: Any) -> PromptSet:  # noqa: ANN401
    length = min(6, model.cfg.n_ctx)
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.cfg.d_vocab, (2, length), generator=draw)
    return PromptSet(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool)).to(bridge.device_of(model))


def _site(component: str, layer: int) -> Site:
    return Site(component, None if component in GLOBAL_COMPONENTS else layer)


def _readable(model: Any, batch: PromptSet, component: str, shape: ModelShape) -> Ability:  # noqa: ANN401
    if component == "logits":
        if not bridge.has_head(model):
            return Ability("logits", note="this model has no language-model head")
        return Ability("logits", "the model's output", reads=True, note="a receiver only, never edited")
    if component == "result":
        return _results(model, batch, shape)
    site = _site(component, 0)
    point = bridge.hook_point(model, site)
    if point is None:
        return Ability(component, note=_why_absent(component, model))
    name = point.name or ""
    if component == "mlp_post" and point is bridge.hook_point(model, _site("mlp_out", 0)):
        note = "the MLP is a mixture of experts, whose neurons have no hook point (what bears the name is its output)"
        return Ability(component, note=note)
    try:
        value = readings(model, batch, [site])[site]
    except InterventionError:
        return Ability(component, name, note="its hook point exists but is never reached")
    except SiteError as error:
        return Ability(component, name, note=str(error))
    batch_pos = tuple(batch.tokens.shape)
    n_heads = shape.heads(component) if component in HEAD_COMPONENTS else 0
    fits = {
        "pattern": tuple(value.shape) == (batch_pos[0], n_heads, batch_pos[1], batch_pos[1]),
    }.get(component, tuple(value.shape[:2]) == batch_pos and (not n_heads or value.shape[2:-1] == (n_heads,)))
    if not fits:
        return Ability(component, name, tuple(value.shape), note=f"its activation has the shape {tuple(value.shape)}")
    hook = f"{name} (written through attn.hook_out)" if component == "resid_mid" else name
    return Ability(component, hook, tuple(value.shape), reads=True)


def _results(model: Any, batch: PromptSet, shape: ModelShape) -> Ability:  # noqa: ANN401
    """Say whether the output of attention is the sum of what its heads add, and one bias, in every layer."""
    try:
        for by_head, total in _layer_by_layer(model, batch, ("result", "attn_out"), shape):
            bias = total - by_head.sum(-2)
            if by_head.shape[2] != shape.n_heads or not _same(total, by_head.sum(-2) + bias[:1, :1]):
                note = "the output of attention is not the sum of what its heads add"
                return Ability("result", note=note)
    except MechcausalError as error:
        return Ability("result", note=str(error))
    hook = f"{bridge.hook_name(model, Site('attn_out', 0))} (z times the output matrix)"
    return Ability("result", hook, tuple(by_head.shape), reads=True)


def _why_absent(component: str, model: Any) -> str:  # noqa: ANN401
    attends = bridge.hook_point(model, Site("attn_out", 0)) is not None
    if component == "resid_mid" and attends and not getattr(model.cfg, "attn_only", False):
        return "attention and MLP read the same stream (parallel blocks), so there is no resid_mid"
    return "this architecture has no such hook point"


def _is_additive(model: Any, batch: PromptSet, measured: dict[str, Ability], shape: ModelShape) -> bool:  # noqa: ANN401
    parts = [name for name in ("resid_pre", "attn_out", "mlp_out") if measured[name].reads]
    if not measured["resid_post"].reads or "attn_out" not in parts:
        return False
    layers = _layer_by_layer(model, batch, (*parts, "resid_post"), shape)
    return all(_same(torch.stack(values).sum(0), after) for *values, after in layers)


def _layer_by_layer(
    model: Any,  # noqa: ANN401
    batch: PromptSet,
    names: Sequence[str],
    shape: ModelShape,
) -> Generator[list[Tensor]]:
    """Yield the activations of these names in each layer, read in one run for several layers."""
    for start in range(0, shape.n_layers, _AT_ONCE):
        layers = range(start, min(start + _AT_ONCE, shape.n_layers))
        read = forward(model, batch, read=[Site(name, layer) for layer in layers for name in names]).read
        yield from ([read[Site(name, layer)] for name in names] for layer in layers)


def _writable(
    model: Any,  # noqa: ANN401
    batch: PromptSet,
    ability: Ability,
    measured: dict[str, Ability],
    shape: ModelShape,
) -> Ability:
    """Write noise at each layer in turn until its witness feels it; exactly, where exactness can be required."""
    name = ability.component
    noise = torch.randn(ability.shape, generator=torch.Generator().manual_seed(1)).to(batch.tokens.device)
    layers = range(1 if name in GLOBAL_COMPONENTS else shape.n_layers)
    # A saturated softmax feels no small change of its queries, hence the louder second and third attempt.
    for layer, loudness in ((layer, loudness) for loudness in (1.0, 30.0, 1000.0) for layer in layers):
        try:
            if _felt(model, batch, _site(name, layer), noise * loudness, measured, shape):
                return Ability(name, ability.hook, ability.shape, reads=True, writes=True)
        except MechcausalError as error:
            return Ability(name, ability.hook, ability.shape, reads=True, note=str(error))
    note = "the model discards what is written there (noise in any layer changed nothing downstream)"
    return Ability(name, ability.hook, ability.shape, reads=True, note=note)


def _felt(
    model: Any,  # noqa: ANN401
    batch: PromptSet,
    site: Site,
    noise: Tensor,
    measured: dict[str, Ability],
    shape: ModelShape,
) -> bool:
    layer = 0 if site.layer is None else site.layer
    scale = readings(model, batch, [site])[site].abs().mean().clamp(min=1e-2)
    delta = (noise * scale).to(dtype=scale.dtype)
    witness = next((name for name in _WITNESSES[site.component] if measured[name].reads), None)
    if witness is None:
        raise UnsupportedError("nothing that must feel it can be read, so an edit there cannot be verified")
    if site.component == "resid_post":
        watched = Site("resid_pre", layer + 1) if layer + 1 < shape.n_layers else None
    else:
        watched = Site(witness, layer)
    mlp = [Site("mlp_out", layer)] if site.component == "resid_mid" and measured["mlp_out"].reads else []
    read = [site, *mlp, *([watched] if watched else [])]
    before = forward(model, batch, read=read)
    after = forward(model, batch, [Edit(site, AddDelta())], read=read, sources=[delta])
    old, new = (run.read[watched] if watched else run.output for run in (before, after))
    if _same(old, new):
        return False
    if mlp and not _same(new - after.read[mlp[0]], before.read[site] + delta):
        raise UnsupportedError("an edit there does not reach the residual stream", fix="edit attn_out or resid_post")
    if site.component == "resid_post" and watched and not _same(new, before.read[site] + delta):
        raise UnsupportedError("what is written there is not what the next layer reads", fix="edit resid_pre")
    return True


def _same(a: Tensor, b: Tensor) -> bool:
    tolerance = 1e-4 if a.dtype in (torch.float32, torch.float64) else 3e-2
    a, b = a.float(), b.float()
    return bool((a - b).abs().max() <= tolerance * a.abs().max().clamp(min=1e-6))
