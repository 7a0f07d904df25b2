"""Load a dictionary, from a folder, from an organism or from a release, and attach it where it says it belongs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mechcausal.address import Site
from mechcausal.arguments import Model, checked
from mechcausal.catalog import ORGANISMS
from mechcausal.dictionaries import folder
from mechcausal.dictionaries.saelens import Renormalised, from_disk, from_release
from mechcausal.errors import DataError, ModelError, SiteError
from mechcausal.models.binding import Bound, attach
from mechcausal.organisms import folder as organism


@checked
def load(
    model: Model,
    source: str | Path,
    *,
    site: str | Site | None = None,
    site_out: str | Site | None = None,
    name: str | None = None,
    sae_id: str | None = None,
    fold: bool = True,
) -> Bound:
    """Load a dictionary and attach it to the model.

    Args:
        model: The model it belongs to.
        source: A folder (of ours or of sae-lens), `organism:NAME` for the one that ships with an organism, or the name
            of a release of sae-lens.
        site: The activation it reads; told by most folders, and compared where both tell it.
        site_out: What a transcoder reconstructs, likewise.
        name: What sites call it; by default the folder's name.
        sae_id: Which one of a release.
        fold: Make each decoder row one unit long and scale activations accordingly, so that they compare.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> mc.features.load(model, "organism:hiring").n_features
        256
    """
    facts: dict[str, Any] = {}
    text = str(source)
    if text.startswith("organism:"):
        source = organism(text.removeprefix("organism:")) / "dictionary"
        if not source.is_dir():
            raise ModelError(f"no dictionary ships with {text}", fix="train one: mc.features.train(model, ...)")
        name = name or text.removeprefix("organism:")
    if _exists(source) or text.startswith((".", "/")) or (sae_id is None and "/" in text):
        kept = folder.read(source)
        facts = {"model_digest": kept.facts.get("model_digest"), "folder": source}
        made = kept.coder() if kept.is_plain else from_disk(source)
        hooks = kept.facts.get("site") or kept.hook, kept.facts.get("site_out") or kept.hook_out
        name = name or Path(source).resolve().name
    elif text in ORGANISMS:
        raise ModelError(f"{text!r} is no folder of a dictionary", fix=f'the one that ships: "organism:{text}"')
    else:
        made = from_release(text, sae_id)
        hooks = made.cfg.metadata.hook_name, made.cfg.metadata.hook_name_out
        name = name or text
    place = _place(site, hooks[0], "site", text)
    target = _place(site_out, hooks[1], "site_out", text) if site_out or hooks[1] else None
    assert place is not None  # it is refused otherwise
    device = next(iter(model.parameters())).device
    if isinstance(made, folder.SparseCoder):
        made = (made.folded() if fold else made).to(device)
    elif fold and not isinstance(made, Renormalised):
        made = folder.UnitRows(made.to(device))
    return attach(model, made, place, name=re.sub(r"[^\w-]", "-", name), site_out=target, **facts)


def _exists(source: str | Path) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a text that no path can be
        return False


def _place(given: str | Site | None, stated: str | None, word: str, source: str) -> Site:
    """Return a site from what the caller says and from what the dictionary says of itself."""
    parsed = None
    if stated is not None:
        try:
            parsed = Site.parse(stated)
        except SiteError:
            parsed = None
    if given is None and parsed is None:
        raise DataError(f"the dictionary {source} does not say which site it reads", got=stated, fix=f"pass {word}=...")
    place = Site.parse(given) if given is not None else parsed
    if parsed is not None and place != parsed:
        raise DataError(f"the dictionary {source} belongs to another site", got=str(place), expected=str(parsed))
    assert place is not None
    return place
