"""A card for one feature: where it is active, in which groups, what it writes, what is near it, what it does.

Where it is active says what the feature may stand for; only the effects say what the model does with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.arguments import Count, CountOrZero, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.cards.reading import PROMPTS, Reading, token_text
from mechcausal.interventions.specs import Edit, Patch, Zero
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import Bound, resolved
from mechcausal.models.engine import Exact, Plan, evaluate
from mechcausal.patching.sweep import MetricSpec
from mechcausal.results.intervals import mean_interval
from mechcausal.results.storage import write_text

EVERYONE = "all"
_WINDOW = 14  # tokens shown on either side of the peak


@dataclass(frozen=True)
class Context:
    """A stretch of a prompt in which the feature is active.

    Attributes:
        tokens: The tokens, as text.
        values: The activation at each.
        group: The group of the prompt; empty where there are none.
        cut: Whether the prompt goes on before and after.
    """

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    group: str
    cut: tuple[bool, bool]


@dataclass(frozen=True)
class Spread:
    """How the activations of one group are spread.

    Attributes:
        group: The group.
        active: The share of its tokens on which the feature is active.
        mean: The mean activation where it is.
        counts: How many of its tokens fall into each bin.
        n: How many tokens it has.
    """

    group: str
    active: float
    mean: float
    counts: tuple[int, ...]
    n: int


@dataclass(frozen=True)
class Card:
    """What is known of one feature.

    Attributes:
        site: The feature.
        facts: Names and digests of model, dictionary and prompts.
        tokens: How many tokens were looked at.
        active: The share of tokens on which it is active.
        largest: The largest activation.
        contexts: Where it is most active, one stretch for each text.
        edges: The edges of the bins.
        spreads: How its activations are spread, in each group.
        logits: What the feature adds to the logits at tokens where it is active: `token`, `direct` (along the direct
            path through the last norm), and `exact` where asked for. The mean over the vocabulary is taken out.
        neighbors: The features whose decoder directions are nearest: `feature`, `cosine`, `active`.
        effects: What happens to each metric without the feature, or with it as in the other prompt of the pair, over
            all and in each group: `metric group base change low high n`.
        do: What is done for the effects: `zero` or `patch`.
    """

    site: Site
    facts: dict[str, str]
    tokens: int
    active: float
    largest: float
    contexts: tuple[Context, ...]
    edges: tuple[float, ...]
    spreads: tuple[Spread, ...]
    logits: pd.DataFrame
    neighbors: pd.DataFrame
    effects: pd.DataFrame
    do: str

    def summary(self) -> str:
        """Say in a few lines what the feature is."""
        lines = [f"{self.site}: active on {self.active:.2%} of {self.tokens:,} tokens, at most {self.largest:.3f}"]
        for context in self.contexts[:3]:
            lines.append("  " + " ".join(token.strip() for token in context.tokens))
        column = "direct" if "direct" in self.logits else "exact"
        if len(self.logits):
            ranked = self.logits.sort_values(column, ascending=False, kind="stable")
            lines.append(
                f"  promotes {', '.join(ranked['token'].head(4))}; suppresses {', '.join(ranked['token'][:-5:-1])}"
            )
        for _, row in self.effects[self.effects["group"] == EVERYONE].iterrows():
            lines.append(
                f"  {self.do} changes {row['metric']} by {row['change']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def html(self) -> str:
        """Return the card as a piece of HTML: no script, no request, all text escaped."""
        from mechcausal.dictionaries.cards.page import fragment

        return fragment(self)

    def _repr_html_(self) -> str:
        return self.html()

    def save(self, path: str | Path) -> Path:
        """Write the card as a page of its own."""
        from mechcausal.dictionaries.cards.page import page

        return write_text(path, page(self))


@dataclass(frozen=True, kw_only=True)
class Carding(Method[PromptSet | Contrast, Card]):
    """Make the card of a feature: where it is active, what it adds to the logits, what happens without it.

    Estimand of `effects`: the mean change of a metric where the feature is set to zero, or to its value in the other
    prompt of the pair.

    Attributes:
        dictionary: The dictionary, or its name.
        feature: The number of the feature.
        metrics: Whose change is measured; by default the log-odds and the KL divergence, or loss and KL divergence where
            prompts have no answer.
        at: At which positions it is looked for and changed.
        contexts: How many stretches of text are shown.
        tokens: How many of the most promoted and of the most suppressed tokens.
        neighbors: How many of the nearest features.
        bins: How many bins the histogram has.
        exact_logits: Whether the logit effects along all paths are measured too, beside those along the direct path.
        batch_size: How many prompts at a time.
        exact: The engine of the effects; see `patch`.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> sae = mc.features.load(model, "organism:hiring")
        >>> card(model, mc.contrast("hiring/gender", model, n=8), sae, 199).neighbors.shape
        (6, 3)
    """

    word: ClassVar[str] = "card"
    dictionary: Bound | str = field(kw_only=False)
    feature: CountOrZero = field(kw_only=False)
    metrics: Sequence[MetricSpec] | None = None
    at: str | int | slice | Selection | None = "all"
    contexts: Count = 8
    tokens: Count = 8
    neighbors: Count = 6
    bins: Count = 16
    exact_logits: bool = False
    batch_size: Count = 64
    exact: Exact = "replay"

    def run(self, model: Model, data: PromptSet | Contrast) -> Card:
        """Read the feature off the model and measure what it does."""
        dictionary, site, at = self._asked(model)
        clean = data.clean if isinstance(data, Contrast) else data
        reading = Reading(model, dictionary, site, at, self.batch_size)
        activations, fired = reading.activations(clean)
        chosen = clean.select(at).cpu() & clean.mask.cpu()
        values = activations[chosen].numpy()
        edges = np.linspace(0.0, max(float(values.max(initial=0.0)), 1e-6), self.bins + 1)
        edges[0] = min(0.0, float(values.min(initial=0.0)))
        effects, do = _effects(model, site, at, data, self.metrics, self.batch_size, self.exact)
        return Card(
            site=site,
            facts={
                "model": str(model.cfg.model_name), "dictionary": dictionary.name, "digest": dictionary.digest,
                "prompts": f"{getattr(data, 'name', 'own')}, {len(data)} of them ({data.hash})",
            },
            tokens=len(values),
            active=float((values != 0).mean()) if len(values) else 0.0,
            largest=float(values.max(initial=0.0)),
            contexts=_contexts(model, clean, activations * chosen, self.contexts),
            edges=tuple(edges.tolist()),
            spreads=_spreads(clean, activations, chosen, edges),
            logits=reading.logits(clean, activations * chosen, self.tokens, self.exact_logits),
            neighbors=_neighbors(dictionary, self.feature, fired / max(1, len(values)), self.neighbors),
            effects=effects,
            do=do,
        )  # fmt: skip

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take, at most; nothing is run."""
        self._asked(model)
        metrics = len(self.metrics) if self.metrics is not None else 2
        reads = len(data) + (2 + self.exact_logits) * min(PROMPTS, len(data))
        forwards = reads + metrics * (2 + isinstance(data, Contrast)) * len(data)
        return Cost(1, len(data), forwards, forwards)

    def _asked(self, model: Model) -> tuple[Bound, Site, Selection]:
        dictionary = resolved(model, self.dictionary)
        site = dictionary.feature(self.feature)
        abilities(model).require([site])
        return dictionary, site, Selection.parse(self.at)


card = function(
    Carding,
    data="prompts",
    about="Prompts, in which the feature is set to zero; or pairs, which set it to its value in the other prompt.",
)


def _contexts(model: Any, prompts: PromptSet, activations: Tensor, k: int) -> tuple[Context, ...]:  # noqa: ANN401
    """Return the stretches around the largest activations, each text once."""
    contexts: list[Context] = []
    seen: set[tuple[int, ...]] = set()
    for row in activations.amax(1).argsort(descending=True, stable=True).tolist():
        ids = prompts.real_tokens_of(row)
        values = activations[row][prompts.mask[row].cpu()]
        if len(contexts) == k or float(values.max()) <= 0:
            break
        if tuple(ids) in seen:
            continue
        seen.add(tuple(ids))
        peak = int(values.argmax())
        some = slice(max(0, peak - _WINDOW), peak + _WINDOW + 1)
        contexts.append(
            Context(
                tuple(token_text(model, number) for number in ids[some]),
                tuple(values[some].tolist()),
                prompts.groups[row] if prompts.groups else "",
                (some.start > 0, some.stop < len(ids)),
            )
        )
    return tuple(contexts)


def _spreads(prompts: PromptSet, activations: Tensor, chosen: Tensor, edges: np.ndarray) -> tuple[Spread, ...]:
    names = np.asarray(prompts.groups or [EVERYONE] * len(prompts))
    out = []
    for group in (EVERYONE, *sorted(set(prompts.groups))):
        rows = torch.as_tensor((names == group) | (group == EVERYONE))
        values = activations[rows][chosen[rows]].numpy()
        live = values[values != 0]
        binned = np.histogram(live, bins=edges)[0]
        share = len(live) / max(1, len(values))
        out.append(Spread(group, share, float(live.mean()) if len(live) else 0.0, tuple(binned.tolist()), len(values)))
    return tuple(out)


def _neighbors(dictionary: Bound, feature: int, active: np.ndarray, k: int) -> pd.DataFrame:
    weight = dictionary.W_dec
    cosine = (weight @ weight[feature]) / (weight.norm(dim=1) * weight[feature].norm()).clamp(min=1e-12)
    cosine[feature] = -torch.inf
    nearest = cosine.argsort(descending=True, stable=True)[: min(k, len(weight) - 1)].cpu().numpy()
    return pd.DataFrame({"feature": nearest, "cosine": cosine.cpu().numpy()[nearest], "active": active[nearest]})


def _effects(
    model: Any,  # noqa: ANN401
    site: Site,
    at: Selection,
    prompts: PromptSet | Contrast,
    metrics: Sequence[MetricSpec] | None,
    batch_size: int,
    exact: Exact,
) -> tuple[pd.DataFrame, str]:
    """Return the exact change of every metric, over all prompts and in every group."""
    paired = isinstance(prompts, Contrast)
    base, source = (prompts.clean, prompts.corrupt) if isinstance(prompts, Contrast) else (prompts, None)
    has_answers = base.answer is not None and base.foil is not None
    asked = metrics if metrics is not None else ("logit_diff", "kl") if has_answers else ("loss", "kl")
    cells = [(Edit(site, Patch() if paired else Zero(), at),)]
    names = np.asarray(base.groups or [EVERYONE] * len(base))
    rows = []
    for metric in map(metric_of, asked):
        metric.check(base)
        plan = Plan(base, cells, metric, rows=source, reference=base)
        values = evaluate(model, plan, batch_size=batch_size, progress=metric.name, exact=exact, unedited=True)
        before, after = values.unedited["base"], values.values[0]
        for group in (EVERYONE, *sorted(set(base.groups))):
            inside = (names == group) | (group == EVERYONE)
            clusters = tuple(np.asarray(base.clusters)[inside]) if base.clusters else ()
            change = mean_interval((after - before)[inside], clusters)
            rows.append(
                {"metric": metric.name, "group": group, "base": float(np.nanmean(before[inside]))}
                | {"change": change.estimate, "low": change.low, "high": change.high, "n": change.n}
            )
    return pd.DataFrame(rows), "patch" if paired else "zero"
