"""Hold each method as a frozen specification that is checked, costed, run, written to a file and read back.

spec = mc.methods.Patching(sites="z", direction="noise")
spec.cost(model, pairs)               # what it would take
spec.run(model, pairs)                # the same as mc.patch(model, pairs, sites="z", direction="noise")
mc.methods.read(spec.to_json())       # equal to spec
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mechcausal.face import lazy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mechcausal.method import Cost as Cost
    from mechcausal.method import Method as Method
    from mechcausal.patching.ablation import Ablating as Ablating
    from mechcausal.patching.activation import Patching as Patching
    from mechcausal.patching.attribution import Attributing as Attributing
    from mechcausal.patching.measuring import Measuring as Measuring
    from mechcausal.patching.path import PathPatching as PathPatching
    from mechcausal.patching.reading import Reading as Reading

# One line for each specification: its class, the word it goes by in files, and where it stands.
_SPECS = {
    "Ablating": ("ablate", "mechcausal.patching.ablation"),
    "Attributing": ("attribute", "mechcausal.patching.attribution"),
    "Measuring": ("measure", "mechcausal.patching.measuring"),
    "Patching": ("patch", "mechcausal.patching.activation"),
    "PathPatching": ("path_patch", "mechcausal.patching.path"),
    "Reading": ("read", "mechcausal.patching.reading"),
}


def read(data: Mapping[str, Any]) -> Method[Any, Any]:
    """Make a specification from its plain form: a mapping with the word of a method and its fields.

    Example:
        >>> import mechcausal as mc
        >>> mc.methods.read({"method": "patch", "sites": "z"}) == mc.methods.Patching(sites="z")
        True
    """
    from collections.abc import Mapping

    from mechcausal.method import read as read_plain

    word = data.get("method") if isinstance(data, Mapping) else None
    for known, home in _SPECS.values():
        if word == known:
            import_module(home)  # which makes the method known
            return read_plain(data)
    for _, home in _SPECS.values():
        import_module(home)  # so that an error can name the word that is meant
    return read_plain(data)


if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(
        __name__,
        {name: home for name, (_, home) in _SPECS.items()}
        | {"Cost": "mechcausal.method", "Method": "mechcausal.method"},
        "read",
    )
