"""The bare model beneath a bridge: the same weights without its hooks, and what enters and leaves its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from transformers.activations import NewGELUActivation

from mechcausal.address import Site
from mechcausal.errors import UnsupportedError
from mechcausal.models import bridge
from mechcausal.models.compared import theirs
from mechcausal.models.native import with_cache

Port = tuple[nn.Module, bool]  # a module, and whether it is what goes in there, or what comes out


def bare(wrapped: Any) -> nn.Module:  # noqa: ANN401 - a TransformerBridge
    """Return a model of the class beneath a bridge that shares every parameter and buffer with it, without gradients."""
    module = bridge.underlying(wrapped)
    native = bridge.is_native(wrapped)
    if not native and not hasattr(getattr(module, "config", None), "model_type"):
        raise UnsupportedError("this is no transformers model, whose layers could be called")
    state: dict[str, Tensor] = {}
    for name, value in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        state.setdefault(name.replace("._original_component", ""), value)
    if not bridge.has_head(wrapped):
        raise UnsupportedError("a model without a language-model head runs on the plain loop")
    with theirs("a second model of its class cannot be made"):
        twin = bridge.skeleton(module)
    for name, value in [*twin.named_parameters(remove_duplicate=False), *twin.named_buffers(remove_duplicate=False)]:
        if name not in state or state[name].shape != value.shape:
            raise UnsupportedError(f"the parameter {name!r} is not to be found beneath the bridge")
        owner, _, leaf = name.rpartition(".")
        holder = twin.get_submodule(owner)
        if leaf in holder._parameters:
            holder._parameters[leaf] = nn.Parameter(state[name].detach(), requires_grad=False)
        else:
            holder._buffers[leaf] = state[name]
    _set_alike(wrapped, twin)
    for name, activation in list(twin.named_modules()):
        if isinstance(activation, NewGELUActivation):  # the same function in one operation instead of eight
            twin.set_submodule(name, nn.GELU(approximate="tanh"))
    return (with_cache(twin) if native else twin).eval()


def _set_alike(wrapped: Any, twin: nn.Module) -> None:  # noqa: ANN401 - a TransformerBridge
    """Give the modules of a bare model the settings that those beneath the bridge have now, whatever the configuration says."""
    modules = dict(twin.named_modules())
    for name, module in bridge.underlying(wrapped).named_modules(remove_duplicate=False):
        counterpart = modules.get(name.replace("._original_component", ""))
        if counterpart is None or type(counterpart) is not type(module):
            continue
        for key, value in vars(module).items():
            here = vars(counterpart).get(key, ...)
            if isinstance(value, (bool, int, float, str, type(None))) and key[0] != "_" and here is not value:
                setattr(counterpart, key, value)


def ports(wrapped: Any, model: nn.Module, sites: Sequence[Site]) -> dict[Site, Port]:  # noqa: ANN401
    """Return where each of these sites is read in the bare model, as far as it is read at a module."""
    located = {}
    for site in sites:
        point = bridge.hook_point(wrapped, site)
        *path, end = (getattr(point, "name", None) or "").split(".")
        names, part = [], wrapped
        try:
            for word in path:
                part = part.get_submodule(word)
                names += [part.name] if isinstance(getattr(part, "name", None), str) else []
            module = model.get_submodule(".".join(names))
        except AttributeError:
            continue
        if end in ("hook_in", "hook_out") and names:
            located[site] = module, end == "hook_in"
    return located


def chain(block: Any, model: nn.Module) -> Sequence[nn.Module]:  # noqa: ANN401 - a block of a bridge
    """Return the modules from the stream after attention to what the MLP adds; none where they are not named."""
    parts = dict(block.submodules)
    names = [getattr(parts[word], "name", None) for word in ("ln2", "mlp", "ln2_post") if word in parts]
    if "mlp" not in parts or "ln2" not in parts or None in names:
        return ()
    return [model.get_submodule(f"{block.name}.{name}") for name in names]


def hooked(port: Port, act: Callable[[Tensor], Tensor | None]) -> Any:  # noqa: ANN401 - a handle
    """Let a function see what enters or leaves a module, and put in its place what it returns."""
    module, enters = port

    def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        new = act(args[0])
        return None if new is None else (new, *args[1:])

    def after(_: nn.Module, __: object, out: Any) -> Any:  # noqa: ANN401 - a tensor, or a tuple that begins with it
        new = act(first(out))
        return (new, *out[1:]) if new is not None and isinstance(out, tuple) else new

    return module.register_forward_pre_hook(before) if enters else module.register_forward_hook(after)


def first(output: Any) -> Tensor:  # noqa: ANN401 - what a module gives
    """Return the tensor that comes out, or the first of several."""
    return output[0] if isinstance(output, tuple) else output
