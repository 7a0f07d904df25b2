"""Edge pruning: a mask over all edges, learned so that few are kept and the run stays what it was (Bhaskar et al. 2024).

Every edge has a number a. In each step it is kept by a share that is drawn from the hard concrete distribution of a
(Louizos et al. 2018), which is exactly 0 or 1 most of the time and yet has a gradient:

    z = clip(sigmoid((logit(u) + a) / b) (r - l) + l, 0, 1),      u uniform,  b = 2/3,  l = -0.1,  r = 1.1
    minimize  loss(run with shares z) + p (s - t) + q (s - t)^2,  s = expected share of edges with z > 0

The target t falls from all edges to the size that is wanted, and p and q ascend, so that s follows t. When the target has
rested there, the edges with the largest a are the circuit. Then the target falls on, so that these are told apart as well:
an edge scores by its mean chance to be kept over all steps. The paper has masks of nodes beside those of edges; here there
are edges alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, impossible
from mechcausal.circuits.search.damage import damage, smooth_damage
from mechcausal.errors import ArgumentError

_TEMPERATURE, _LEFT, _RIGHT = 2 / 3, -0.1, 1.1
_EDGE = _TEMPERATURE * math.log(-_LEFT / _RIGHT)  # where a share becomes exactly 0
_START = 3.0  # almost everything is kept at first, and yet everything has a gradient
_FALL, _REST = 0.5, 0.75  # of all steps, when the target has fallen to the size that is wanted, and when it falls on
STEPS = 300  # of the search
_LEAST = 0.1  # of that size, where the target ends
_FEW = 125  # edges; of more, each has a smaller part in the size, so prices that move it must rise faster


@dataclass(frozen=True)
class Learned:
    """A mask that was learned.

    Attributes:
        scores: The chance that an edge is kept at all, as the mean over all steps, [sender receiver position].
        kept: The circuit of the size that was asked for, [sender receiver position].
        chance: The chance that an edge is kept when the circuit is taken, [sender receiver position].
        losses: The loss of the run at every step up to there.
        shares: The expected share of edges that are kept, at every step up to there.
        target: The share that was asked for.
        damage: What the circuit that is kept loses on these pairs.
    """

    scores: np.ndarray
    kept: np.ndarray
    chance: np.ndarray
    losses: tuple[float, ...]
    shares: tuple[float, ...]
    target: float
    damage: float

    @property
    def convergence(self) -> dict[str, float]:
        """How settled the mask is.

        `loss_change` is the mean loss of the last tenth of the steps minus that of the tenth before it, `share_gap` how
        far the expected share is from its target, and `undecided` how many edges are neither clearly in nor out, as a
        share of those kept.
        """
        tenth = max(1, len(self.losses) // 10)
        last, before = np.mean(self.losses[-tenth:]), np.mean(self.losses[-2 * tenth : -tenth] or self.losses[-tenth:])
        between = (self.chance > 0.1) & (self.chance < 0.9)
        return {
            "loss": float(last), "loss_change": float(last - before), "share_gap": self.shares[-1] - self.target,
            "undecided": float(between.sum() / max(1, self.kept.sum())),
        }  # fmt: skip


def prune(
    masked: Masked,
    size: int,
    *,
    steps: int = STEPS,
    rate: float = 0.2,
    seed: int = 0,
    forbidden: np.ndarray | None = None,
    progress: bool = False,
) -> Learned:
    """Learn which edges to keep.

    Args:
        masked: The pairs; the loss is their metric where it compares with the clean run, else the squared distance from it.
        size: How many edges are to be kept.
        steps: How many steps of Adam, each on one batch.
        rate: Its rate.
        seed: The seed of all draws.
        forbidden: Edges that are never kept, [sender receiver position].
        progress: Whether a progress bar is shown.
    """
    there = np.broadcast_to(masked.wiring.possible[..., None], masked.shape)
    allowed = there if forbidden is None else there & ~forbidden
    never = torch.as_tensor(there & ~allowed, device=masked.inputs.device)
    possible = torch.as_tensor(allowed.copy())
    count = int(possible.sum())
    if not 0 < size < count:
        raise ArgumentError(
            "a mask keeps some edges and not all", got=f"{size} edges", expected=f"1 to {count - 1} edges"
        )
    mask = _Mask(possible.to(masked.inputs.device), seed)
    losses, shares, path, rest = [], [], torch.zeros_like(mask.raw), max(1, math.ceil(_REST * steps))
    settled, chance = np.zeros(0), np.zeros(0)
    hurry = max(1.0, (count / _FEW) ** 0.5)
    scale = max(1e-9, float(np.abs(masked.clean - masked.corrupt).mean()))
    with torch.inference_mode(False), torch.enable_grad():
        optimizer = torch.optim.Adam(
            [{"params": [mask.raw], "lr": rate}, {"params": [mask.price], "lr": rate * hurry, "maximize": True}]
        )
        for step in tqdm(range(steps), desc="edge pruning", disable=None if progress else True, leave=False):
            tile = masked.tiles[int(mask.draw.integers(len(masked.tiles)))]
            target = _target(size / count, step / steps)
            values = masked.run(tile, torch.where(never, 1.0, 1 - mask.sampled()))
            clean = torch.as_tensor(masked.clean[tile.index], dtype=values.dtype, device=values.device)
            loss = smooth_damage(masked, values, clean, scale)
            share = mask.chance().sum() / count
            gap = share - target
            optimizer.zero_grad()
            (loss + mask.price[0] * gap + mask.price[1] * gap**2).backward()
            optimizer.step()
            path += mask.chance().detach() / steps
            if step < rest:
                losses.append(loss.item())
                shares.append(share.item())
            if step == rest - 1:
                settled, chance = mask.raw.detach().cpu().numpy(), mask.chance().detach().cpu().numpy()
    order = np.argsort(-settled[possible.numpy()], kind="stable")[:size]
    kept = np.zeros(masked.shape, dtype=bool)
    kept[tuple(np.argwhere(possible.numpy())[order].T)] = True
    lost = float(damage(masked, masked.metric(kept)[None])[0])
    scores = impossible(masked, path.detach().cpu().numpy())
    return Learned(scores, kept, chance, tuple(losses), tuple(shares), size / count, lost)


def _target(share: float, time: float) -> float:
    """Return the share of edges to keep when this share of the steps is over."""
    if time < _FALL:
        return 1 + (share - 1) * time / _FALL
    return share * (1 - (1 - _LEAST) * max(0.0, time - _REST) / (1 - _REST))


class _Mask:
    """The numbers behind a mask, and the prices of its size.

    Args:
        possible: Which edges there are, [sender receiver position].
        seed: The seed of all draws.
    """

    def __init__(self, possible: Tensor, seed: int) -> None:
        self.possible, self.draw = possible, np.random.default_rng([seed, 47])
        self.generator = torch.Generator(device="cpu").manual_seed(seed)
        noise = torch.randn(possible.shape, generator=self.generator)
        self.raw = (_START + 0.01 * noise).to(possible.device).requires_grad_()
        self.price = torch.zeros(2, device=possible.device, requires_grad=True)

    def sampled(self) -> Tensor:
        """Return a share for each edge, [1 sender receiver position]; 1 where there is no edge."""
        uniform = torch.rand(self.raw.shape, generator=self.generator).clamp(1e-6, 1 - 1e-6).to(self.raw.device)
        stretched = torch.sigmoid((uniform.logit() + self.raw) / _TEMPERATURE) * (_RIGHT - _LEFT) + _LEFT
        return torch.where(self.possible, stretched.clamp(0, 1), 1.0)[None]

    def chance(self) -> Tensor:
        """Return how likely each edge is kept by more than nothing, [sender receiver position]; 0 where there is none."""
        return torch.sigmoid(self.raw - _EDGE) * self.possible


@SCORERS.register("edge-pruning")
def score_by_pruning(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by a mask that is learned; keep those of the size that is asked for, 5 % unless it is."""
    count = masked.wiring.count * masked.shape[2]
    size = scoring.size or min(count - 1, max(20, round(0.05 * count)))
    learned = prune(masked, size, seed=scoring.seed, progress=scoring.progress)
    about: dict[str, Any] = {
        "mask": {**learned.convergence, "target": learned.target, "steps": len(learned.losses), "loss_of_circuit": learned.damage},
        "signed": False,
    }  # fmt: skip
    return Scored(learned.scores, about=about, kept=learned.kept)
