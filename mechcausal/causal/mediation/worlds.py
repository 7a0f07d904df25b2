"""The two worlds of a contrast: the high one, in which the cause is as it is, and the low one, the reference.

What the effects have in common: the pairs side by side, the outcome as one number per example, edits that give a part of
one world a value, and the refusal of what cannot act on the outcome before anything is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.data.contrast import Contrast
from mechcausal.data.forced import forced
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, NumericsError, SiteError, of_each
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import Metric, MetricFunction
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.engine import align, check_prompts, in_batches
from mechcausal.models.facts import facts
from mechcausal.models.hooked import Run, Source, forward
from mechcausal.models.rows import of_prompts
from mechcausal.results.multiplicity import benjamini_hochberg, max_t, t_test
from mechcausal.results.provenance import Provenance

MetricSpec = str | MetricFunction | Metric
Pairs = Contrast | tuple[PromptSet, PromptSet]


@dataclass
class Worlds:
    """The pairs, the model and the outcome; counts forwards.

    Attributes:
        model: The bridge.
        pairs: The pairs; clean is the high world, corrupt the low one.
        metric: The outcome.
        able: What the model can do.
        forwards: How many forwards were run.
    """

    model: Any
    pairs: Contrast
    metric: Metric
    able: Abilities
    forwards: int = 0
    started: float = field(default_factory=time.perf_counter)
    _ahead: bool | None = None

    @classmethod
    def of(cls, model: Any, pairs: Pairs, metric: MetricSpec) -> Worlds:  # noqa: ANN401 - a TransformerBridge
        """Check that pairs, model and metric fit together."""
        bridge.require_bridge(model)
        both = _contrast(pairs)
        chosen = metric_of(metric)
        for side in (both.clean, both.corrupt):
            chosen.check(side)
            check_prompts(model, side)
        return cls(model, both, chosen, abilities(model))

    @property
    def high(self) -> PromptSet:
        """The high world."""
        return self.pairs.clean

    @property
    def note(self) -> str | None:
        """What must be said where the outcome is not on the log-odds scale."""
        if self.metric.log_odds:
            return None
        return (
            f"{self.metric.name} is not on the log-odds scale: an interaction may be the curvature of the scale alone"
        )

    @property
    def resolution(self) -> float:
        """The relative size of one rounding in the model's precision."""
        return float(torch.finfo(next(bridge.underlying(self.model).parameters()).dtype).eps)

    def evaluate(
        self,
        one_batch: Callable[[PromptSet, PromptSet], Sequence[Tensor]],
        batch_size: int,
        *,
        outcomes: bool = True,
    ) -> tuple[np.ndarray, int]:
        """Call with (high, low) batches of all pairs; return [number example] and the batch size that fitted.

        Args:
            one_batch: From both worlds to numbers of every example. Where answers are several tokens, the examples are
                rows with one answer each, of which the outcomes of pairs are made.
            batch_size: How many pairs at a time.
            outcomes: Whether the numbers are outcomes; else the pairs are handed on as they are.
        """
        high, low = align(self.pairs.clean, self.pairs.corrupt)
        device = bridge.device_of(self.model)

        def rows(index: Tensor) -> np.ndarray:
            up, down = high.take(index).to(device), low.take(index).to(device)
            made = forced(up) if outcomes and self.forces else None
            batches = (up, down) if made is None else (made.prompts, forced(down, up).prompts)
            numbers = torch.stack([value.double() for value in one_batch(*batches)]).cpu().numpy()
            return of_prompts(self.metric, numbers, made)

        return in_batches(len(self.pairs), batch_size, rows)

    def run(self, batch: PromptSet, edits: Sequence[tuple[Edit, Source]] = (), read: Sequence[Site] = ()) -> Run:
        """Run one world under edits."""
        self.forwards += 1
        return forward(
            self.model, batch, [edit for edit, _ in edits], read=read, sources=[source for _, source in edits]
        )

    def outcome(self, run: Run, batch: PromptSet, reference: Run) -> Tensor:
        """Return the outcome of every example of one world; `reference` is the run of the high one."""
        metric = self.metric.piece if self.forces else self.metric
        values = run.score(metric, batch, reference.output_for(needs_logits=metric.needs_logits))
        if not bool(torch.isfinite(values).all()):
            raise NumericsError("the outcome is NaN or infinite", fix="check the weights, the dtype and the edit")
        return values

    def tested(self, effects: np.ndarray, outcomes: Sequence[np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Return `p`, `q` and `p_max` of "this effect is zero" for every row of [row example]; the rows are the family.

        `q` is Benjamini and Hochberg's, `p_max` that of step-down max-T under sign flips of whole clusters.
        """
        # A difference in the last digits repeats from example to example, and would pass for a finding.
        floor = 8 * self.resolution * max(float(np.nanmax(np.abs(values))) for values in outcomes)
        kept = np.where(np.abs(effects) <= floor, 0.0, effects)
        p = t_test(kept, self.high.clusters)[1]
        return {"p": p, "q": benjamini_hochberg(p), "p_max": max_t(kept, self.high.clusters, seed=seed)}

    def check(self, parts: Sequence[Place]) -> None:
        """Refuse parts that the model lacks, or that cannot act on what the metric reads."""
        for part in parts:
            if part.site.component == "logits":
                raise SiteError("the logits are the outcome, not a mediator", fix="name a site inside the network")
        self.able.require([part.site for part in parts])
        of_each(self._check_position, parts)

    def _check_position(self, part: Place) -> None:
        _check_basis(part, self.able)
        mask = self.high.select(part.at)
        if not bool(mask.any()):
            raise SiteError(
                f"no prompt has the position of {part}", expected=f"at most {int(self.high.lengths.max())} tokens"
            )
        if self.reads_one_position and not self.before(mask, self.read_mask) and not self.looks_ahead:
            raise SiteError(
                f"{part} stands after the position that {self.metric.name} is read at, so nothing of it is seen there",
                fix="choose a position at or before the read position",
            )

    @property
    def forces(self) -> bool:
        """Whether answers are several tokens, each of which is written behind the prompts of both worlds."""
        return self.metric.forces(self.high)

    @property
    def n_rows(self) -> int:
        """How many prompts are run for one world: the pairs, or their answers."""
        return len(forced(self.high).owner) if self.forces else len(self.pairs)

    @property
    def reads_one_position(self) -> bool:
        """Whether the metric looks at the read position alone; a metric of the caller's own may look anywhere."""
        return self.metric.reads_one_position

    @property
    def read_mask(self) -> Tensor:
        """The read position, [batch pos]."""
        columns = torch.arange(self.high.tokens.shape[1], device=self.high.tokens.device)
        return columns[None] == self.high.read_columns[:, None]

    @staticmethod
    def before(first: Tensor, second: Tensor) -> bool:
        """Say whether in some prompt a position of the first mask stands at or before one of the second."""
        both = first.any(1) & second.any(1)
        last = second.shape[1] - 1 - second.flip(1).long().argmax(1)
        return bool((both & (first.long().argmax(1) <= last)).any())

    @property
    def looks_ahead(self) -> bool:
        """Whether a position sees those after it (an encoder), found by changing the last token of a prompt."""
        if self._ahead is None:
            longest = self.high.take([int(self.high.lengths.argmax())])
            length = int(longest.lengths[0])
            if length < 2:
                return False
            tokens = longest.tokens.clone()
            last = int(longest.starts[0]) + length - 1
            tokens[0, last] = (tokens[0, last] + 1) % self.model.cfg.d_vocab
            device = bridge.device_of(self.model)
            a, b = (self.run(side.to(device)).output[0, :last] for side in (longest, replace(longest, tokens=tokens)))
            self._ahead = bool((a - b).abs().max() > 1e-4 * a.abs().max())
        return self._ahead

    def provenance(self, method: str, batch_size: int, seed: int | None, **arguments: Any) -> Provenance:  # noqa: ANN401
        """Return where a result comes from."""
        settings = {"metric": self.metric.name, **arguments, **({"note": self.note} if self.note else {})}
        run = facts(self.model, self.pairs, started=self.started, forwards=self.forwards, batch_size=batch_size)
        return Provenance(method, settings, run["model"], run["prompts"], run["compute"], seed)


def swap(part: Place, values: Mapping[Site, Tensor], batch: PromptSet) -> tuple[Edit, Source]:
    """Return the edit that gives a part the value it has in these whole activations."""
    activation = values[part.site.whole]
    return Edit(part.site, Patch(), part.at), Source(activation, batch.select(part.at), part.columns(activation))


def family_of(rows: Sequence[Any], what: str) -> str:
    """Say which tests were adjusted together, and how."""
    return f"{len(rows)} {what}: q by Benjamini-Hochberg, p_max by step-down max-T"


def wholes(parts: Sequence[Place]) -> list[Site]:
    """Return the whole activations that hold these parts."""
    return list(dict.fromkeys(part.site.whole for part in parts))


def _check_basis(part: Place, able: Abilities) -> None:
    columns = part.columns(torch.zeros(1, dtype=torch.float64))
    if columns is None:
        return
    if part.site.component == "pattern":
        raise SiteError(
            f"{part}: an attention pattern has no subspaces, its entries are positions", fix="use q, k or v"
        )
    width = 1 if part.site.unit is not None else able.shape_at(part.site)[-1]
    if len(columns) != width:
        raise SiteError(f"the subspace of {part} does not fit", got=f"{len(columns)} features", expected=width)


def _contrast(pairs: Pairs) -> Contrast:
    if isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(side, PromptSet) for side in pairs):
        pairs = Contrast(*pairs, factor="undeclared")
    if not isinstance(pairs, Contrast):
        raise DataError(
            "effects need pairs: the high world and the low one",
            got=type(pairs).__name__,
            fix="build them with Task.contrast, mc.contrast or mc.Contrast.from_text",
        )
    for name in ("answer", "foil"):
        first, second = getattr(pairs.clean, name), getattr(pairs.corrupt, name)
        if (first is None) != (second is None) or (first is not None and not torch.equal(first, second)):
            raise DataError(
                f"the two worlds of a pair have another {name}, so that their outcomes cannot be compared",
                fix=f"give both sides the {name} of the clean one",
            )
    return pairs
