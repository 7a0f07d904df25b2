"""What a plan names besides its data: dictionaries, which are attached while it is asked, and files, whose content counts.

    dictionaries = ["organism:hiring", "./my_sae"]    # their features are sites then: L1.resid_post.sae:hiring.F17

Another content under the same name is another question, so kept answers are found by digests of what was named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from mechcausal.audits.sources import beside, missing
from mechcausal.catalog import ADAPTERS, ORGANISMS
from mechcausal.dictionaries.loading import load
from mechcausal.errors import MechcausalError
from mechcausal.method import Spec
from mechcausal.models.attached import attached, detach, file
from mechcausal.models.files import sha256
from mechcausal.models.wheels import WHEELS

ORGANISM = "organism:"


@contextmanager
def lent(model: Any, names: Sequence[str], folder: Path) -> Generator[None]:  # noqa: ANN401 - a TransformerBridge
    """Attach dictionaries to a model, and leave it afterwards with those that it had.

    Args:
        model: The model.
        names: Folders, from that of the plan, or `organism:NAME`.
        folder: The folder of the plan.
    """
    before = attached(model)
    try:
        for name in names:
            load(model, beside(folder, name))
        yield
    finally:
        for name, now in attached(model).items():
            if name not in before:
                detach(model, name)
            elif now is not before[name]:
                file(model, before[name])


def dictionary_problems(model: Any, names: Sequence[str], folder: Path) -> Iterator[str]:  # noqa: ANN401 - a model or None
    """Say which dictionaries of a plan are not there, or do not fit the model.

    Args:
        model: The model; without one only files are looked for.
        names: The dictionaries as the plan names them.
        folder: The folder of the plan.
    """
    for name in names:
        if what := missing(name, folder):
            yield f"dictionaries: {what}"
        elif model is not None:
            try:
                with lent(model, [name], folder):
                    pass
            except MechcausalError as error:
                yield f"dictionaries: {name!r}: {error}"


def about_dictionaries(model: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - a TransformerBridge
    """Return what a report says of the dictionaries that are attached: what they are, and where they read."""
    return {
        name: {"digest": each.digest, "site": str(each.site), "features": each.n_features,
               **({} if each.site_out is None else {"site_out": str(each.site_out)})}
        for name, each in sorted(attached(model).items())
    }  # fmt: skip


def named_by(spec: Spec) -> list[str]:
    """Return the files and folders that a question or an edit names, besides its data."""
    names = [getattr(spec, part.name) for part in fields(spec) if part.metadata.get("file")]
    return [name for name in names if isinstance(name, str)]


def contents_of(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the digests of what a plan names, by name; what has no file here, such as a model on a hub, is left out.

    Args:
        names: The names as they stand in the plan.
        folder: The folder of the plan.
    """
    return {name: content for name in dict.fromkeys(names) if (content := content_of(name, folder))}


def content_of(name: str, folder: Path) -> str:
    """Return the digest of what a plan names: a file, a folder, or what ships under a name; empty where it has no file.

    Args:
        name: The name as it stands in the plan.
        folder: The folder of the plan.
    """
    path, bare = Path(beside(folder, name)), name.removeprefix(ORGANISM)
    if not path.exists():
        shipped = [catalog[bare] for catalog in (ORGANISMS, ADAPTERS) if bare in catalog]
        shipped += [file for wheel in [WHEELS.get(name)] if wheel is not None and (file := wheel.file()) is not None]
        if not shipped:
            return ""
        path = shipped[0]
    inside = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    lines = [f"{each.relative_to(path)} {sha256(each)}" for each in inside if each.suffix != ".pyc"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]
