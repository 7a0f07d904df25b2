"""Constants that stand in for senders with the least loss: optimal ablation (Li and Janson 2024).

Of each sender by itself: the constant a that minimizes the mean divergence from the clean run of the run in which every
edge from this sender carries a. The mean is where the search begins, and a constant that does no better than it is not taken.
So what an edge loses under it is what no constant could have replaced.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import ALL
from mechcausal.circuits.edges.alternatives import Alternative, means
from mechcausal.circuits.edges.inputs import Inputs
from mechcausal.circuits.edges.run import Cutting
from mechcausal.circuits.edges.tiles import EMBEDDING, Tile, contributions, recorded
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.metrics import metric as metric_of

_ROWS = 32  # prompts in a step


def optimal(
    inputs: Inputs,
    wiring: Wiring,
    prompts: PromptSet,
    *,
    steps: int = 60,
    rate: float = 0.2,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """Return a constant for each sender, [sender model], and how far the divergence falls below that of the means.

    Args:
        inputs: The senders of the model.
        wiring: Its edges.
        prompts: The prompts whose runs are to stay what they are.
        steps: How many steps of Adam each layer gets.
        rate: Its rate at first, in standard deviations of what a sender adds; it falls to zero.
        seed: The seed of the batches.
        progress: Whether a progress bar is shown.
    """
    start = means(inputs, [prompts], per_position=False)
    size = _spreads(inputs, prompts, start)
    best, draw = start.clone(), np.random.default_rng([seed, 59])
    layers = range(EMBEDDING, len(inputs.layers))
    before, after = np.zeros(len(wiring.senders)), np.zeros(len(wiring.senders))
    for layer in tqdm(layers, desc="optimal constants", disable=None if progress else True, leave=False):
        senders = slice(0, 1) if layer == EMBEDDING else wiring.senders_of(layer)
        moved = torch.zeros_like(start[senders], requires_grad=True)
        optimizer = torch.optim.Adam([moved], lr=rate)
        fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
        for _ in range(steps):
            rows = np.sort(draw.permutation(len(prompts))[:_ROWS])
            with torch.inference_mode(False), torch.enable_grad():
                constants = start.clone()
                constants[senders] = start[senders] + moved * size[senders]
                loss = _losses(inputs, wiring, prompts, rows, constants, senders, layer).sum()
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            fall.step()
        with torch.no_grad():
            learned = start.clone()
            learned[senders] = start[senders] + moved.detach() * size[senders]
            for values, constants in ((before, start), (after, learned)):
                values[senders] = _mean_losses(inputs, wiring, prompts, constants, senders, layer)
            better = torch.as_tensor(after[senders] < before[senders])
            best[senders] = torch.where(better[:, None], learned[senders], start[senders])
    after = np.minimum(after, before)
    return best, {"divergence_of_means": float(before.mean()), "divergence_of_constants": float(after.mean())}


def learned_alternative(
    inputs: Inputs, wiring: Wiring, pairs: Contrast, reference: Contrast | PromptSet | None, seed: int
) -> Alternative:
    """Return the optimal constants on clean prompts, learned once for the same prompts of one model.

    Args:
        inputs: The senders of the model.
        wiring: Its edges.
        pairs: The pairs that are run; their clean prompts are learned from if there is no reference.
        reference: Other prompts to learn from.
        seed: The seed of the batches.
    """
    pool = pairs if reference is None else reference
    prompts = pool.clean if isinstance(pool, Contrast) else pool
    cache, key = _known.setdefault(inputs, {}), (prompts.hash, seed, weights_of(inputs))
    if key not in cache:
        cache[key] = optimal(inputs, wiring, prompts, seed=seed, progress=True)
    constants, about = cache[key]
    return Alternative(
        "optimal", constants=constants, about={"optimal_constants": {**about, "learned_on": prompts.hash}}
    )


def weights_of(inputs: Inputs) -> float:
    """Return a number that changes with the weights, which may be redrawn in place."""
    with torch.no_grad():
        return float(sum(weight.double().abs().sum() for weight in inputs.twin.model.parameters()))


_known: WeakKeyDictionary[Inputs, dict[tuple[str, int, float], tuple[Tensor, dict[str, float]]]] = WeakKeyDictionary()


def _losses(
    inputs: Inputs, wiring: Wiring, prompts: PromptSet, rows: np.ndarray, constants: Tensor, senders: slice, layer: int
) -> Tensor:
    """Return the mean divergence with each sender of a layer replaced by its constant, [sender]."""
    tile = Tile.of(
        inputs, rows, prompts.take(rows.tolist()), Alternative("optimal", constants=constants), metric_of("kl"), (ALL,)
    )
    numbers = range(len(wiring.senders))[senders]
    cut = torch.zeros(len(numbers), *wiring.possible.shape, 1, device=inputs.device)
    for variant, number in enumerate(numbers):
        cut[variant, number] = torch.as_tensor(wiring.possible[number], device=inputs.device).float()[:, None]
    return Cutting(tile, wiring, cut, max(layer, 0)).scores().mean(1)


def _mean_losses(
    inputs: Inputs, wiring: Wiring, prompts: PromptSet, constants: Tensor, senders: slice, layer: int
) -> np.ndarray:
    """Return what `_losses` does over all prompts, [sender]."""
    total = np.zeros(len(range(len(wiring.senders))[senders]))
    for low in range(0, len(prompts), _ROWS):
        rows = np.arange(low, min(low + _ROWS, len(prompts)))
        losses = _losses(inputs, wiring, prompts, rows, constants, senders, layer)
        total += losses.cpu().numpy() * len(rows) / len(prompts)
    return total


@torch.no_grad()
def _spreads(inputs: Inputs, prompts: PromptSet, centers: Tensor) -> Tensor:
    """Return how far what each sender adds lies from its mean, as root mean square over coordinates, [sender 1]."""
    total, count = torch.zeros(len(centers)), 0
    for low in range(0, len(prompts), _ROWS):
        batch = prompts.take(list(range(low, min(low + _ROWS, len(prompts))))).to(inputs.device)
        base = recorded(inputs, batch)
        added = torch.cat([contributions(inputs, base, layer) for layer in range(EMBEDDING, len(inputs.layers))], dim=2)
        away = torch.square(added.cpu() - centers).mean(-1) * batch.mask[..., None].cpu()
        total, count = total + away.sum((0, 1)), count + int(batch.mask.sum())
    return (total / count).sqrt().clamp(min=1e-6)[:, None]
