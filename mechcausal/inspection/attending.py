"""Attention: the patterns of heads over tokens, and the standard head scores against shuffled text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Place, Site, expand
from mechcausal.arguments import Count, Model, Seed
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import SiteSpec, as_text, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError, SiteError
from mechcausal.inspection.attention_result import Attention
from mechcausal.inspection.head_scores import SCORES, copying_scores, keys_of, pattern_scores, uniform_scores
from mechcausal.inspection.repeats import shuffled
from mechcausal.inspection.streams import position_labels, token_texts
from mechcausal.inspection.unembedding import Unembedding
from mechcausal.method import Cost, Method, function
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.engine import check_prompts
from mechcausal.models.facts import facts
from mechcausal.models.hooked import readings
from mechcausal.results.intervals import mean_intervals
from mechcausal.results.provenance import Provenance
from mechcausal.results.table import tabulate

_MOST_PATTERNS = 16


@dataclass(frozen=True, kw_only=True)
class Attending(Method[PromptSet | Contrast, Attention]):
    """Read where heads attend, and score them: previous token, first token, duplicate token, induction, copying.

    Each score is the mean over prompts of the attention that falls where this kind of head puts it (`head_scores` has the
    definitions; Elhage et al. 2021, Olsson et al. 2022, Wang et al. 2022), from 0 to 1. It stands against even attention,
    and against the same places in shuffled text: a head that looks one token back keeps its score there, and a head that
    looks for a token loses it. Prompts in which tokens come twice are needed for `duplicate` and `induction`;
    `mc.inspection.repeated(model)` makes them.

    Attributes:
        heads: Which heads: `"z"` (all), a pattern such as `"L1.z.H*"`, or a list. The patterns of up to 16 heads are
            kept: their mean if all prompts have the same length, else that of the first prompt.
        shuffles: How often each prompt is shuffled.
        batch_size: How many prompts at a time.
        seed: The seed of the shuffles.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:induction")
        >>> seen = mc.attention(model, mc.task("induction").prompts(model, 16))
        >>> seen.score("previous")["site"].iloc[0], seen.score("induction")["site"].iloc[0]
        ('L0.pattern.H0', 'L1.pattern.H1')
    """

    word: ClassVar[str] = "attention"
    heads: SiteSpec = field(default="z", metadata={"read": as_text})
    shuffles: Count = 1
    batch_size: Count = 16
    seed: Seed = 0

    def run(self, model: Model, data: PromptSet | Contrast) -> Attention:
        """Read and score the heads."""
        started = time.perf_counter()
        able, prompts, heads = self._asked(model, data)
        scorer = _Scorer(model, able, heads, self.batch_size)
        here = scorer.scores(prompts, prompts)
        drawn = [scorer.scores(shuffled(prompts, self.seed + number), prompts) for number in range(self.shuffles)]
        with np.errstate(invalid="ignore"):
            there = np.mean(drawn, axis=0)
        where = [place.row() | {"score": score} for place in map(Place, heads) for score in SCORES]
        even = pd.DataFrame([uniform_scores(row) for row in prompts.real_tokens])[list(SCORES)].mean()
        frame = tabulate(where, here, {"base": there}, prompts.clusters)
        interval = mean_intervals(here, prompts.clusters)
        with np.errstate(invalid="ignore"):
            frame = frame.drop(columns=["effect", "effect_low", "effect_high"]).assign(
                value_low=interval["low"], value_high=interval["high"], shuffled=frame["value"] - frame["change"],
                uniform=[float(even[score]) for score in frame["score"]],
            )  # fmt: skip
        provenance = Provenance(
            method=self.word,
            arguments={
                "metric": "attention",
                "heads": plain(self.heads),
                "shuffles": self.shuffles,
                **scorer.arguments,
            },
            seed=self.seed,
            **facts(
                model, prompts, started=started, forwards=len(prompts) * (1 + self.shuffles), batch_size=self.batch_size
            ),
        )
        tables = self._patterns(model, prompts, heads, scorer)
        return Attention(frame, provenance, here, {"base": there}, prompts.groups, prompts.clusters, tables)

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take: one forward for each prompt, and one for each of its shuffles."""
        _, prompts, heads = self._asked(model, data)
        runs = len(prompts) * (1 + self.shuffles)
        return Cost(cells=len(heads), examples=len(prompts), forwards=runs, naive_forwards=runs)

    def _asked(self, model: Model, data: PromptSet | Contrast) -> tuple[Abilities, PromptSet, list[Site]]:
        prompts = data.clean if isinstance(data, Contrast) else data
        check_prompts(model, prompts)
        able = abilities(model)
        heads = []
        for site in expand(self.heads, able.shape):
            if site.component not in ("z", "pattern", "result") or site.dictionary is not None:
                raise SiteError(f"{site} is not a head", expected="a form like z, L1.z.H2 or L*.pattern.H*")
            numbers = range(able.shape.n_heads) if site.head is None else [site.head]
            heads += [Site("pattern", site.layer, head=head) for head in numbers]
        heads = list(dict.fromkeys(heads))
        able.require(heads, writes=False)
        return able, prompts, heads

    def _patterns(self, model: Model, prompts: PromptSet, heads: Sequence[Site], scorer: _Scorer) -> dict[str, Any]:
        """Return the patterns of few heads, and what their positions are called."""
        if len(heads) > _MOST_PATTERNS:
            return {}
        same = bool((prompts.lengths == prompts.lengths[0]).all())
        some = prompts if same else prompts.take([0])
        total: dict[Site, Tensor] = {}
        for batch, read in scorer.read(some):
            for site in heads:
                total[site] = total.get(site, torch.tensor(0.0)) + read[site.whole][:, site.head].double().sum(0).cpu()
            del batch
        if same and len(some) > 1:
            labels = position_labels(model, some)
        else:
            tokens = some.real_tokens_of(0)
            labels = [f"{n} {text.strip() or repr(text)}" for n, text in enumerate(token_texts(model, tokens))]
        patterns = {str(site): (value / len(some)).tolist() for site, value in total.items()}
        return {"patterns": patterns, "labels": labels, "pattern_of": "mean" if same else "prompt 0"}


class _Scorer:
    """The scores of heads on prompts.

    Args:
        model: The bridge.
        able: What it can do.
        heads: The heads.
        batch_size: How many prompts at a time.
    """

    def __init__(self, model: Model, able: Abilities, heads: Sequence[Site], batch_size: int) -> None:
        self.model, self.heads, self.batch_size = model, heads, batch_size
        self.layers = sorted({site.layer for site in heads if site.layer is not None})
        self.arguments: dict[str, Any] = {}
        self.unembed: Unembedding | None = None
        try:
            able.require([Site("result", layer) for layer in self.layers], writes=False)
            self.unembed = Unembedding(model)
        except MechcausalError as error:
            self.arguments = {"no_copying_because": str(error)[:200]}

    def read(self, prompts: PromptSet) -> Any:  # noqa: ANN401 - pairs of a batch and its activations
        """Yield batches, real tokens from the left on, with the patterns and what heads write."""
        names = ("pattern",) if self.unembed is None else ("pattern", "result")
        sites = [Site(name, layer) for layer in self.layers for name in names]
        wide = prompts.padded(int(prompts.lengths.max()), "right")
        for rows in torch.arange(len(wide)).split(self.batch_size):
            batch = wide.take(rows)
            yield batch, readings(self.model, batch.to(bridge.device_of(self.model)), sites)

    def scores(self, prompts: PromptSet, original: PromptSet) -> np.ndarray:
        """Return the scores, [head x score, prompt], at the places where the original has its tokens."""
        columns = []
        for batch, read in self.read(prompts):
            for row in range(len(batch)):
                columns.append(self._one(read, row, batch.real_tokens_of(row), original.real_tokens_of(len(columns))))
        return torch.stack(columns, dim=1).double().numpy()

    def _one(self, read: dict[Site, Tensor], row: int, tokens: list[int], original: list[int]) -> Tensor:
        """Return the scores of one prompt, [head x score]."""
        n, at = len(tokens), keys_of(original)
        distinct = list(dict.fromkeys(tokens))
        index = [distinct.index(token) for token in tokens]
        device = bridge.device_of(self.model)
        directions = (
            None
            if self.unembed is None
            else self.unembed.directions(torch.tensor(distinct, device=device)).float().cpu()
        )
        scores: dict[Site, Tensor] = {}
        for layer in self.layers:
            pattern = read[Site("pattern", layer)][row, :, :n, :n].float().cpu()
            kinds = list(pattern_scores(pattern, at).values())
            copying = torch.full((len(pattern),), torch.nan)
            if directions is not None:
                written = read[Site("result", layer)][row, :n].float().cpu()
                copying = copying_scores(pattern, written, directions, index)
            table = torch.stack([*kinds, copying], dim=1)  # [head score]
            scores |= {Site("pattern", layer, head=head): table[head] for head in range(len(table))}
        return torch.cat([scores[site] for site in self.heads])


attention = function(Attending, data="prompts", about="Prompts; of pairs the clean side.")
