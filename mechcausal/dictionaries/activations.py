"""Activations to train on: read off a model once, kept in memory or on disk, and dealt out in a fixed random order.

On disk they are shards of safetensors with checksums, written whole or not at all. Harvesting again goes on where it stopped,
and a folder that was made from another model, site or set of prompts is refused instead of mixed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Site
from mechcausal.arguments import Count, Model
from mechcausal.data.batching import batches, trimmed
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, NumericsError
from mechcausal.method import Cost, Method, function
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import check_prompts
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import readings
from mechcausal.results.storage import read_json, read_tensors, require_room, write_json, write_tensors

FACTS = "activations.json"
TOKENS = 65_536  # in a shard, about
_AT_ONCE = 8192  # tokens that are made exact at once


@dataclass(frozen=True)
class Activations:
    """Activations of one site, token by token, and of a second one for a transcoder.

    Attributes:
        shards: Tensors [token d], or files that hold them.
        facts: Where they come from: site, model, its digest, the prompts' hash; empty for a bare tensor.
        sizes: How many tokens each shard has.
    """

    shards: tuple[Tensor | Path, ...]
    facts: dict[str, Any]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, values: Any) -> Activations:  # noqa: ANN401 - a tensor or an array
        """Take activations as they are, [token d]."""
        tensor = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values).detach().float()
        if tensor.ndim != 2 or not len(tensor):
            raise DataError("activations are one row a token", got=tuple(tensor.shape), expected="[token d]")
        if not bool(torch.isfinite(tensor).all()):
            raise NumericsError("these activations hold NaN or infinity")
        return cls((tensor,), {}, (len(tensor),))

    @classmethod
    def open(cls, folder: str | Path) -> Activations:
        """Open a folder that `harvest` has finished."""
        folder = Path(folder)
        if not (folder / FACTS).is_file():
            raise DataError(
                f"{folder} holds no activations", fix="make them: mc.features.harvest(model, prompts, site, out=...)"
            )
        facts = read_json(folder / FACTS, "the facts of activations", DataError)
        files = [folder / f"{number:05d}.safetensors" for number in range(facts["n_shards"])]
        missing = [path.name for path in files if not path.is_file()]
        if missing or "sizes" not in facts:
            raise DataError(f"the activations in {folder} are not complete", got=f"{len(missing)} shards missing",
                            fix="run the same mc.features.harvest(...) again, it goes on where it stopped")  # fmt: skip
        return cls(tuple(files), facts, tuple(facts["sizes"]))

    def __len__(self) -> int:
        """Return how many tokens there are."""
        return sum(self.sizes)

    @classmethod
    def joined(cls, parts: Sequence[Activations]) -> Activations:
        """Put several sets of activations of one site together."""
        first = parts[0]
        for other in parts[1:]:
            unlike = [
                word for word in ("site", "site_out", "model_digest") if other.facts.get(word) != first.facts.get(word)
            ]
            if unlike or other.width != first.width:
                raise DataError("these activations are of different places", got=", ".join(unlike) or "two widths")
        facts = dict(first.facts)
        if facts:
            facts["prompts"] = ", ".join(str(part.facts["prompts"]) for part in parts)
            facts["n_prompts"] = sum(part.facts["n_prompts"] for part in parts)
        shards = [[part.shard(number) for number in range(len(part.shards))] for part in parts]
        tokens = torch.cat([shard for part in shards for shard in part])
        return cls((tokens,), facts, (len(tokens),))

    @property
    def width(self) -> int:
        """How many numbers a token has: those of both sites side by side, for a transcoder."""
        return self.shard(0).shape[1]

    @property
    def width_in(self) -> int:
        """How many of them are of the first site."""
        return int(self.facts.get("width_in", self.width))

    def shard(self, number: int) -> Tensor:
        """Return one shard, [token d]."""
        shard = self.shards[number]
        if isinstance(shard, Tensor):
            return shard
        values = read_tensors(shard, "a shard of activations", DataError)[0]["activations"].float()
        if len(values) != self.sizes[number]:
            raise DataError(
                f"{shard} is of other activations", got=f"{len(values)} tokens", expected=self.sizes[number]
            )
        return values

    def moments(self) -> tuple[Tensor, tuple[float, float]]:
        """Return the mean, and the mean length of what each of the two sites holds."""
        total, lengths = torch.zeros(self.width, dtype=torch.float64), [0.0, 0.0]
        for number in range(len(self.shards)):
            for rows in self.shard(number).split(_AT_ONCE):
                exact = rows.double()
                total += exact.sum(0)
                for side, part in enumerate((exact[:, : self.width_in], exact[:, self.width_in :])):
                    lengths[side] += float(part.norm(dim=-1).sum())
        return (total / len(self)).float(), (lengths[0] / len(self), lengths[1] / len(self))

    def batches(self, size: int, *, seed: int, start: int = 0) -> Iterator[Tensor]:
        """Deal out batches for ever, every token once an epoch, in an order that the seed alone decides.

        Args:
            size: How many tokens a batch.
            seed: The seed of the order.
            start: How many batches to leave out: what was dealt before an interruption.
        """
        if size > len(self):
            raise DataError("a batch holds more tokens than there are", got=size, expected=f"at most {len(self)}")
        epoch, left = 0, torch.zeros(0, self.width)
        while True:
            draw = np.random.default_rng([seed, epoch])
            for number in draw.permutation(len(self.shards)):
                order = torch.as_tensor(draw.permutation(self.sizes[number]))
                count, begun = (len(left) + len(order)) // size, len(left)
                if start >= count:  # nothing of this shard but its rest is needed
                    start -= count
                    rest = begun + len(order) - count * size
                    tail = self.shard(number)[order[len(order) - min(rest, len(order)) :]] if rest else left[:0]
                    left = torch.cat([left, tail])[-rest:] if rest else tail
                    continue
                rows = self.shard(number)
                for low in range(start * size - begun, count * size - begun, size):
                    batch = rows[order[max(0, low) : low + size]]
                    yield batch if low >= 0 else torch.cat([left, batch])
                start, left = 0, rows[order[count * size - begun :]] if count else torch.cat([left, rows[order]])
            epoch += 1


@dataclass(frozen=True)
class HarvestCost(Cost):
    """What reading activations would take.

    Attributes:
        tokens: How many tokens are read.
        gigabytes: How much they hold.
    """

    tokens: int = 0
    gigabytes: float = 0.0

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.examples:,} prompts, {self.tokens:,} tokens, {self.gigabytes:.2f} GB"


@dataclass(frozen=True, kw_only=True)
class Harvesting(Method[PromptSet | Contrast, Activations]):
    """Read the activations of a site at every real token.

    Attributes:
        site: The activation.
        site_out: What a transcoder is to reconstruct.
        out: A folder to keep them in; memory if None. Harvesting again into it goes on where it stopped.
        batch_size: How many prompts at a time.
        skip_first: Leave out the first token of each prompt, whose activation is unlike all others; by default where
            the tokenizer puts a begin-of-text token there.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> mc.features.harvest(model, mc.task("hiring").prompts(model, n=4), "L1.resid_post").width
        48
    """

    word: ClassVar[str] = "harvest"
    site: str | Site = field(kw_only=False)
    site_out: str | Site | None = None
    out: str | Path | None = None
    batch_size: Count = 64
    skip_first: bool | None = None

    def run(self, model: Model, data: PromptSet | Contrast) -> Activations:
        """Read them, or go on reading them."""
        prompts, sites, skips = self._asked(model, data)
        per_shard = max(1, TOKENS // prompts.tokens.shape[1])
        facts = {
            "site": str(sites[0]), "site_out": str(sites[1]) if len(sites) > 1 else None,
            "model": str(model.cfg.model_name), "model_digest": weights_fingerprint(model), "prompts": prompts.hash,
            "n_prompts": len(prompts), "skip_first": skips, "n_shards": -(-len(prompts) // per_shard),
            "width_in": int(torch.Size(abilities(model).shape_at(sites[0])).numel()),
        }  # fmt: skip
        folder = None if self.out is None else _room(Path(self.out), facts, self._bytes(model, prompts, sites, skips))
        shards: list[Tensor | Path] = []
        sizes: list[int] = []
        bar = tqdm(total=len(prompts), desc="reading activations", unit="prompt", disable=None, leave=False)
        for number in range(facts["n_shards"]):
            rows = range(number * per_shard, min((number + 1) * per_shard, len(prompts)))
            path = None if folder is None else folder / f"{number:05d}.safetensors"
            if path is not None and path.is_file():
                sizes.append(len(read_tensors(path, "a shard of activations", DataError)[0]["activations"]))
            else:
                values = _read(model, prompts, rows, sites, self.batch_size, skips)
                sizes.append(len(values))
                if path is not None:
                    write_tensors(path, {"activations": values})
                else:
                    shards.append(values)
            shards += [path] if path is not None else []
            bar.update(len(rows))
        bar.close()
        if not sum(sizes):
            raise DataError("these prompts leave no token to read", fix="pass skip_first=False, or longer prompts")
        if folder is None:  # in memory all tokens are mixed with each other
            tokens = torch.cat([shard for shard in shards if isinstance(shard, Tensor)])
            return Activations((tokens,), facts | {"sizes": [len(tokens)]}, (len(tokens),))
        write_json(folder / FACTS, facts | {"sizes": sizes})
        return Activations(tuple(shards), facts | {"sizes": sizes}, tuple(sizes))

    def cost(self, model: Model, data: PromptSet | Contrast) -> HarvestCost:
        """Return what it would take; nothing is run."""
        prompts, sites, skips = self._asked(model, data)
        tokens, size = int(counted(prompts, skips).sum()), self._bytes(model, prompts, sites, skips)
        return HarvestCost(1, len(prompts), len(prompts), len(prompts), tokens, size / 1e9)

    def _bytes(self, model: Model, prompts: PromptSet, sites: list[Site], skips: bool) -> int:
        width = sum(torch.Size(abilities(model).shape_at(site)).numel() for site in sites)
        return 4 * int(counted(prompts, skips).sum()) * width

    def _asked(self, model: Model, data: PromptSet | Contrast) -> tuple[PromptSet, list[Site], bool]:
        """Return the prompts, the sites, and whether first tokens are left out."""
        prompts = data.pooled if isinstance(data, Contrast) else data
        sites = [Site.parse(site) for site in (self.site, self.site_out) if site is not None]
        abilities(model).require(sites, writes=False)
        check_prompts(model, prompts)
        return prompts, sites, begins_alike(model, prompts) if self.skip_first is None else self.skip_first


harvest = function(Harvesting, data="prompts", about="What the model reads; both sides of pairs.")


def _read(model: Model, prompts: PromptSet, rows: range, sites: list[Site], batch_size: int, skips: bool) -> Tensor:
    """Return the activations of some prompts, [token d], prompt after prompt; they are run in the order of length."""
    part = prompts.take(torch.arange(rows.start, rows.stop))
    of_prompt: dict[int, Tensor] = {}
    for index in batches(part.lengths, batch_size):
        batch = trimmed(part.take(index)).to(bridge.device_of(model))
        keep = counted(batch, skips)
        read = readings(model, batch, sites)
        values = torch.cat([read[site][keep].flatten(1).float().cpu() for site in sites], -1)
        of_prompt |= dict(zip(index.tolist(), values.split(keep.sum(1).tolist()), strict=True))
    values = torch.cat([of_prompt[number] for number in range(len(part))])
    if not bool(torch.isfinite(values).all()):
        raise NumericsError(
            f"the activations at {sites[0]} hold NaN or infinity", fix="check the weights and the dtype"
        )
    return values.contiguous()


def counted(prompts: PromptSet, skip_first: bool) -> Tensor:
    """Return the tokens that count, [prompt pos]: the real ones, without the first of each prompt if it is left out."""
    return prompts.mask & (prompts.mask.cumsum(1) > 1) if skip_first else prompts.mask


def begins_alike(model: Any, prompts: PromptSet) -> bool:  # noqa: ANN401
    """Say whether the tokenizer puts a begin-of-text token before every prompt."""
    begin = getattr(getattr(model, "tokenizer", None), "bos_token_id", None)
    if begin is None or int(prompts.lengths.min()) < 2:
        return False
    first = prompts.tokens[torch.arange(len(prompts)), prompts.mask.int().argmax(1)]
    return bool((first == begin).all())


def _room(folder: Path, facts: dict[str, Any], size: int) -> Path:
    """Return the folder for these activations; refuse one that holds others, or that they do not fit into."""
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else 0
    require_room(folder, max(0, size - there), folder=True, files=facts["n_shards"])
    path = folder / FACTS
    if path.is_file():
        there = read_json(path, "the facts of activations", DataError)
        other = [name for name in facts if there.get(name) != facts[name]]
        if other:
            raise DataError(
                f"{folder} holds activations of something else", got=f"{other[0]} {there.get(other[0])}",
                expected=facts[other[0]], fix="choose another folder, or delete this one",
            )  # fmt: skip
    elif any(folder.glob("*.safetensors")):
        raise DataError(f"{folder} holds tensors that are no activations of ours", fix="choose another folder")
    else:
        write_json(path, facts)
    return folder


def digest(activations: Activations) -> str:
    """Return a digest of what the activations are, by their facts or by their numbers."""
    if activations.facts:
        return hashlib.sha256(json.dumps(activations.facts, sort_keys=True).encode()).hexdigest()[:16]
    return hashlib.sha256(activations.shard(0).contiguous().numpy().tobytes()).hexdigest()[:16]
