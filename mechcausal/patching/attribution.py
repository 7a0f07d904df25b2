"""Attribution patching: the first-order estimate of every patch from one forward and one forward-backward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.arguments import Count, CountOrZero, Model
from mechcausal.data.contrast import Contrast
from mechcausal.errors import SiteError
from mechcausal.method import Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import Exact, in_batches
from mechcausal.models.rows import uneven, why_matched
from mechcausal.patching.activation import Direction, SweepCost
from mechcausal.patching.differentiating import Job, in_columns, split_by_engine
from mechcausal.patching.sweep import (
    CellSpec,
    MetricSpec,
    Positions,
    Recorder,
    Swept,
    as_text,
    plain,
    sites_of,
    swept,
    two_sides,
)
from mechcausal.results.result import Result


@dataclass(frozen=True, kw_only=True)
class Attributing(Method[Contrast, Result]):
    """Estimate what `patch` would measure, for every cell at once, from gradients.

    Estimand of `change`: `(source - base) . d metric / d activation` at the base run, the first-order Taylor estimate
    of the patch of the same arguments (Nanda 2023; Syed et al. 2023). It is exact where the metric is linear in the
    activation. With `steps` the gradient is averaged along the straight path from base to source (integrated
    gradients, Sundararajan et al. 2017, midpoint rule): with `path="joint"` a whole activation moves at once and the
    cells share out its exact effect; with `path="cell"` only the cell moves and its number converges to the exact
    effect of that cell. `effect` reads as in `patch`: 1 is as clean, 0 is as corrupt, negative is worse than corrupt;
    an estimate may lie beyond both.

    Attributes:
        sites: What to attribute to; see `patch`.
        at: Which positions; see `patch`.
        direction: `"denoise"` (base corrupt, source clean) or `"noise"` (base clean, source corrupt).
        steps: 0 for the plain gradient at the base run, else the number of points on the path.
        path: What moves along the path when `steps` is given.
        metric: A metric's name, or a differentiable function of (logits, batch).
        batch_size: How many pairs at a time.
        exact: `"replay"` runs and differentiates only the layers and positions that a site can reach; `"naive"` takes
            every gradient through a whole forward.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> estimate = mc.attribute(model, pairs, sites="z", steps=4)
        >>> len(estimate)
        16
        >>> mc.attribute.cost(model, pairs, sites="z", steps=4).naive_forwards  # four steps, for each of four layers
        128.0
    """

    word: ClassVar[str] = "attribute"
    sites: CellSpec = field(default="resid_pre", metadata={"read": as_text})
    at: Positions = field(default=None, metadata={"read": as_text})
    direction: Direction = "denoise"
    steps: CountOrZero = 0
    path: Literal["joint", "cell"] = "joint"
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"

    def run(self, model: Model, data: Contrast) -> Result:
        """Estimate every cell."""
        recorder = Recorder(
            model, data, self._metric(), self.word,
            {
                "sites": plain(self.sites), "at": plain(self.at), "direction": self.direction, "steps": self.steps,
                "path": self.path,
            },
        )  # fmt: skip
        cells, estimates, used, job = self._estimated(model, data, recorder.metric, dry=False)
        if job.fast and job.both_measured:
            measured = _baselines(estimates[-2], estimates[-1], self.direction)
            if not all(np.isfinite(side).all() for side in measured.values()):
                recorder.baselines("clean", self.batch_size)  # which says where the first number goes wrong
        else:
            measured = recorder.baselines("corrupt" if self.direction == "denoise" else "clean", used)
        return recorder.result(
            [cell.row() for cell in cells],
            measured["base"][None] + estimates[:-2],
            measured,
            forwards=job.forwards,
            batch_size=used,
            estimate="first order",
            **job.compute(),
        )

    def cost(self, model: Model, data: Contrast) -> SweepCost:
        """Return what it would take; only the unedited runs are made."""
        cells, _, _, job = self._estimated(model, data, self._metric(), dry=True)
        per_forward = in_columns(data)[0].tokens.shape[1] * abilities(model).shape.n_layers
        by_the_loop = job.loop_passes([job.where[number] for number in job.slow]) * len(data) * per_forward
        computed, naive = job.economy.token_layers + by_the_loop, job.economy.naive_token_layers + by_the_loop
        return SweepCost(
            cells=len(cells),
            examples=len(data),
            forwards=computed / per_forward,
            naive_forwards=naive / per_forward,
            token_layers=computed,
            naive_token_layers=naive,
            skipped=job.economy.skipped,
            naive_because=job.reasons if job.slow else {},
        )

    def cells(self, model: Model, data: Contrast) -> list[Swept]:
        """Return the cells of the sweep, in the order of its table; nothing is run."""
        base, _ = two_sides(data, self.direction)
        able = abilities(model)
        cells = swept(self.sites, self.at, able.shape, base)
        able.require(sites_of(cells))
        return cells

    def _metric(self) -> Metric:
        chosen = metric_of(self.metric)
        chosen.require_gradient(at_reference=self.direction == "noise" and self.steps == 0)
        return chosen

    def _estimated(
        self, model: Model, pairs: Contrast, metric: Metric, *, dry: bool
    ) -> tuple[list[Swept], np.ndarray, int, Job]:
        """Return the cells, their estimates and last the metric of both unedited runs, the batch size, and the job."""
        base, source = two_sides(pairs, self.direction)
        cells = self.cells(model, pairs)
        where = list(dict.fromkeys(place for cell in cells for place in cell.places))
        if self.steps and self.path == "cell" and any(len(cell.places) > 1 for cell in cells):
            raise SiteError("path='cell' moves one site at a time", fix="use path='joint' for sites in a tuple")
        base, source, clean = in_columns(pairs, base, source)
        apart = torch.as_tensor(uneven(base, source))
        # The caller may have switched gradients off, for good or for a while.
        with torch.inference_mode(False), torch.enable_grad():
            engine, reasons = split_by_engine(model, where) if self.exact == "replay" else (None, {"all": "asked for"})
            slow = [number for number, place in enumerate(where) if engine is None or place.site.kind in reasons]
            fast = sorted(set(range(len(where))) - set(slow))
            reasons |= why_matched(int(apart.sum()), len(apart)) if apart.any() else {}
            job = Job(model, metric, self.direction, self.steps, self.path, engine, where, fast, slow, reasons, dry)

            def one_batch(index: Tensor) -> np.ndarray:
                estimates = np.full((len(where) + 2, len(index)), np.nan)
                for matched in (False, True):
                    rows = (apart[index] == matched).nonzero().flatten()
                    if len(rows):
                        sides = (side.take(index[rows]).to(bridge.device_of(model)) for side in (base, source, clean))
                        estimates[:, rows.numpy()] = job.estimated(*sides, matched=matched)
                return estimates

            estimates, used = in_batches(len(base), self.batch_size, one_batch, progress="attributing")
        # To first order, what several sites do together is the sum of what each does.
        number = {place: row for row, place in enumerate(where)}
        together = [estimates[[number[place] for place in cell.places]].sum(0) for cell in cells]
        return cells, np.concatenate([np.stack(together), estimates[-2:]]), used, job


def _baselines(base: np.ndarray, source: np.ndarray, direction: str) -> dict[str, np.ndarray]:
    clean, corrupt = (source, base) if direction == "denoise" else (base, source)
    return {"base": base, "clean": clean, "corrupt": corrupt}


attribute = function(Attributing)
