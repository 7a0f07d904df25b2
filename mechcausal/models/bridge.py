"""The only module that imports transformer-lens (3.9 and 4.x): booting, hook points, one forward.

Nothing here calls `run_with_hooks`: it ignores a mistyped name on 3.9 and rebuilds an alias map at every call. Hook
points are resolved by name once, checked, and hooked directly.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import version
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.address import ModelShape, Site
from mechcausal.errors import DataError, ModelError, UnsupportedError
from mechcausal.method import once
from mechcausal.models.masks import finite_masks

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # about HookedTransformer, which nothing here uses
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformer_lens.model_bridge.sources.native.model import NativeModel

NATIVE = "TransformerLensNative"
# Where torch keeps hooks: of one module, and of all.
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_GLOBAL = tuple(f"_global{name}" for name in _HOOKS)
LEVEL = 7_351_000  # our hooks are removed by this level and by no other; nobody else uses it

_ALIASES = {
    "embed": "hook_embed",
    "resid_pre": "blocks.{}.hook_resid_pre",
    "resid_mid": "blocks.{}.hook_resid_mid",
    "resid_post": "blocks.{}.hook_resid_post",
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "mlp_post": "blocks.{}.mlp.hook_post",
    "q": "blocks.{}.attn.hook_q",
    "k": "blocks.{}.attn.hook_k",
    "v": "blocks.{}.attn.hook_v",
    "z": "blocks.{}.attn.hook_z",
    "pattern": "blocks.{}.attn.hook_pattern",
}


class NoHead(nn.Identity):
    """Stands where a model that was saved without its language-model head has none."""


@cache
def transformer_lens_version() -> str:
    """Return the installed version."""
    return version("transformer-lens")


def require_bridge(model: object) -> TransformerBridge:
    """Return the model if it is a plain TransformerBridge; say what to do with anything else."""
    if type(model).__name__ == "SAETransformerBridge":
        raise UnsupportedError(
            "hooks on an SAETransformerBridge are silently dead under their usual names",
            fix="load a plain bridge with mc.load(...) and pass the dictionary separately",
        )
    if not isinstance(model, TransformerBridge):
        raise ModelError(
            "the model is not a TransformerBridge", got=type(model).__name__, fix="pass it through mc.load(...)"
        )
    return model


def copied(model: Any) -> Any:  # noqa: ANN401
    """Return a copy of the model. What a run with gradients left on its modules is copied without its graph."""
    left = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    twin = copy.deepcopy(model, {id(value): value.detach().clone() for value in left if value.grad_fn is not None})
    _share_alike(model, twin)
    vars(twin)["_mechcausal_copied"] = model  # parts of a copy hold weak references to what it was copied from
    return twin


def _share_alike(model: nn.Module, twin: nn.Module) -> None:
    """Let the weights of a copy that were parts of one tensor be parts of one again.

    Where queries, keys and values are made by one map, the bridge computes with parts of it. A copy of each by itself would
    keep its numbers when the map is changed.
    """
    names = [dict(each.named_parameters(remove_duplicate=False)) for each in (model, twin)]
    largest: dict[int, str] = {}
    for name, weight in names[0].items():
        storage = weight.untyped_storage().data_ptr()
        if storage not in largest or weight.numel() > names[0][largest[storage]].numel():
            largest[storage] = name
    for name, weight in names[0].items():
        parent = largest[weight.untyped_storage().data_ptr()]
        if weight.numel() < names[0][parent].numel() and names[1][parent].stride() == names[0][parent].stride():
            start = weight.storage_offset() - names[0][parent].storage_offset() + names[1][parent].storage_offset()
            names[1][name].data = names[1][parent].data.as_strided(weight.size(), weight.stride(), start)


def is_bridge(model: object) -> bool:
    """Say whether this is a TransformerBridge."""
    return isinstance(model, TransformerBridge)


def build(module: Any, architecture: str, tokenizer: Any, name: str) -> TransformerBridge:  # noqa: ANN401
    """Wrap a `transformers` model, in place, without any network attempt."""
    try:
        bridge = build_bridge_from_module(
            module, architecture, hf_config=module.config, model_name=name,
            post_adapter_hook=None if _headed(module) else partial(_drop_head, module.base_model_prefix),
        )  # fmt: skip
    except (ValueError, KeyError) as error:
        raise UnsupportedError(
            f"transformer-lens {transformer_lens_version()} has no adapter for {architecture}",
            got=str(error).splitlines()[0][:200],
            fix="use a model of a supported architecture",
        ) from error
    return _finish(bridge, tokenizer)


def build_native(
    config: dict[str, Any],
    state: dict[str, Tensor],
    tokenizer: Any,  # noqa: ANN401
    name: str,
    dtype: torch.dtype = torch.float32,
) -> TransformerBridge:
    """Build a transformer-lens native model with these weights (already under native names)."""
    cfg = TransformerBridgeConfig.from_dict(config)
    cfg.init_weights = False
    try:
        module = NativeModel(cfg)
    except ValueError as error:
        raise UnsupportedError(
            f"transformer-lens {transformer_lens_version()} cannot build this legacy model",
            got=str(error).splitlines()[0][:160],
        ) from error
    if "head.bias" in state:
        module.head = nn.Linear(module.head.in_features, module.head.out_features, bias=True)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        wrong = [line.strip() for line in str(error).splitlines()[1:]]
        raise ModelError(f"weights and configuration do not fit in {len(wrong)} places", got=wrong[0][:200]) from error
    module = module.to(dtype).eval()
    return _finish(build_bridge_from_module(module, NATIVE, tl_config=cfg, model_name=name), tokenizer)


def _drop_head(prefix: str, adapter: Any) -> None:  # noqa: ANN401 - the adapter of an architecture
    """Take out of the map of a bridge what stands outside the base model."""
    for name, component in list(adapter.component_mapping.items()):
        if component.name and not component.name.startswith(f"{prefix}."):
            del adapter.component_mapping[name]


def has_head(model: TransformerBridge) -> bool:
    """Say whether the model gives logits; one without a head gives its last hidden state in their place."""
    return _headed(underlying(model))


def _headed(module: nn.Module) -> bool:
    return not any(isinstance(child, NoHead) for child in module.children())


def skeleton(module: Any) -> Any:  # noqa: ANN401 - a transformers model
    """Return a model of the same class and configuration, without storage, and without a head where this has none."""
    with torch.device("meta"):
        if isinstance(module, NativeModel):
            twin = NativeModel(copy.deepcopy(module.cfg))
            if module.head.bias is not None:
                twin.head = nn.Linear(module.head.in_features, module.head.out_features, bias=True)
            return twin
        twin = type(module)(copy.deepcopy(module.config))
    for name, child in module.named_children():
        if isinstance(child, NoHead):
            setattr(twin, name, NoHead())
    return twin


def _finish(bridge: TransformerBridge, tokenizer: Any) -> TransformerBridge:  # noqa: ANN401
    # Set directly: the builder's own route reloads the tokenizer by name, which fails for one held in memory and
    # asks the hub for one that is not a local folder.
    if tokenizer is not None:
        if tokenizer.pad_token is None:
            tokenizer = copy.deepcopy(tokenizer)  # it is the caller's
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.bos_token
        bridge.tokenizer = tokenizer
        ids = tokenizer("a")["input_ids"]
        bridge.cfg.tokenizer_prepends_bos = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return bridge.eval()


def is_native(model: TransformerBridge) -> bool:
    """Say whether the model beneath is one of transformer-lens itself, and none of `transformers`."""
    return isinstance(model.original_model, NativeModel)


def shape_of(model: TransformerBridge) -> ModelShape:
    """Read the sizes off the bridge's configuration."""
    cfg = model.cfg
    return ModelShape(
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        n_kv_heads=getattr(cfg, "n_key_value_heads", None) or cfg.n_heads,
        d_head=cfg.d_head,
        d_model=cfg.d_model,
        d_mlp=getattr(cfg, "d_mlp", None) or 0,
    )


def architecture_of(model: TransformerBridge) -> str:
    """Return the architecture's name."""
    return str(model.cfg.architecture)


def hook_point(model: TransformerBridge, site: Site) -> HookPoint | None:
    """Return the live hook point that carries the whole of `site`, or None where the model has none.

    An alias can name a hook point that is no longer part of the model (after dictionaries were attached and
    detached, for instance), so its canonical name is looked up again in the module tree.
    """
    if site.component not in _ALIASES:
        return None
    alias = model.get_hook_point(_ALIASES[site.component].format(site.layer))
    if alias is None or alias.name is None:
        return alias
    try:
        live = model.get_submodule(alias.name)
    except AttributeError:
        return alias
    return live if isinstance(live, HookPoint) else alias


def hook_name(model: TransformerBridge, site: Site) -> str:
    """Return the name of the hook point that carries a site; empty where the model has none."""
    return getattr(hook_point(model, site), "name", None) or ""


def run(model: TransformerBridge, tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the logits of one batch; the mask is passed only where there is padding."""
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= model.cfg.d_vocab:
        raise DataError(
            "the tokens of these prompts are not in the model's vocabulary", got=f"ids {low} to {high}",
            expected=f"0 to {model.cfg.d_vocab - 1}", fix="build the prompts with this model's tokenizer",
        )  # fmt: skip
    attention_mask = None if bool(mask.all()) else mask.long()
    with finite_masks():
        return model(tokens, attention_mask=attention_mask, return_type="logits")


def step(model: TransformerBridge, tokens: Tensor, mask: Tensor, cache: Any) -> Tensor:  # noqa: ANN401
    """Return the logits of the last column of tokens that continue what a cache holds, [batch vocab].

    Args:
        model: The bridge.
        tokens: The new tokens, [batch new].
        mask: The real tokens of all columns, those of the cache and the new ones.
        cache: A cache of transformers, to which keys and values of the new tokens are added.
    """
    taken = signature(underlying(model).forward).parameters
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
    if "position_ids" in taken:
        options["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    given = {"attention_mask": mask.long(), "past_key_values": cache, "use_cache": True}
    with finite_masks():
        logits = model(tokens, return_type="logits", **given, **options)
    return logits[:, -1]


def modules_of(model: TransformerBridge) -> Iterator[tuple[str, nn.Module]]:
    """Yield a bridge and the modules beneath it with their names, each once, without the hook points between them."""
    yield "", model
    waiting: list[tuple[str, nn.Module]] = [("", underlying(model))]
    seen: set[int] = set()
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen or isinstance(module, HookPoint):
            continue
        seen.add(id(module))
        yield name.replace("._original_component", ""), module
        prefix = f"{name}." if name else ""
        # The first name of a module is that of `transformers`; the bridge adds its own after it.
        waiting += [
            (prefix + key, part) for key, part in reversed(vars(module)["_modules"].items()) if part is not None
        ]


def hooks_of(module: nn.Module) -> Iterator[tuple[str, int, Any]]:
    """Yield the hooks of a module and a forward that was put in the place of its own, by which transformer-lens did not wire it."""
    values = vars(module)
    for kind in _HOOKS:
        for number, hook in values[kind].items():
            if not _is_wiring(hook):
                yield kind, number, hook
    if "forward" in values and not _is_wiring(values["forward"]):
        yield "forward", 0, values["forward"]


# What the libraries below attach themselves: transformer-lens wires a bridge, and transformers leaves recorders on the
# layers after a first call with `output_hidden_states=True`, which read and change nothing.
_WIRING = ("transformer_lens.", "transformers.utils.output_capturing")


def _is_wiring(function: Any) -> bool:  # noqa: ANN401 - any callable
    return str(getattr(function, "__module__", "")).startswith(_WIRING)


def foreign(model: TransformerBridge) -> str:
    """Say which hook or forward of somebody else acts on the model; empty where none does.

    The engine calls modules of its own that share the weights, so only the loop sees what is attached here. Hooks with
    which transformer-lens 4 wires a bridge do not count.
    """
    return once(model, "foreign", lambda: _foreign(model))


def _foreign(model: TransformerBridge) -> str:
    if any(getattr(nn.modules.module, name) for name in _GLOBAL):
        return "hooks on all modules are registered with torch"
    for point in model.hook_dict.values():
        added = (*point.fwd_hooks, *point.bwd_hooks)
        beside = sum(len(vars(point)[kind]) for kind in _HOOKS) > len(added)  # registered with torch, past the bridge
        if beside or not all(_is_wiring(getattr(hook, "user_hook", None)) for hook in added):
            return f"hooks of others are attached to the model (at {point.name})"
    for name, module in modules_of(model):
        kind = next((kind for kind, *_ in hooks_of(module)), None)
        if kind is not None:
            name = name or "the model"
            what = "another forward was put into" if kind == "forward" else "hooks of others are attached to"
            return f"{what} {name}"
    return ""


def is_hooked(model: TransformerBridge) -> bool:
    """Say whether hooks or a replaced forward of somebody else act on the model."""
    return bool(foreign(model))


def underlying(model: TransformerBridge) -> nn.Module:
    """Return the wrapped module, whose parameters are the model's weights."""
    return model.original_model


def device_of(model: TransformerBridge) -> torch.device:
    """Return where the weights are."""
    return next(underlying(model).parameters()).device
