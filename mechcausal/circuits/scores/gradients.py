"""Edge attribution: (clean contribution - alternative) times a gradient, which differs by where the gradient is taken.

    eap                  in the clean run (Syed et al. 2023): one forward and one backward
    clean-corrupted      the mean of the clean and the corrupt run
    eap-ig               the mean along the straight path of the input (Hanna et al. 2024): the edges of the embedding add
                         up to the effect of the whole input
    eap-ig-activations   for each sublayer its own path: all its senders move from what they add to the alternative while
                         the rest of the run is the clean one, and only the layers after it are run again; what the edges
                         of a sublayer add up to is the exact effect of replacing it

Paths are walked in equal steps with the ends counted half (the trapezoid rule), so the scores from half the steps come
for nothing; the change from those is reported as the convergence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.slopes import Slopes, edge_scores, passed, path_scores, slopes
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, Sums, impossible, tiles_of
from mechcausal.errors import DataError


def weights(steps: int) -> tuple[list[float], list[float], list[float]]:
    """Return the points of a path, and what each counts with all the steps and with half of them.

    Args:
        steps: How many; 0 is the beginning of the path alone.
    """
    if steps == 0:
        return [0.0], [1.0], [1.0]
    points = [number / steps for number in range(steps + 1)]

    def rule(count: int) -> list[float]:
        every = steps // count
        ends = (0, steps)
        return [(0.5 if n in ends else 1.0) / count if n % every == 0 else 0.0 for n in range(steps + 1)]

    return points, rule(steps), rule(steps // 2 if steps > 1 and steps % 2 == 0 else steps)


def _prepared(masked: Masked, *, at_clean: bool) -> None:
    masked.metric_of_prompts.require_gradient(at_reference=at_clean)


def _scored(masked: Masked, scoring: Scoring, steps: int, name: str, *, by_sublayer: bool = False) -> Scored:
    if steps > 1 and steps % 2:
        raise DataError(
            "integrated gradients are compared with half their steps", got=f"steps={steps}", expected="an even number"
        )
    _prepared(masked, at_clean=steps == 0)
    points, full, half = weights(steps)
    sums, halves = Sums(masked, masked.shape), Sums(masked, masked.shape)
    for tile in tiles_of(masked, scoring, f"scoring edges ({name})"):
        make = _along_sublayers if by_sublayer else _along_inputs
        made, coarse = make(masked, tile, points, full, half)
        sums.add(tile, made)
        if steps > 1:
            halves.add(tile, coarse)
    edges = sums.mean()
    nodes = edges.sum(1)
    about: dict[str, object] = {"steps": steps} if steps else {}
    if steps > 1:
        about["convergence"] = {
            "edges": _change(edges, halves.mean()), "nodes": _change(nodes, halves.mean().sum(1)),
            "is": "size of the change from half the steps, relative to the scores",
        }  # fmt: skip
    spread = sums.spread()
    return Scored(impossible(masked, edges), nodes, None if spread is None else impossible(masked, spread), about)


def _change(fine: np.ndarray, coarse: np.ndarray) -> float:
    size = float(np.linalg.norm(fine))
    return float(np.linalg.norm(fine - coarse)) / size if size else 0.0


def _along_inputs(
    masked: Masked, tile: Tile, points: Sequence[float], full: Sequence[float], half: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the scores of a tile with gradients along the path of the input, and those from half the points."""
    embedded = tile.base.hidden[0][:, tile.start :]
    towards = tile.differences(EMBEDDING)[:, :, 0]

    def path() -> Iterator[tuple[Slopes, tuple[float, float]]]:
        for point, *counts in zip(points, full, half, strict=True):
            masked.forwards += 3 * len(tile)  # a backward costs about two forwards
            yield slopes(tile, passed(tile, masked.wiring, 0, embedded + point * towards)), (counts[0], counts[1])

    made, coarse = path_scores(tile, masked.wiring, path())
    return made, coarse


def _along_sublayers(
    masked: Masked, tile: Tile, points: Sequence[float], full: Sequence[float], half: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the scores of a tile with gradients along the path of each sublayer, and those from half the points."""
    wiring, n_layers = masked.wiring, len(masked.inputs.layers)
    made = coarse = torch.zeros(())
    for layer in range(EMBEDDING, n_layers):
        differs = tile.differences(layer)
        layer_senders = wiring.senders_of(layer) if layer != EMBEDDING else slice(0, 1)
        heads = 0 if layer == EMBEDDING else wiring.n_heads
        parts = [(range(layer_senders.start, layer_senders.start + heads), True)] if heads else []
        if differs.shape[2] > heads:
            parts.append((range(layer_senders.start + heads, layer_senders.stop), False))
        for senders, inside in parts:
            chosen = differs[:, :, senders.start - layer_senders.start : senders.stop - layer_senders.start].sum(2)
            if not bool(chosen.any()):
                continue
            first = layer if inside else layer + 1
            ahead = (n_layers - first) / n_layers
            picked = torch.zeros(len(wiring.senders), 1, 1)
            picked[list(senders)] = 1
            for point, weight, half_weight in zip(points, full, half, strict=True):
                masked.forwards += 3 * ahead * len(tile)
                if inside:
                    seen = passed(tile, wiring, first, attention=point * chosen)
                else:
                    seen = passed(tile, wiring, first, tile.base.hidden[first][:, tile.start :] + point * chosen)
                part = edge_scores(tile, wiring, slopes(tile, seen), range(layer, layer + 1)) * picked.to(chosen)
                made, coarse = made + weight * part, coarse + half_weight * part
    if made.ndim == 0:
        zero = torch.zeros(len(tile), *masked.shape)
        return zero, zero
    return made, coarse


@SCORERS.register("eap")
def eap(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by the gradient in the clean run."""
    return _scored(masked, scoring, 0, "EAP")


@SCORERS.register("clean-corrupted")
def clean_corrupted(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by the mean of the gradients in the clean and the corrupt run."""
    return _scored(masked, scoring, 1, "clean-corrupted")


@SCORERS.register("eap-ig")
def eap_ig(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by the mean gradient along the path of the input."""
    return _scored(masked, scoring, scoring.steps, "EAP-IG")


@SCORERS.register("eap-ig-activations")
def eap_ig_activations(masked: Masked, scoring: Scoring) -> Scored:
    """Score the edges of each sublayer by the mean gradient along its own path."""
    return _scored(masked, scoring, scoring.steps, "EAP-IG of activations", by_sublayer=True)
