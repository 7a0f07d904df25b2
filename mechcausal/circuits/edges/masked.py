"""Pairs under any set of edges: the metric of the clean prompts where edges outside a circuit carry something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import ALL, Selection
from mechcausal.circuits.edges.alternatives import Ablation, alternative
from mechcausal.circuits.edges.constants import learned_alternative
from mechcausal.circuits.edges.inputs import inputs_of
from mechcausal.circuits.edges.run import Cutting
from mechcausal.circuits.edges.states import inputs_for, wiring_for
from mechcausal.circuits.edges.tiles import Tile
from mechcausal.data.contrast import Contrast, require_even
from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import Metric, MetricFunction
from mechcausal.metrics import metric as metric_of
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import check_prompts
from mechcausal.models.replay.twin import Base

BUDGET = 256 * 2**20  # bytes that the contributions of all senders to one tile may take
_WORK = 16  # how many times the stream a layer holds while it is run


class Masked:
    """The pairs of one question, run under any set of edges.

    Estimand of `metric(kept)`: the metric of each clean prompt when every edge outside `kept` carries its alternative
    and everything else is computed by the model.

    Args:
        model: The bridge.
        pairs: Clean and corrupt prompts.
        metric: A metric's name, a function of (logits, batch), or a metric of an activation; see `states`.
        ablation: What edges carry instead; see `alternatives`.
        split: Whether query heads that share keys and values are told apart.
        positions: Selections to tell apart; None for all positions together.
        reference: The prompts whose means are taken.
        batch_size: How many pairs at a time, at most; fewer where the budget of memory wants it.
        seed: The seed of what is drawn.
        budget: How many bytes the contributions of all senders to one batch may take.

    Attributes:
        wiring: The edges of the model.
        n: How many pairs there are.
        forwards: How many forwards through all layers were run, of one prompt each.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a TransformerBridge
        pairs: Contrast,
        metric: str | MetricFunction | Metric = "logit_diff",
        ablation: Ablation = "counterfactual",
        *,
        split: bool = False,
        positions: Sequence[Selection] | None = None,
        reference: Contrast | PromptSet | None = None,
        batch_size: int = 64,
        seed: int = 0,
        budget: int = BUDGET,
    ) -> None:
        require_even(pairs, "a circuit")
        self.model = model  # the bare model does not keep its bridge alive
        self.metric_of_prompts, self.pairs, self.ablation = metric_of(metric), pairs, ablation
        for side in (pairs.clean, pairs.corrupt):
            self.metric_of_prompts.check(side)
            check_prompts(model, side)
        self.wiring = wiring_for(abilities(model), self.metric_of_prompts, split=split)
        self.inputs = inputs_for(inputs_of(model), self.metric_of_prompts)
        self.positions = (ALL,) if positions is None else tuple(positions)
        if ablation == "optimal":
            self.alternative = learned_alternative(self.inputs, self.wiring, pairs, reference, seed)
        else:
            self.alternative = alternative(self.inputs, pairs, ablation, reference, seed, len(self.wiring.senders))
        self.n, self.forwards = len(pairs), 0.0
        self.batch_size, self.budget = batch_size, budget
        self._tiles: list[Tile] | None = None
        self._parts: dict[bytes, list[Tile]] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of arrays over edges: senders, receivers, positions."""
        return (*self.wiring.possible.shape, len(self.positions))

    @property
    def tiles(self) -> list[Tile]:
        """The pairs in batches of like lengths that fit into the budget."""
        if self._tiles is None:
            self._tiles = self._tiled(np.arange(self.n))
        return self._tiles

    def _tiles_of(self, rows: np.ndarray) -> list[Tile]:
        """Return the tiles of some pairs, made once."""
        key = rows.tobytes()
        if key not in self._parts:
            self._parts[key] = self._tiled(rows)
        return self._parts[key]

    def _tiled(self, rows: np.ndarray) -> list[Tile]:
        """Return some pairs in batches whose runs begin at like columns."""
        lengths = self.pairs.clean.lengths.cpu().numpy()
        order = rows[np.lexsort((lengths[rows], self._first_columns()[rows]))]
        per_row = 4 * int(lengths.max()) * self.inputs.able.shape.d_model * len(self.wiring.senders)
        size = max(1, min(self.batch_size, self.budget // per_row))
        return [
            Tile.of(
                self.inputs, part, self.pairs.clean.take(part.tolist()), self.alternative, self.metric_of_prompts,
                self.positions,
            )
            for part in (order[low : low + size] for low in range(0, len(rows), size))
        ]  # fmt: skip

    def _first_columns(self) -> np.ndarray:
        """Return at which of its tokens each pair differs first, 0 where constants stand in from the first token on."""
        other = self.alternative.prompts
        if other is None:
            return np.zeros(self.n, dtype=int)
        sides = zip(self.pairs.clean.real_tokens, other.real_tokens, strict=True)
        apart = [[place for place, (a, b) in enumerate(zip(*side, strict=False)) if a != b] for side in sides]
        return np.array([places[0] if places else 0 for places in apart])

    def cut(self, kept: np.ndarray | Tensor) -> Tensor:
        """Return how much of each edge is cut, [... sender receiver position], from what is kept."""
        possible = torch.as_tensor(self.wiring.possible)[..., None]
        if not isinstance(kept, Tensor):
            kept = torch.as_tensor(np.asarray(kept, dtype=np.float32))
        if kept.shape[-3:] != self.shape:
            kept = kept[..., None] if kept.shape[-2:] == self.shape[:2] else kept
        return ((1 - kept.float()) * possible).to(self.inputs.device)

    def metric(self, kept: np.ndarray | Tensor) -> np.ndarray:
        """Return the metric of each prompt, [prompt], or [variant prompt] for several circuits at once.

        Args:
            kept: How much of each edge is kept, from 0 to 1: [sender receiver position], or with an axis of variants
                in front.
        """
        cut = self.cut(kept)
        several = cut if cut.ndim == 4 else cut[None]
        out = self.of(several)
        return out if cut.ndim == 4 else out[0]

    @torch.no_grad()
    def of(self, cut: Tensor, first: int = 0, progress: str = "", rows: np.ndarray | None = None) -> np.ndarray:
        """Return the metric under variants of what is cut, [variant prompt].

        Args:
            cut: How much of each edge is cut, [variant sender receiver position].
            first: The layer that all runs begin with; no edge into an earlier one is cut.
            progress: The label of a progress bar; none without it.
            rows: The pairs that are run; all if None. The others are NaN.
        """
        out = np.full((len(cut), self.n), np.nan)
        tiles = self.tiles if rows is None else self._tiles_of(rows)
        total = len(cut) * sum(len(tile.index) for tile in tiles)
        bar = tqdm(total=total, desc=progress, unit="run", disable=None if progress else True, leave=False)
        for tile in tiles:
            size = self._at_once(tile, cut, first)
            for low in range(0, len(cut), size):
                some = cut[low : low + size]
                out[low : low + size, tile.index] = self.run(tile, some, first).float().cpu().numpy()
                bar.update(len(some) * len(tile.index))
        bar.close()
        return out

    def _at_once(self, tile: Tile, cut: Tensor, first: int) -> int:
        """Return how many variants are run together: as many as the budget allows."""
        later = self.wiring.senders_of(first).start
        n_senders = int((cut[:, later:] != 0).any(0).any(-1).any(-1).sum()) if later < cut.shape[1] else 0
        columns = tile.base.width - tile.start
        per_row = 4 * columns * self.inputs.able.shape.d_model * (_WORK + n_senders)
        return max(1, self.budget // (per_row * len(tile)))

    def run(self, tile: Tile, cut: Tensor, first: int = 0) -> Tensor:
        """Return the metric of one tile under variants of what is cut, [variant prompt], with a graph where `cut` has one."""
        layers = len(self.inputs.layers)
        self.forwards += len(cut) * len(tile) * (layers - first) / layers
        return Cutting(tile, self.wiring, cut, first).scores()

    @cached_property
    def clean(self) -> np.ndarray:
        """The metric with every edge kept: that of the unedited clean prompts."""
        return self._unedited(lambda tile: tile.base)

    @cached_property
    def corrupt(self) -> np.ndarray:
        """The metric with every edge cut; with counterfactual alternatives that of the corrupt prompts."""
        if self.ablation == "counterfactual":
            return self._unedited(lambda tile: tile.source)
        return self.metric(np.zeros(self.shape))

    @torch.no_grad()
    def _unedited(self, run: Callable[[Tile], Base | None]) -> np.ndarray:
        """Return the metric of a recorded run, [prompt]."""
        out = np.empty(self.n)
        for tile in self.tiles:
            base = run(tile)
            assert base is not None  # counterfactual alternatives come from a run
            rows = torch.arange(len(tile), device=self.inputs.device)
            out[tile.index] = tile.of_prompts(tile.scores(base.hidden[-1][:, tile.start :], rows)).float().cpu().numpy()
            self.forwards += len(tile)
        return out
