"""Companions of a dictionary: others of its recipe, kept in its folder, that say what of it is more than one draw.

    FOLDER/companions/seed-1, seed-2, ...   the same data and another seed
    FOLDER/companions/half-1, half-2        the same seed and one half of the data each

A feature that one dictionary has and the others lack was made by its seed or its sample. Each is a folder like any
other: written whole or not at all, and an interrupted training of them goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mechcausal.arguments import Count, CountOrZero, Model, checked
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries import folder
from mechcausal.dictionaries.activations import Activations, digest
from mechcausal.dictionaries.training import Data, Prompts, gathered, train
from mechcausal.errors import DataError, ModelError
from mechcausal.models.binding import detach
from mechcausal.models.fingerprint import weights_fingerprint

FOLDER = "companions"
Kind = Literal["seed", "half"]
_BLOCKS = 64  # activations without prompts are halved by blocks, so that most neighbors stay together
_SAME = ("kind", "width", "k", "price", "tokens", "rate")  # of the recipe; the seed differs, the batch may


@dataclass(frozen=True)
class Companion:
    """One companion.

    Attributes:
        path: Its folder.
        kind: What is other about it: `seed` or `half`.
    """

    path: Path
    kind: Kind

    @property
    def name(self) -> str:
        """What it is called, such as `seed-1`."""
        return self.path.name

    @property
    def finished(self) -> bool:
        """Whether its training has come to its end."""
        return (self.path / folder.FACTS).is_file()


def planned(path: str | Path, count: int) -> list[Companion]:
    """Return the companions of a dictionary: `count` other seeds, and both halves of the data; none for 0."""
    if count < 0:
        raise DataError("companions are counted from 0", got=count)
    names: list[tuple[str, Kind]] = [(f"seed-{i + 1}", "seed") for i in range(count)]
    names += [("half-1", "half"), ("half-2", "half")] if count else []
    return [Companion(Path(path) / FOLDER / name, kind) for name, kind in names]


@checked
def companions(
    model: Model,
    data: Data,
    path: str | Path,
    count: Count = 2,
    *,
    checkpoint_every: CountOrZero = 0,
    tell: Callable[[Companion], None] = lambda companion: None,
) -> list[Companion]:
    """Train companions of the dictionary in a folder, by its own recipe; `mc.link` finds them there.

    Those that are there already, of the same recipe and data, are kept.

    Args:
        model: The model.
        data: What the dictionary was trained on.
        path: The folder of the dictionary.
        count: How many other seeds; one for each half of the data comes along.
        checkpoint_every: As for `mc.features.train`.
        tell: Is called with each companion before it is trained.
    """
    facts, wanted = folder.read(path).facts, planned(path, count)
    if "recipe" not in facts:
        raise ModelError(f"the folder {path} does not say how its dictionary was trained", fix="train one anew")
    if facts["model_digest"] != weights_fingerprint(model):
        raise ModelError(f"the dictionary in {path} belongs to another model", got=str(model.cfg.model_name))
    recipe = dict(facts["recipe"])
    place = {"site": facts["site"], "site_out": facts["site_out"]}
    activations = gathered(model, data, **place)
    if digest(activations) != facts["data"]["digest"]:
        raise DataError(f"the dictionary in {path} was trained on other data", fix="give the same prompts again")
    halves = halved(data, int(recipe["seed"]))
    remembered = {name: value for name, value in facts.items() if name in ("material",)}
    for companion in wanted:
        tell(companion)
        number = int(companion.name.rpartition("-")[2])
        seed = int(recipe["seed"]) + (number if companion.kind == "seed" else 0)
        made = train(
            model, activations if companion.kind == "seed" else halves[number - 1], **place, **{**recipe, "seed": seed},
            name=f"{facts['name']}-{companion.name}", out=companion.path, checkpoint_every=checkpoint_every,
            remember={**remembered, "companion": companion.name},
        )  # fmt: skip
        detach(model, made.name)
    return wanted


def halved(data: Data, seed: int) -> tuple[Data, Data]:
    """Cut what a dictionary is trained on into halves at random: by prompts, or by blocks of activations."""
    if isinstance(data, (PromptSet, Contrast)):
        return _prompts(data, seed)
    if isinstance(data, (list, tuple)):
        parts = [_prompts(part, seed) for part in data]
        return [first for first, _ in parts], [second for _, second in parts]
    draw = np.random.default_rng([seed, 7])
    activations = Activations.open(data) if isinstance(data, (str, Path)) else data
    activations = activations if isinstance(activations, Activations) else Activations.of(activations)
    if len(activations.shards) > 1:
        first, second = _two(len(activations.shards), "shards", draw)
        return _shards(activations, first, "first"), _shards(activations, second, "second")
    blocks = np.array_split(np.arange(len(activations)), min(_BLOCKS, len(activations)))
    first, second = (np.concatenate([blocks[i] for i in half]) for half in _two(len(blocks), "activations", draw))
    rows = activations.shard(0)
    cut = replace(activations, shards=(rows[first], rows[second]), sizes=(len(first), len(second)))
    return _shards(cut, [0], "first"), _shards(cut, [1], "second")


def _prompts(prompts: Prompts, seed: int) -> tuple[Prompts, Prompts]:
    first, second = _two(len(prompts), "prompts", np.random.default_rng([seed, 7]))
    return prompts.take(torch.as_tensor(first)), prompts.take(torch.as_tensor(second))


def _shards(activations: Activations, chosen: Sequence[int] | np.ndarray, which: str) -> Activations:
    """Return some shards of activations, whose facts say so."""
    sizes = tuple(activations.sizes[i] for i in chosen)
    facts = dict(activations.facts)
    if facts:
        facts |= {"prompts": f"{which} half of {facts['prompts']}", "n_shards": len(sizes), "sizes": list(sizes)}
    return Activations(tuple(activations.shards[i] for i in chosen), facts, sizes)


def _two(count: int, what: str, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if count < 2:
        raise DataError(f"the {what} cannot be cut into halves", got=count, expected="2 at least")
    order = draw.permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def found(path: str | Path) -> list[Companion]:
    """Return the companions in the folder of a dictionary, finished or not; refuse what does not belong there."""
    room = Path(path) / FOLDER
    names = (
        sorted(companion.name for companion in room.iterdir() if companion.is_dir() and companion.name[0] != ".")
        if room.is_dir()
        else []
    )
    there: list[Companion] = []
    facts = folder.read(path).facts if names else {}
    for name in names:
        kind: Kind | None = "seed" if name.startswith("seed-") else "half" if name.startswith("half-") else None
        if kind is None:
            continue
        companion = Companion(room / name, kind)
        if companion.finished:
            _check(companion, facts, folder.read(companion.path).facts)
        there.append(companion)
    return there


def _check(companion: Companion, facts: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Refuse a companion of another model, site, recipe or, where only the seed is another, of other data."""

    def compared(facts: Mapping[str, Any]) -> dict[str, Any]:
        recipe, data = facts.get("recipe", {}), facts.get("data", {})
        out = {"model": facts.get("model_digest"), "site": facts.get("site"), "site_out": facts.get("site_out")}
        out |= {f"recipe {name}": recipe.get(name) for name in _SAME}
        return out | ({"data": data.get("digest")} if companion.kind == "seed" else {"seed": recipe.get("seed")})

    expected, got = compared(facts), compared(theirs)
    unlike: Sequence[str] = [name for name in expected if expected[name] != got[name]]
    if unlike:
        name = unlike[0]
        raise ModelError(
            f"the companion in {companion.path} does not belong to the dictionary beside it",
            got=f"{name} {got[name]}", expected=f"{expected[name]}",
            fix="train the companions again, or delete that folder",
        )  # fmt: skip
