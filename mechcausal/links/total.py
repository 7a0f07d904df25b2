"""The total effect, and whether networks that have learned nothing have one as large.

All weights are redrawn in place, each tensor with the mean and the spread it had, and both sides of the pairs are run.
`results/redraws.py` has the scales and the bound.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.data.forced import forced
from mechcausal.data.prompts import PromptSet
from mechcausal.links.bench import ESTIMATE, Bench
from mechcausal.links.verdict import INCONCLUSIVE, Verdict
from mechcausal.models import bridge
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import forward
from mechcausal.models.redrawn import redrawing
from mechcausal.models.rows import of_prompts
from mechcausal.results.intervals import mean_interval
from mechcausal.results.redraws import Scale, TotalEffect, compared, scales

MOST_PAIRS = 128
"""How many pairs every redrawn network is run on."""


class Total(TotalEffect):
    """The total effect, and whether it allows candidates to be judged."""

    @property
    def blocked(self) -> Verdict | None:
        """Why no candidate can be judged, where that is so."""
        return Verdict(INCONCLUSIVE, self.reason) if self.reason else None


def total_effect(bench: Bench, count: int) -> Total:
    """Measure the total effect, and compare it with at most `count` redrawn networks.

    After 8 and 16 networks the comparison ends where the model lies beyond the bound, or below the root mean square
    of the redrawn networks on both scales.
    """
    rows = bench.split[ESTIMATE]
    effect = mean_interval(bench.total[rows], tuple(np.asarray(bench.clusters)[rows]))
    some = rows[np.random.default_rng([bench.seed, 6]).permutation(len(rows))[:MOST_PAIRS]]
    scales_of_model = scales(*(values[some] for values in bench.unedited))
    if not count:
        return Total(effect, *(Scale(value) for value in scales_of_model))
    runs = _Runs(bench, some)
    bar = tqdm(total=count, desc="link: redrawn networks", unit="network", disable=None, leave=False)
    with redrawing(bench.model) as draw:

        def network(number: int) -> tuple[float, float]:
            draw(bench.seed * 1000 + number)
            bar.update(1)
            return scales(*runs.values())

        raw, relative = compared(scales_of_model, network, count)
    bar.close()
    bench.stages["redrawn networks"] = len(raw.redrawn) * len(runs.distinct)
    bench.forwards += runs.forwards
    return Total(effect, raw, relative)


class _Runs:
    """Both sides of some pairs as they are, each different prompt run once."""

    def __init__(self, bench: Bench, rows: np.ndarray) -> None:
        self.bench, self.forwards, self.count = bench, 0, len(rows)
        index = torch.as_tensor(rows)
        self.sides = [side.take(index) for side in (bench.base, bench.source)]
        self.clean = bench.pairs.clean.take(index).padded(bench.base.tokens.shape[1], bench.base.side)
        keys = [_content(side, row) for side in self.sides for row in range(len(rows))]
        places = {key: place for place, key in reversed(list(enumerate(keys)))}
        self.distinct = sorted(places.values())
        number = {place: i for i, place in enumerate(self.distinct)}
        self.number = np.array([number[places[key]] for key in keys])

    @torch.no_grad()
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the metric of the base and of the source prompts."""
        bench, model = self.bench, self.bench.model
        place = np.asarray(self.distinct)

        def one_batch(index: Tensor) -> np.ndarray:
            out = np.empty(len(index))
            chosen = place[index.numpy()]
            for number, side in enumerate(self.sides):
                mine = np.flatnonzero(chosen // self.count == number)
                if len(mine) == 0:
                    continue
                rows = torch.as_tensor(chosen[mine] % self.count)
                batch = side.take(rows).to(bridge.device_of(model))
                compared = None
                if bench.metric.compares:
                    compared = forward(model, self.clean.take(rows).to(bridge.device_of(model))).logits
                answers = forced(batch) if bench.metric.forces(batch) else None
                prompts, metric = (batch, bench.metric) if answers is None else (answers.prompts, bench.metric.piece)
                numbers = forward(model, prompts).score(metric, prompts, compared).float().cpu().numpy()
                out[mine] = of_prompts(bench.metric, numbers, answers)
                self.forwards += 1
            return out[None]

        values = in_batches(len(place), bench.batch_size, one_batch)[0][0][self.number]
        return values[: self.count], values[self.count :]


def _content(side: PromptSet, row: int) -> tuple[object, ...]:
    """Return all of a prompt that a metric can depend on."""
    asked = side.answer, side.foil, side.answers, side.foils, side.read_at
    columns = [value for value in (*asked, *side.variables.values()) if value is not None]
    values = [value[row].tolist() for value in (*columns, *side.positions.values())]
    marked = [names[row] for names in (side.labels, side.groups, side.environments) if names]
    return tuple(side.real_tokens_of(row)), repr(values), repr(marked)
