"""Tuned lenses: for every layer an affine map to the last stream, fitted on some prompts and judged on others.

Belrose et al. 2023, "Eliciting latent predictions from transformers with the tuned lens": the stream `h` of a layer is
read as `unembed(h + A h + b)`. Here A and b are fitted in closed form: ridge regression of the change from `h` to the
last stream, each token weighted by the inverse square of the length of its last stream, because the final norm takes
the length away. The penalty is the one with which the KL divergence to the model's output is smallest on prompts that
were set aside; the logit lens itself (A = 0, b = 0) is among the candidates. `steps` more are taken down the gradient of
the KL divergence. The last layer is read as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import split, units
from mechcausal.inspection.divergence import Output
from mechcausal.inspection.streams import streams
from mechcausal.inspection.unembedding import Unembedding

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # shares of the mean variance of the stream
_JUDGED = 192  # tokens on which a penalty is chosen, at most
_BATCH = 128  # tokens of a gradient step


@dataclass(frozen=True, eq=False)
class Translators:
    """The maps of a tuned lens.

    Attributes:
        maps: For each site its matrix, [model model], and its shift, [model]; sites without are read as they are.
        penalties: The penalty that was chosen for each; infinite for the logit lens.
        n_tokens: How many tokens they were fitted to.
    """

    maps: Mapping[Site, tuple[Tensor, Tensor]]
    penalties: Mapping[Site, float] = field(default_factory=dict)
    n_tokens: int = 0

    def __call__(self, site: Site, stream: Tensor) -> Tensor:
        """Return the stream of a site as the last stream is expected to be, [... model]."""
        if site not in self.maps:
            return stream
        matrix, shift = self.maps[site]
        return stream + stream @ matrix + shift


def fit(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    unembed: Unembedding,
    prompts: PromptSet,
    sites: Sequence[Site],
    last: Site,
    *,
    steps: int,
    seed: int,
    batch_size: int,
) -> Translators:
    """Fit a tuned lens.

    Args:
        model: The bridge.
        unembed: Its unembedding.
        prompts: The prompts to learn from; a quarter of their clusters choose the penalty.
        sites: The sites whose streams are translated.
        last: The site of the last stream.
        steps: How many steps of gradient descent follow the regression.
        seed: The seed of the split and of the order of tokens.
        batch_size: How many prompts are run at a time.
    """
    inner = split(units(prompts), 0.75, [seed, 17], what="prompts to fit a tuned lens on")
    values = streams(model, prompts, list(dict.fromkeys([*sites, last])), batch_size)
    mask = prompts.padded(prompts.tokens.shape[1], "right").mask
    learn, judge = ((values[last][rows][mask[rows]]) for rows in map(torch.as_tensor, inner))
    draw = torch.Generator().manual_seed(seed)
    few = torch.randperm(len(judge), generator=draw)[:_JUDGED]
    output = Output(unembed, judge[few])
    maps: dict[Site, tuple[Tensor, Tensor]] = {}
    penalties: dict[Site, float] = {}
    for site in tqdm(
        [site for site in sites if site != last], desc="tuned lens", unit="layer", disable=None, leave=False
    ):
        here, there = ((values[site][rows][mask[rows]]) for rows in map(torch.as_tensor, inner))
        candidates = {float("inf"): _nothing(here)} | _ridge(here, learn)
        losses = {
            penalty: float(output.divergence(_apply(pair, there[few])).mean()) for penalty, pair in candidates.items()
        }
        best = min(losses, key=lambda penalty: losses[penalty])
        pair, penalties[site] = candidates[best], best
        if steps:
            pair = _descended(pair, here, learn, there[few], output, losses[best], steps, draw)
        maps[site] = pair
    return Translators(maps, penalties, len(learn))


def _kl(read: Tensor, final: Tensor) -> Tensor:
    return (final.exp() * (final - read)).sum(-1)


def _nothing(stream: Tensor) -> tuple[Tensor, Tensor]:
    width = stream.shape[-1]
    return stream.new_zeros(width, width), stream.new_zeros(width)


def _apply(pair: tuple[Tensor, Tensor], stream: Tensor) -> Tensor:
    return stream + stream @ pair[0] + pair[1]


def _ridge(stream: Tensor, last: Tensor) -> dict[float, tuple[Tensor, Tensor]]:
    """Return the maps of each penalty, from one eigendecomposition."""
    x, y = stream.double(), (last - stream).double()
    weight = 1 / last.double().square().mean(-1, keepdim=True).clamp(min=1e-12)
    weight = weight / weight.sum()
    middle, target = (weight * x).sum(0), (weight * y).sum(0)
    around, aim = x - middle, y - target
    spread, vectors = torch.linalg.eigh(around.T @ (weight * around))
    crossed = vectors.T @ (around.T @ (weight * aim))
    typical = spread.clamp(min=0).mean().clamp(min=1e-12)
    maps = {}
    for penalty in _PENALTIES:
        matrix = vectors @ (crossed / (spread.clamp(min=0) + penalty * typical)[:, None])
        maps[penalty] = matrix.to(stream.dtype), (target - middle @ matrix).to(stream.dtype)
    return maps


def _descended(
    pair: tuple[Tensor, Tensor],
    stream: Tensor,
    last: Tensor,
    there: Tensor,
    output: Output,
    loss: float,
    steps: int,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the map after gradient steps, or as it was if they made it no better on the prompts set aside."""
    unembed = output.unembed
    matrix, shift = (part.clone().requires_grad_(True) for part in pair)
    size = float(stream.square().mean().sqrt().clamp(min=1e-6))
    optimizer = torch.optim.Adam([{"params": [matrix], "lr": 1e-3}, {"params": [shift], "lr": 1e-2 * size}])
    for _ in range(steps):
        rows = torch.randint(0, len(stream), (min(_BATCH, len(stream)),), generator=draw)
        with torch.enable_grad():
            read = unembed.with_gradient(stream[rows] + stream[rows] @ matrix + shift)
            mean = _kl(read.log_softmax(-1), unembed(last[rows]).log_softmax(-1)).mean()
            optimizer.zero_grad()
            mean.backward()
        optimizer.step()
    made = matrix.detach(), shift.detach()
    reached = float(output.divergence(_apply(made, there)).mean())
    return made if reached < loss else pair
