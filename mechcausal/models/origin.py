"""Where a model came from: which files were read, with their digests, so that a number can be traced to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from mechcausal.errors import ModelError
from mechcausal.models.files import sha256
from mechcausal.models.fingerprint import weights_fingerprint

_origins: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()
_SHORTEST = 8


@dataclass(frozen=True)
class Origin:
    """The files that a model was read from.

    Attributes:
        files: The SHA-256 of each file of weights, by its name.
        revision: The commit of the repository on a hub.
        unread: The tensors in these files that this model has no place for: heads for other tasks.
        adapter: The adapter that was added to these weights: its name, the digest of its file, the layers it changes.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    unread: tuple[str, ...] = ()
    adapter: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[Path], *, revision: str | None = None, unread: Iterable[str] = ()) -> Origin:
        """Return the origin of a model in these files of weights."""
        return cls({path.name: sha256(path) for path in paths}, revision, tuple(unread))

    def to_json(self) -> dict[str, Any]:
        """Return what provenance says of it."""
        entries = {
            "files": dict(self.files),
            "revision": self.revision,
            "unread": list(self.unread),
            "adapter": dict(self.adapter),
        }
        return {name: value for name, value in entries.items() if value}


def remember(model: Any, origin: Origin) -> None:  # noqa: ANN401 - a TransformerBridge
    """Keep where a model came from, as long as the model lives."""
    _origins[model] = origin


def origin_of(model: Any) -> Origin:  # noqa: ANN401
    """Return where a model came from; an empty origin for one that was not read from files."""
    return _origins.get(model, Origin())


def require_digest(model: Any, expect: str) -> None:  # noqa: ANN401
    """Refuse a model whose weights, and whose files, have another digest.

    Args:
        model: The bridge.
        expect: The digest of the weights as provenance states it, or the SHA-256 of a file of weights. Of either the
            first eight characters are enough.
    """
    if not isinstance(expect, str) or len(expect) < _SHORTEST:
        raise ModelError(
            "a digest to expect is a text of 8 characters or more", got=repr(expect)[:40],
            fix='copy it from result.provenance.model["weights"]',
        )  # fmt: skip
    weights, files = weights_fingerprint(model), origin_of(model).files
    digests = [weights, *files.values()]
    if any(digest.startswith(expect.lower()) for digest in digests):
        return
    listed = ", ".join([f"weights {weights}", *(f"{name} {digest[:16]}" for name, digest in [*files.items()][:2])])
    raise ModelError(
        "these weights are not the ones you expect", got=listed, expected=expect[:64], fix="read an intact copy"
    )
