"""Edits of text that is being written: read from JSON, with directions from files, and checked against the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from mechcausal.arguments import Kind, Model, described
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import InterventionError, SiteError
from mechcausal.generation.directions import load_direction
from mechcausal.interventions.specs import Edit, Mean, Set, edit_from_json, vector
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import mean_activations

_EXAMPLE = '{"site": "L1.resid_post", "do": "add", "direction": "up.safetensors", "scale": 4}'
# Under which name each intervention takes a direction.
_TAKES = {"add": "value", "set": "value", "project": "directions"}


def edits_of(given: Any) -> tuple[Edit, ...]:  # noqa: ANN401 - any way to write edits
    """Return edits from edits, from JSON objects or from their text, one or a list of them."""
    return tuple(map(edit_of, given)) if isinstance(given, (list, tuple)) else (edit_of(given),)


def edit_of(given: Any) -> Edit:  # noqa: ANN401 - an edit, a mapping or a text
    """Return an edit from itself, from a JSON object or from its text.

    The object is that of `Edit.to_json`, and may have a `direction` in place of the vector: a list of numbers, or the
    name of a safetensors file with one vector.
    """
    if isinstance(given, Edit):
        return given
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise InterventionError(
                f"an edit cannot be read: {error.msg} at character {error.pos}", got=given[:80], fix=f"write {_EXAMPLE}"
            ) from None
    if not isinstance(given, Mapping) or not isinstance(given.get("site"), str):
        raise InterventionError("this is not an edit", got=described(given), expected=_EXAMPLE)
    fields = dict(given)
    if "direction" in fields:
        direction, word = fields.pop("direction"), str(fields.get("do"))
        if word not in _TAKES:
            raise InterventionError(f"{word!r} takes no direction", expected=" or ".join(_TAKES))
        values = vector(load_direction(direction) if isinstance(direction, (str, Path)) else _numbers(direction))
        fields[_TAKES[word]] = [values] if word == "project" else values
    return edit_from_json(fields)


def _numbers(direction: Any) -> Any:  # noqa: ANN401
    plain = direction.tolist() if hasattr(direction, "tolist") else direction
    if not isinstance(plain, (list, tuple)) or not all(isinstance(part, (int, float)) for part in plain):
        raise InterventionError("a direction is a list of numbers or a safetensors file", got=described(direction))
    return plain


def _are_edits(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, tuple) and all(isinstance(edit, Edit) for edit in value)


Edits = Annotated[Sequence[Edit] | Sequence[Mapping[str, Any]], Kind(f"a list of edits such as {_EXAMPLE}", _are_edits)]


def written_edits(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """Return edits as JSON data."""
    return [edit.to_json() for edit in edits]


def in_few_words(edit: Edit) -> dict[str, Any]:
    """Return an edit as JSON data for the provenance: a vector by its length and its norm."""
    return {name: _short(value) for name, value in edit.to_json().items()}


def _short(value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, (list, tuple)) or len(value) < 5:
        return value
    if all(isinstance(part, (int, float)) for part in value):
        return f"a vector of {len(value)}, norm {sum(part * part for part in value) ** 0.5:.4f}"
    return f"{len(value)} vectors"


def ready(
    model: Model,
    edits: Sequence[Edit],
    prompts: PromptSet,
    reference: PromptSet | Contrast | None,
    batch_size: int,
) -> tuple[Edit, ...]:
    """Return edits that need no other run, after checking them against the model and the prompts.

    The mean becomes the vector that it is over the reference prompts. Activations of another prompt are refused, because
    the text that is written has no counterpart there.
    """
    abilities(model).require([edit.site for edit in edits])
    for edit in edits:
        if edit.in_prompt and not bool(prompts.select(edit.at).any()):
            raise SiteError(f"no prompt has the position of the edit {edit}", fix="choose another selection")
        if edit.do.needs_source and not isinstance(edit.do, Mean):
            raise InterventionError(
                f"{edit} takes the activations of another prompt, which text that is being written has not",
                fix="read them with mc.read and give them as 'set', or use 'mean' with reference=",
            )
    means = [edit for edit in edits if isinstance(edit.do, Mean)]
    if not means:
        return tuple(edits)
    if reference is None:
        raise InterventionError(f"{means[0]} needs prompts to take the mean of", fix="pass reference=PROMPTS")
    pool = reference.pooled if isinstance(reference, Contrast) else reference
    wholes = list(dict.fromkeys(edit.site.whole for edit in means))
    if any(site.component == "pattern" for site in wholes):
        raise InterventionError("a mean attention pattern does not fit a text that grows", fix="edit z instead")
    activations = mean_activations(model, pool, wholes, batch_size=batch_size, per_position=False)
    return tuple(
        made for edit in edits for made in (_at_mean(edit, activations[edit.site.whole]) if edit in means else [edit])
    )


def _at_mean(edit: Edit, mean: Tensor) -> list[Edit]:
    """Return the edits that set a site to its mean: one for each head where the site is all heads."""
    value = mean if edit.site.head is None else mean[edit.site.head]
    if edit.site.unit is not None:
        return [replace(edit, do=Set(float(value[edit.site.unit])))]
    if value.ndim == 1:
        return [replace(edit, do=Set(vector(value)))]
    sites = [replace(edit.site, head=head) for head in range(len(value))]
    return [replace(edit, site=site, do=Set(vector(value[site.head]))) for site in sites]
