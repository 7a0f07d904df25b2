"""What ablated features and errors are set to, and the straight path on which they get there.

    counterfactual   what they are in the other prompt of the pair; the error is what features decoded here leave of it
    mean             their mean over reference prompts: of their own position where all prompts are of one length,
                     else of all tokens at their place
    zero             zero: what is left of the activation is the bias of the decoder

Features and error move together, `decode(f + t (f' - f)) + e + t (e' - e)`, which for a linear decoder is the straight
path of the activation itself. Dictionaries that remember between encoding and decoding how large the activation was
decode all of it at the size of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.screening.attribution import BUDGET, fitting
from mechcausal.errors import DataError, SiteError
from mechcausal.models import bridge
from mechcausal.models.attached import Bound
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import forward
from mechcausal.patching.ablation import lines_up

AblationKind = Literal["counterfactual", "mean", "zero"]
ABLATIONS: tuple[AblationKind, ...] = get_args(AblationKind)

Values = tuple[Tensor, Tensor]  # features, [... feature], and error, [... d_out]


@dataclass(frozen=True)
class Ablation:
    """What the nodes of some dictionaries are set to.

    Attributes:
        kind: `counterfactual`, `mean` or `zero`.
        means: Of each dictionary the means of features and error, [place pos ...]; of size 1 along what is averaged.
        described: What the provenance says of it.
    """

    kind: str = "counterfactual"
    means: Mapping[str, Values] = field(default_factory=dict)
    described: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Any,  # noqa: ANN401 - a TransformerBridge
        dictionaries: Sequence[Bound],
        places: Sequence[Selection],
        pairs: Contrast,
        kind: str,
        reference: PromptSet | Contrast | None,
        batch_size: int,
    ) -> Ablation:
        """Return the ablation of this kind, with the means that it needs.

        Args:
            model: The bridge.
            dictionaries: The dictionaries.
            places: The positions at which nodes are told apart.
            pairs: The pairs whose nodes are ablated.
            kind: Which ablation.
            reference: Whose means are taken; both sides of the pairs unless given.
            batch_size: How many prompts at a time.
        """
        if kind != "mean":
            if reference is not None:
                raise DataError(f"{kind} ablation takes no means of a reference", fix="leave it out, or ablate by mean")
            return cls(kind, {}, {"ablation": kind})
        pool = pairs if reference is None else reference
        pool = pool.pooled if isinstance(pool, Contrast) else pool
        by_position = lines_up(pairs.clean, pool)
        if by_position:  # in the columns in which the pairs will stand
            width = max(pairs.clean.tokens.shape[1], pairs.corrupt.tokens.shape[1])
            pool = pool.padded(width, pairs.clean.side)
        means = _means(model, dictionaries, places, pool, by_position, batch_size)
        described = {"ablation": kind, "mean": "per position" if by_position else "per place", "reference": pool.hash}
        return cls(kind, means, described)


@dataclass(frozen=True, eq=False)
class Move:
    """One dictionary in one batch, at the tokens where its nodes are.

    Attributes:
        dictionary: The dictionary.
        how: What its nodes are set to.
        x: What it reads, [token ...].
        y: What it reconstructs, [token ...].
        place: The number of each token's place.
        column: The position of each token in the batch.
        other: What it reads and reconstructs in the other prompt, where that is what nodes are set to.
    """

    dictionary: Bound
    how: Ablation
    x: Tensor
    y: Tensor
    place: Tensor
    column: Tensor
    other: Values | None

    @classmethod
    def of(
        cls,
        dictionary: Bound,
        how: Ablation,
        chosen: Sequence[Tensor],
        here: Mapping[Site, Tensor],
        there: Mapping[Site, Tensor],
    ) -> Move:
        """Gather the tokens of all places from what was read in the run and in that of the other prompt."""
        stacked = torch.stack(list(chosen))
        inside = stacked.any(0)
        place = stacked.byte().argmax(0)[inside]
        other = (
            (there[dictionary.site][inside], there[dictionary.written][inside])
            if how.kind == "counterfactual"
            else None
        )
        return cls(
            dictionary,
            how,
            here[dictionary.site][inside],
            here[dictionary.written][inside],
            place,
            inside.nonzero()[:, 1],
            other,
        )

    def chunks(self) -> Iterator[slice]:
        """Yield tokens, as many at a time as may be held with all features."""
        size = max(1, BUDGET // (16 * self.dictionary.n_features))
        for low in range(0, len(self.x), size):
            yield slice(low, low + size)

    @torch.no_grad()
    def ends(self, some: slice) -> tuple[Values, Values]:
        """Return features and error, as they are and as they are set; the error in one row per token."""
        dictionary, y = self.dictionary, self.y[some]
        new = None if self.other is None else dictionary.encode(self.other[0][some])
        f = dictionary.encode(
            self.x[some]
        )  # the last to be encoded: what is decoded from here on is of the size of this run
        error = (y - dictionary.like(dictionary.decode(f), y)).flatten(1)
        if self.other is not None:
            assert new is not None
            strange = (self.other[1][some] - dictionary.like(dictionary.decode(new), y)).flatten(1)
        elif self.how.kind == "mean":
            new, strange = (
                self._rows(table, some).to(like.dtype) for table, like in zip(self._means, (f, y), strict=True)
            )
        else:
            new, strange = torch.zeros_like(f), torch.zeros_like(error)
        return (f, error), (new, strange)

    def at(self, part: float) -> Tensor:
        """Return the activation when all nodes have gone this part of their way, [token ...]."""
        return self.y + (part * self._moved if self.dictionary.linear else self._change(part))

    @cached_property
    def _moved(self) -> Tensor:
        return self._change(1.0) if self.other is None else self.other[1] - self.y

    @torch.no_grad()
    def _change(self, part: float) -> Tensor:
        out = torch.zeros_like(self.y)
        for some in self.chunks():
            (f, error), (new, strange) = self.ends(some)
            decoded = self.dictionary.decode(f + part * (new - f)) - self.dictionary.decode(f)
            out[some] = self.dictionary.like(decoded + part * (strange - error), self.y[some])
        return out

    @torch.no_grad()
    def keeping(self, keep: Tensor) -> Tensor:
        """Return the activation when all nodes but these are set, [token ...]; exactly as it is if all are kept.

        Args:
            keep: Which nodes are kept, [place feature]; the error comes last.
        """
        out, keep = self.y.clone(), keep.to(self.y.device)
        for some in self.chunks():
            (f, error), (new, strange) = self.ends(some)
            kept = keep[self.place[some]]
            decoded = self.dictionary.decode(torch.where(kept[:, :-1], f, new)) - self.dictionary.decode(f)
            moved = torch.where(kept[:, -1:], error, strange) - error
            out[some] += self.dictionary.like(decoded + moved, self.y[some])
        return out

    @property
    def _means(self) -> Values:
        return self.how.means[self.dictionary.name]

    def _rows(self, table: Tensor, some: slice) -> Tensor:
        place = self.place[some] if len(table) > 1 else torch.zeros_like(self.place[some])
        column = self.column[some] if table.shape[1] > 1 else torch.zeros_like(self.column[some])
        return table.to(place.device)[place, column]


def told_apart(places: Sequence[Selection], batch: PromptSet) -> list[Tensor]:
    """Return where nodes are at each place, [batch pos] each; no token may belong to two places."""
    chosen = [batch.select(at) & batch.mask for at in places]
    if int(torch.stack(chosen).sum(0).max()) > 1:
        raise SiteError(
            "the positions of a circuit overlap, so that nodes would count twice", got=", ".join(map(str, places))
        )
    return chosen


def _means(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    dictionaries: Sequence[Bound],
    places: Sequence[Selection],
    prompts: PromptSet,
    by_position: bool,
    batch_size: int,
) -> dict[str, Values]:
    """Return the means of features and error of each dictionary, [1 pos ...] by position, else [place 1 ...]."""
    told_apart(places, prompts)
    sums: dict[Site, Tensor] = {}
    counts = torch.zeros((1, prompts.tokens.shape[1]) if by_position else (len(places), 1), dtype=torch.double)
    sites = [site for dictionary in dictionaries for site in (dictionary.features, dictionary.error)]

    def one_batch(index: Tensor) -> np.ndarray:
        batch = prompts.take(index).to(bridge.device_of(model))
        read = forward(model, batch, read=sites).read
        masks = batch.mask[None] if by_position else torch.stack(told_apart(places, batch))
        over = "pbt,btd->ptd" if by_position else "pbt,btd->pd"
        added = {site: torch.einsum(over, masks.double(), read[site].flatten(2).double()).cpu() for site in sites}
        for site, total in added.items():  # only now: a batch that ran out of memory is tried again
            sums[site] = sums.get(site, 0) + (total if by_position else total[:, None])
        counts.add_(masks.sum(1).cpu() if by_position else masks.sum((1, 2))[:, None].cpu())
        return np.zeros((0, len(index)))

    in_batches(len(prompts), fitting(batch_size, prompts.tokens.shape[1], *dictionaries), one_batch)
    if not by_position and (empty := [str(at) for at, row in zip(places, counts, strict=True) if not row.any()]):
        raise DataError("no reference prompt has these positions", got=", ".join(empty), fix="give longer prompts")
    mean = {site: total / counts.clamp(min=1)[..., None] for site, total in sums.items()}
    return {dictionary.name: (mean[dictionary.features], mean[dictionary.error]) for dictionary in dictionaries}
