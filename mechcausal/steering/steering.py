"""Steering: the vector is estimated on one half of the clusters, its doses are measured on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Selection, Site, vector
from mechcausal.arguments import Count, CountOrZero, Kind, Model, OpenShare, Seed, Text, fits
from mechcausal.arguments import Number as Finite
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import At, as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import split, units
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Add, Edit
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import metric as metric_of
from mechcausal.models.engine import Plan, evaluate
from mechcausal.patching.sweep import MetricSpec, Recorder
from mechcausal.results.intervals import mean_intervals
from mechcausal.results.table import tabulate
from mechcausal.steering.neutral import cost_of, cost_of_asking, neutral_prompts
from mechcausal.steering.steered import Steered
from mechcausal.steering.vectors import Direction, VectorSpec, as_vector, direction_of, random_vectors, steered_site

_COSTED = 4  # random directions whose cost is measured


def _are_doses(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, tuple) and bool(value) and all(fits(dose, Finite) for dose in value)


Doses = Annotated[Sequence[float], Kind("a list of finite numbers", _are_doses)]


@dataclass(frozen=True, kw_only=True)
class Steering(Method[Contrast, Steered]):
    """Add a vector to an activation and measure what each dose does, and what it costs.

    Estimand: the mean over pairs of `metric(corrupt run with dose x vector added at this site)`. `effect` is 0 where
    the run behaves as corrupt and 1 where it behaves as clean; more is overshooting. The vector is estimated on some
    clusters of the pairs and measured on the others. Beside it stand random directions of the same length, the
    cost on neutral text, and a prompt that simply asks (Turner et al. 2023; Rimsky et al. 2024; Wu et al. 2025).

    Attributes:
        site: Where the vector is added: a stream such as `"L15.resid_post"`, or a head.
        vector: `"mean"` (the mean difference of the sides), `"probe"` (the direction of a logistic probe), a feature such as
            `"L2.resid_post.sae:NAME.F17"` (its decoder row), or numbers of your own. The first three are as long as the
            mean difference at dose 1; your own is taken as it is.
        at: At which positions it is added.
        read_at: The position at which the two sides are compared, to estimate it.
        doses: How many times it is added.
        metric: A metric's name, or a function of (logits, batch).
        n_random: How many random directions.
        neutral: Neutral prompts; sentences that come with the package where None and the tokenizer knows them.
        ask: A text that asks for the behavior and is put before each prompt.
        share: The share of the clusters on which the vector is estimated.
        batch_size: How many prompts at a time.
        seed: The seed of the split and of the random directions.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=40)
        >>> steered = mc.steer(model, pairs, "L2.resid_post", at="@decision", read_at="@decision", doses=[1])
        >>> bool(steered.frame["effect"].iloc[0] > 0.5), bool(steered.frame["p_random"].iloc[0] < 0.1)
        (True, True)
    """

    word: ClassVar[str] = "steer"
    site: str | Site = field(kw_only=False, metadata={"read": as_text})
    vector: VectorSpec = field(default="mean", metadata={"read": as_vector})
    at: At = field(default=None, metadata={"read": as_text})
    read_at: At = field(default="@-1", metadata={"read": as_text})
    doses: Doses = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)
    metric: MetricSpec = "logit_diff"
    n_random: CountOrZero = 20
    neutral: PromptSet | None = field(default=None, repr=False)
    ask: Text | None = None
    share: OpenShare = 0.5
    batch_size: Count = 32
    seed: Seed = 0

    def run(self, model: Model, data: Contrast) -> Steered:
        """Estimate the vector, and measure its doses."""
        site, train, test = self._asked(model, data)
        recorder = Recorder(
            model, test, metric_of(self.metric), self.word,
            {
                "site": str(site), "vector": self.vector if isinstance(self.vector, str) else "given",
                "at": str(Selection.parse(self.at)), "read_at": str(Selection.parse(self.read_at)),
                "doses": list(self.doses), "n_random": self.n_random, "ask": self.ask, "share": self.share,
            },
            seed=self.seed,
        )  # fmt: skip
        direction = direction_of(
            model, train, site, self.vector, Selection.parse(self.read_at), self.batch_size, self.seed
        )
        drawn = random_vectors(direction, self.n_random, self.seed)
        cells = [self._cell(site, each, dose) for each in (direction.vector, *drawn) for dose in self.doses]
        plan = Plan(test.corrupt, cells, recorder.metric, reference=test.clean)
        values = evaluate(model, plan, batch_size=self.batch_size, progress="steering")
        baselines = recorder.baselines("corrupt", self.batch_size)
        k = len(self.doses)
        examples, random = values.values[:k], values.values[k:].reshape(self.n_random, k, len(test))
        place = Place(site, Selection.parse(self.at)).row()
        length = float(direction.vector.norm())
        rows = [place | {"vector": direction.origin, "dose": dose, "length": abs(dose) * length} for dose in self.doses]
        if self.ask is not None:
            examples = np.concatenate([examples, self._asking(model, test.corrupt, recorder)])
            label = {"site": "prompt", "component": "prompt", "at": "@all", "label": self.ask}
            rows.append(dict.fromkeys(place) | label | {"vector": "asked"})
        frame = tabulate(rows, examples, baselines, test.clean.clusters)
        frame = frame.assign(**_null(random, baselines["base"], frame["change"].to_numpy(float)))
        costs, reason = self._costs(model, site, direction, drawn, len(frame))
        result = recorder.result(
            rows, examples, baselines, forwards=values.forwards, batch_size=values.batch_size, **values.compute
        )
        tables = {
            "direction": direction.vector.tolist(), "site": str(site), "at": str(Selection.parse(self.at)),
            "unit": length, "difference": direction.unit, "n_random": self.n_random, "n_estimated_on": len(train),
            **({"no_cost_because": reason} if reason else {}),
        }  # fmt: skip
        return Steered(
            frame.assign(**costs),
            result.provenance,
            examples,
            baselines,
            test.clean.groups,
            test.clean.clusters,
            tables,
        )

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Return what it would take, with every run counted in full."""
        _, train, test = self._asked(model, data)
        neutral, _ = neutral_prompts(model, self.neutral)
        doses, n_neutral = len(self.doses), 0 if neutral is None else len(neutral)
        costed = 2 * doses * (1 + min(_COSTED, self.n_random)) * n_neutral
        runs = doses * (1 + self.n_random) * len(test) + costed + 2 * len(train)
        return Cost(cells=doses, examples=len(test), forwards=runs, naive_forwards=runs)

    def _asked(self, model: Model, data: Contrast) -> tuple[Site, Contrast, Contrast]:
        """Return the site, and the pairs on which the vector is estimated and measured."""
        site = steered_site(model, self.site)
        first, second = split(
            units(data), self.share, [self.seed, 23], what="pairs to estimate a vector on and to measure it on",
        )  # fmt: skip
        if self.ask is not None and not data.corrupt.texts:
            raise DataError(
                "these prompts are given as tokens, so no request can be put before them", fix="leave out ask="
            )
        if self.ask is not None and metric_of(self.metric).compares:
            raise DataError(
                "a prompt with a request has other positions than one without, so this metric cannot compare them",
                got=metric_of(self.metric).name, fix="choose 'logit_diff' or 'logprob', or leave out ask=",
            )  # fmt: skip
        return site, data.take(torch.as_tensor(first)), data.take(torch.as_tensor(second))

    def _cell(self, site: Site, each: Tensor, dose: float) -> tuple[Edit, ...]:
        return (Edit(site, Add(vector(each), float(dose)), Selection.parse(self.at)),)

    def _asking(self, model: Model, prompts: PromptSet, recorder: Recorder) -> np.ndarray:
        """Return the metric of prompts before which a request stands, [1 prompt]."""
        asked = PromptSet.from_text(model, [f"{self.ask}{text}" for text in prompts.texts])
        asked = replace(asked, answer=prompts.answer, foil=prompts.foil, clusters=prompts.clusters)
        return evaluate(model, Plan(asked, [()], recorder.metric), batch_size=self.batch_size).values

    def _costs(
        self, model: Model, site: Site, direction: Direction, drawn: Sequence[Tensor], n_rows: int
    ) -> tuple[dict[str, np.ndarray], str]:
        """Return what each row costs on neutral text, and why that was not measured."""
        names = ("kl", "kl_low", "kl_high", "loss", "loss_low", "loss_high", "kl_random")
        columns = {name: np.full(n_rows, np.nan) for name in names}
        neutral, reason = neutral_prompts(model, self.neutral)
        if neutral is None:
            return columns, reason
        k = len(self.doses)
        # A selection such as @decision is of the prompts; neutral text is steered everywhere.
        vectors = [direction.vector, *drawn[:_COSTED]]
        cells = [(Edit(site, Add(vector(each), float(dose))),) for each in vectors for dose in self.doses]
        divergence, rise = cost_of(model, neutral, cells, self.batch_size)
        parts = {"kl": divergence[:k], "loss": rise[:k]}
        if self.ask is not None:
            asking = cost_of_asking(model, neutral, self.ask)
            parts = {
                name: np.concatenate([part, more[None]])
                for (name, part), more in zip(parts.items(), asking, strict=True)
            }
        for name, part in parts.items():
            interval = mean_intervals(part, neutral.clusters)
            columns |= {name: interval["estimate"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
        if len(vectors) > 1:
            columns["kl_random"][:k] = divergence[k:].reshape(len(vectors) - 1, k, -1).mean((0, 2))
        return columns, ""


def _null(random: np.ndarray, base: np.ndarray, change: np.ndarray) -> dict[str, np.ndarray]:
    """Return the band of random directions and the share of them that change as much; NaN for what is no dose."""
    columns = {name: np.full(len(change), np.nan) for name in ("random_low", "random_high", "p_random")}
    if not len(random):
        return columns
    moved = (random - base).mean(-1)  # [direction dose]
    k = moved.shape[1]
    columns["random_low"][:k], columns["random_high"][:k] = np.quantile(moved, [0.025, 0.975], axis=0)
    columns["p_random"][:k] = (1 + (np.abs(moved) >= np.abs(change[:k])).sum(0)) / (1 + len(moved))
    return columns


steer = function(Steering, about="Clean and corrupt prompts: the vector leads from the corrupt side to the clean one.")
