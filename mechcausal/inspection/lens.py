"""Logit lens and tuned lens over layers and positions, each reading beside the exact effect of patching its cell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Place, Site, expand
from mechcausal.address.components import STREAM
from mechcausal.arguments import Count, CountOrZero, Model, OpenShare, Seed
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import Positions, SiteSpec, as_text, places, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import split, units
from mechcausal.errors import SiteError
from mechcausal.inspection.divergence import Output
from mechcausal.inspection.lens_result import Lens
from mechcausal.inspection.reading import Read, first_tokens, log_odds, read_cells
from mechcausal.inspection.streams import position_labels, streams, token_texts
from mechcausal.inspection.tuned import Translators, fit
from mechcausal.inspection.unembedding import Unembedding, in_chunks
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import check_prompts
from mechcausal.models.facts import facts
from mechcausal.patching.activation import Direction, Patching
from mechcausal.results.intervals import mean_interval, mean_intervals, ratio_intervals
from mechcausal.results.provenance import Provenance
from mechcausal.results.table import p_values

_LOGIT = Translators({})


@dataclass(frozen=True, kw_only=True)
class Lensing(Method[Contrast | PromptSet, Lens]):
    """Read the stream at every layer and position as if it were the last one, and measure what of it is used.

    Of answers of several tokens the first is followed, of sets of answers their summed probability.
    The logit lens (nostalgebraist 2020) puts the stream of a layer through the final norm and the unembedding. The tuned
    lens (Belrose et al. 2023) first translates it by an affine map for each layer, which is fitted here on some clusters
    of the prompts and read on the others. At the last layer both are the model's own output. A lens says what is
    readable; for pairs, `used` is the exact effect of patching the same cell, as `mc.patch` measures it.

    Attributes:
        kind: `"logit"` or `"tuned"`.
        sites: The streams that are read: `resid_post`, `resid_pre` or `resid_mid`, or a list of sites.
        at: At which positions: `"each"`, a selection such as `"@-1"`, or a list of selections. None is each.
        top: How many of the likeliest tokens are told.
        used: Whether the cells of pairs are patched as well.
        direction: How they are: `"denoise"` (what suffices) or `"noise"` (what is needed).
        train: The prompts that a tuned lens is fitted on; a part of these prompts where None.
        share: The share of the clusters of these prompts that a tuned lens is fitted on, if it has no others.
        steps: How many steps of gradient descent follow the closed form, on the KL divergence to the output.
        batch_size: How many prompts are run at a time.
        seed: The seed of the split.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> read = mc.lens(model, pairs, at="@decision")
        >>> read.frame[["site", "rank"]].iloc[-1].tolist()[0], round(float(read.frame["readable"].iloc[-1]), 3)
        ('L3.resid_post', 1.0)
    """

    word: ClassVar[str] = "lens"
    kind: Literal["logit", "tuned"] = "logit"
    sites: SiteSpec = field(default="resid_post", metadata={"read": as_text})
    at: Positions = field(default=None, metadata={"read": as_text})
    top: Count = 5
    used: bool = True
    direction: Direction = "denoise"
    train: PromptSet | Contrast | None = field(default=None, repr=False)
    share: OpenShare = 0.5
    steps: CountOrZero = 0
    batch_size: Count = 32
    seed: Seed = 0

    def run(self, model: Model, data: Contrast | PromptSet) -> Lens:
        """Read every cell."""
        started = time.perf_counter()
        sites, last = self._sites(model, data)
        unembed = Unembedding(model)
        translate, data, held_out = self._tuned(model, unembed, data, sites, last)
        sides = {"clean": data.clean, "corrupt": data.corrupt} if isinstance(data, Contrast) else {"clean": data}
        prompts = sides["clean"]
        cells = places(sites, self.at, prompts)
        answer, foil = (first_tokens(prompts, what) for what in ("answer", "foil"))
        read, outputs, tuning = {}, {}, []
        for name, side in sides.items():
            values = streams(model, side, list(dict.fromkeys([*sites, last])), self.batch_size)
            if side is prompts and self.kind == "tuned":
                tuning = _judged(unembed, translate, values, sites, last, prompts)
            output, likeliest = _output(unembed, values[last], side, answer, foil)
            answer = likeliest if answer is None else answer
            read[name] = read_cells(unembed, values, last, cells, side, answer, foil, translate, self.top)
            outputs[name] = output
        frame = self._frame(model, cells, read["clean"], prompts)
        if isinstance(data, Contrast):
            frame = _with_readable(frame, read, outputs, prompts.clusters)
            frame = self._with_used(frame, model, data) if self.used else frame
        provenance = Provenance(
            method=self.word,
            arguments=self._arguments(foil) | {"held_out": held_out},
            seed=self.seed if self.kind == "tuned" else None,
            **facts(
                model, data, started=started, forwards=len(data) * len(sides), batch_size=self.batch_size,
                **({"fitted_on_tokens": translate.n_tokens} if translate.n_tokens else {}),
            ),
        )  # fmt: skip
        examples = np.stack([cell.value for cell in read["clean"]])
        tables = {"tuning": tuning} if tuning else {}
        outputs = {"base": outputs["clean"], **outputs}
        return Lens(frame, provenance, examples, outputs, prompts.groups, prompts.clusters, tables)

    def cost(self, model: Model, data: Contrast | PromptSet) -> Cost:
        """Return what it would take: the unedited runs, and the patches of pairs."""
        sites, _ = self._sites(model, data)
        pairs = isinstance(data, Contrast)
        cells = len(places(sites, self.at, data.clean if isinstance(data, Contrast) else data))
        runs = len(data) * (2 if pairs else 1) * (2 if self.kind == "tuned" else 1)
        if not pairs or not self.used:
            return Cost(cells=cells, examples=len(data), forwards=runs, naive_forwards=runs)
        patching = self._patching.cost(model, data)
        return Cost(
            cells=cells, examples=len(data), forwards=runs + patching.forwards,
            naive_forwards=runs + patching.naive_forwards,
        )  # fmt: skip

    @property
    def _patching(self) -> Patching:
        return Patching(sites=self.sites, at="each" if self.at is None else self.at, direction=self.direction)

    def _sites(self, model: Model, data: Contrast | PromptSet) -> tuple[list[Site], Site]:
        for side in (data.clean, data.corrupt) if isinstance(data, Contrast) else (data,):
            check_prompts(model, side)
        able = abilities(model)
        sites = expand(self.sites, able.shape)
        wrong = [site for site in sites if site.component not in STREAM or site != site.activation]
        if wrong:
            raise SiteError(f"a lens reads the stream, and {wrong[0]} is something else", expected=", ".join(STREAM))
        last = Site("resid_post", able.shape.n_layers - 1)
        able.require([*sites, last], writes=False)
        return sites, last

    def _tuned(
        self, model: Model, unembed: Unembedding, data: Contrast | PromptSet, sites: Sequence[Site], last: Site
    ) -> tuple[Translators, Contrast | PromptSet, bool]:
        """Return the lens, the prompts that are left to be read, and whether they were held out."""
        if self.kind == "logit":
            return _LOGIT, data, False
        train: Contrast | PromptSet = data if self.train is None else self.train
        if self.train is None:
            first, second = split(
                units(data), self.share, [self.seed, 11], fewest=2, what="prompts for a tuned lens",
                fix="bring more, or fit the lens on others: train=PROMPTS",
            )  # fmt: skip
            train, data = data.take(torch.as_tensor(first)), data.take(torch.as_tensor(second))
        pool = _with_clusters(train)
        options = {"steps": self.steps, "seed": self.seed, "batch_size": self.batch_size}
        lens = fit(model, unembed, pool, sites, last, **options)
        return lens, data, self.train is None

    def _frame(self, model: Model, cells: Sequence[Place], read: Sequence[Read], prompts: PromptSet) -> pd.DataFrame:
        # A position that prompts of different length share is no token of all of them; it keeps its number and name.
        labels = [] if prompts.aligned else position_labels(model, prompts)
        rows = []
        for place, cell in zip(cells, read, strict=True):
            start = place.at.start
            named = place.at.is_single and start is not None and 0 <= start < len(labels)
            names = token_texts(model, [token for token, _ in cell.top])
            rows.append(
                place.row()
                | ({"label": labels[start]} if named else {})
                | {
                    "rank": float(np.nanmedian(cell.rank)), "kl": float(np.nanmean(cell.kl)),
                    "agrees": float(np.nanmean(cell.agrees)), "token": names[0],
                    "top": ", ".join(f"{name!r} {chance:.2f}" for name, (_, chance) in zip(names, cell.top, strict=True)),
                }
            )  # fmt: skip
        interval = mean_intervals(np.stack([cell.value for cell in read]), prompts.clusters)
        numbers = {"value": "estimate", "value_low": "low", "value_high": "high"}
        counts = ("n", "n_clusters", "effective_clusters")
        frame = pd.DataFrame(rows).assign(
            **{name: interval[key] for name, key in numbers.items()}, **{name: interval[name] for name in counts}
        )
        return frame.astype(dict.fromkeys(("layer", "head", "neuron", "position"), "Int64"))

    def _with_used(self, frame: pd.DataFrame, model: Model, data: Contrast) -> pd.DataFrame:
        patched = self._patching.run(model, data).frame.set_index(["site", "at"])
        here = patched.reindex(pd.MultiIndex.from_frame(frame[["site", "at"]]))
        columns = {"used": "effect", "used_low": "effect_low", "used_high": "effect_high"}
        columns |= {f"used_{name}": name for name in ("p", "q", "p_max")}
        return frame.assign(**{name: here[key].to_numpy() for name, key in columns.items()})

    def _arguments(self, foil: Tensor | None) -> dict[str, Any]:
        read = "logprob" if foil is None else "logit_diff"
        settings = {"metric": read, "kind": self.kind, "sites": plain(self.sites), "at": plain(self.at)}
        return settings | ({"share": self.share, "steps": self.steps} if self.kind == "tuned" else {})


def _judged(
    unembed: Unembedding,
    lens: Translators,
    values: Mapping[Site, Tensor],
    sites: Sequence[Site],
    last: Site,
    prompts: PromptSet,
) -> list[dict[str, Any]]:
    """Return how near a tuned lens and the logit lens come to the output on prompts that it was not fitted on."""
    real = prompts.padded(prompts.tokens.shape[1], "right").mask.to(values[last].device)
    row, column = real.nonzero(as_tuple=True)
    by_token = torch.zeros(len(sites), 2, len(row))
    for part in in_chunks(len(row)):
        here = row[part], column[part]
        output = Output(unembed, values[last][here])  # once for all sites
        for number, site in enumerate(sites):
            stream = values[site][here]
            by_token[number, :, part] = output.divergence(stream).cpu()
            if site in lens.maps:
                by_token[number, 1, part] = output.divergence(lens(site, stream)).cpu()
    sums = torch.zeros(len(sites), 2, len(prompts), dtype=torch.double).index_add_(2, row.cpu(), by_token.double())
    rows = []
    for site, (logit, tuned) in zip(sites, (sums / real.sum(1).cpu()).numpy(), strict=True):
        gap = mean_interval(tuned - logit, prompts.clusters)
        rows.append(
            {"site": str(site), "logit_lens": float(logit.mean()), "tuned_lens": float(tuned.mean())}
            | {"low": gap.low, "high": gap.high, "penalty": lens.penalties.get(site, float("inf"))}
        )
    return rows


def _output(
    unembed: Unembedding, last: Tensor, prompts: PromptSet, answer: Tensor | None, foil: Tensor | None
) -> tuple[np.ndarray, Tensor]:
    """Return what the model says of the answer at the read position, and its likeliest token there."""
    wide = prompts.padded(prompts.tokens.shape[1], "right")
    logprobs = unembed(last[torch.arange(len(last)), wide.read_columns]).log_softmax(-1).cpu()
    likeliest = logprobs.argmax(-1, keepdim=True)
    return log_odds(logprobs, likeliest if answer is None else answer, foil).double().numpy(), likeliest


def _with_readable(
    frame: pd.DataFrame, read: dict[str, list[Read]], outputs: dict[str, np.ndarray], clusters: tuple[str, ...]
) -> pd.DataFrame:
    """Return the table with the difference between the sides, as a share of that of the outputs."""
    clean, corrupt = (np.stack([cell.value for cell in read[name]]) for name in ("clean", "corrupt"))
    share = ratio_intervals(clean - corrupt, outputs["clean"] - outputs["corrupt"], clusters)
    names = {"readable": "estimate", "readable_low": "low", "readable_high": "high"}
    tests = p_values(clean - corrupt, (clean, corrupt), clusters)
    return frame.assign(**{name: share[key] for name, key in names.items()}, **tests)


def _with_clusters(data: Contrast | PromptSet) -> PromptSet:
    """Return prompts with their clusters; both sides of pairs, each pair a cluster where none are declared."""
    if isinstance(data, PromptSet):
        return data
    pool = data.pooled
    names = data.clean.clusters or tuple(map(str, range(len(data))))
    return PromptSet(tokens=pool.tokens, mask=pool.mask, side=pool.side, clusters=(*names, *names))


lens = function(
    Lensing, data="prompts", about="Prompts, or pairs, whose two sides say what is readable and what is used."
)
