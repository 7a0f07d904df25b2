"""What searches for an alignment share: a split by unit, values harvested once, and descent with the network frozen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Place, Selection, Site
from mechcausal.arguments import Model, Seed, checked
from mechcausal.causal.alignment.moves import gather, position_axis, scatter
from mechcausal.causal.alignment.pairs import Pairs, base_rows, draw_pairs
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import Table
from mechcausal.data.splits import split, units
from mechcausal.errors import NumericsError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import at_read_position
from mechcausal.models import bridge
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import Source, forward
from mechcausal.models.redrawn import redraw

_FLAT = 1e-5  # less than this times the widest direction is no variation
_NOISE = 1e-6  # nor is less than this times the values themselves, which is rounding


class Split(NamedTuple):
    """The rows of prompts to search on, and the rows to judge on."""

    train: np.ndarray
    test: np.ndarray


def split_for_search(prompts: PromptSet, holdout: float, seed: int) -> Split:
    """Split prompts into those to search on and those to judge on; no unit and no text is on both sides.

    Args:
        prompts: The prompts.
        holdout: The share of the prompts to judge on.
        seed: The seed of the split.
    """
    test, train = split(units(prompts), holdout, [seed, 2], of="examples", fewest=2)
    return Split(train, test)


class Moved(NamedTuple):
    """A part that is moved between runs.

    Attributes:
        part: The part.
        columns: The columns, [feature k], inside which it is moved; all of it without them.
        share: How much of it is moved, [k] along each column, else [feature] of each number; all without it.
    """

    part: Place
    columns: Tensor | None = None
    share: Tensor | None = None


class Harvest:
    """The values of places in the runs of some prompts, taken once, and the run of others with these values moved in.

    Args:
        model: The bridge.
        prompts: The prompts.
        rows: The rows whose values are wanted.
        parts: The places; every prompt has equally many of their positions.
        batch_size: How many prompts at a time.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        prompts: PromptSet,
        rows: np.ndarray,
        parts: Sequence[Place],
        *,
        batch_size: int,
    ) -> None:
        self.model, self.device = model, bridge.device_of(model)
        self.prompts = prompts.to(self.device)
        self.number = np.full(len(prompts), -1)
        self.number[rows] = np.arange(len(rows))
        places = list(dict.fromkeys((part.site.whole, part.at) for part in parts))
        kept: dict[tuple[Site, Selection], list[Tensor]] = {place: [] for place in places}

        def one_batch(index: Tensor) -> np.ndarray:
            batch = self.prompts.take(torch.as_tensor(rows)[index])
            read = forward(model, batch, read=list(dict.fromkeys(site for site, _ in places))).read
            gathered = {
                (site, at): gather(read[site], batch.select(at), axis=position_axis(site)).clone()
                for site, at in places
            }
            for place, values in gathered.items():
                kept[place].append(values)
            return np.zeros((0, len(index)))

        in_batches(len(rows), batch_size, one_batch)
        self.values = {place: torch.cat(values) for place, values in kept.items()}
        self.forwards = -(-len(rows) // batch_size)

    def width(self, part: Place) -> int:
        """Return how many features a part has."""
        return self.values[part.site.whole, part.at].shape[-1]

    def span(self, part: Place) -> Tensor:
        """Return orthonormal columns, [feature rank], of the directions in which the values of a part vary at all.

        An exchange along any other direction does nothing to these prompts, and anything to others.
        """
        values = self.values[part.site.whole, part.at]
        if part.site.head is not None:
            values = values.select(-2, part.site.head)
        exact = values.cpu().double()
        around = (exact - exact.mean(0)).reshape(-1, exact.shape[-1])
        squares, columns = torch.linalg.eigh(around.T @ around)
        least = max(_FLAT**2 * float(squares[-1]), _NOISE**2 * float(exact.square().sum()))
        return columns[:, squares > least].flip(1).to(values)

    def logits(self, base: np.ndarray, source: np.ndarray, moves: Iterable[Moved]) -> Tensor:
        """Run base rows with values of source rows inside subspaces, and keep the graph.

        Args:
            base: The rows that are run.
            source: The rows whose values are moved in; they were harvested.
            moves: What is moved.

        Returns:
            The logits at the read position, [batch vocab].
        """
        batch = self.prompts.take(torch.as_tensor(base))
        index = torch.as_tensor(self.number[source], device=self.device)
        edits, sources = [], []
        placed: dict[tuple[Site, Selection], tuple[Tensor, Tensor]] = {}
        for part, columns, share in moves:
            place = part.site.whole, part.at
            if place not in placed:
                mask = batch.select(part.at)
                placed[place] = scatter(self.values[place][index], mask, axis=position_axis(part.site)), mask
            edits.append(Edit(part.site, Patch(), part.at))
            values, mask = placed[place]
            converted = [None if tensor is None else tensor.to(values.dtype) for tensor in (columns, share)]
            sources.append(Source(values, mask, *converted))
        return at_read_position(forward(self.model, batch, edits, sources=sources, grad=True).logits, batch)


def practice(
    hypothesis: Hypothesis, table: Table, variable: str, rows: np.ndarray, n: int, seed: int
) -> Pairs:  # fmt: skip
    """Draw the pairs to search on: every second one with an answer that changes, where there are such."""
    draw = np.random.default_rng([seed, 3])
    halves = [
        draw_pairs(hypothesis, table, [variable], base_rows(n // 2 + 1, rows, draw), draw, pool=rows, changed_only=changed)
        for changed in (False, True)
    ]  # fmt: skip
    woven = lambda pick: np.stack([pick(half) for half in halves], 1).reshape(-1)[:n]  # noqa: E731
    return Pairs(
        woven(lambda half: half.base),
        {variable: woven(lambda half: half.sources[variable])},
        woven(lambda half: half.before),
        woven(lambda half: half.expected),
        woven(lambda half: half.guess),
    )


def minimize(
    model: Any,  # noqa: ANN401
    parameters: Sequence[tuple[Tensor, float]],
    objective: Callable[[int], Tensor],
    steps: int,
    *,
    progress: str,
) -> tuple[float, ...]:
    """Descend with Adam, the rate falling to zero, while the network's weights are frozen; return the losses.

    Args:
        model: The bridge.
        parameters: What is searched for, each with its rate.
        objective: From the number of the step to the loss.
        steps: How many steps.
        progress: What the progress bar says.
    """
    losses = []
    # The caller may have switched gradients off, for good or for a while.
    with torch.inference_mode(False), torch.enable_grad(), frozen(model):
        optimizer = torch.optim.Adam([{"params": [value], "lr": rate} for value, rate in parameters])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for step in tqdm(range(steps), desc=progress, unit="step", disable=None, leave=False):
            loss = objective(step)
            if not bool(torch.isfinite(loss)):
                raise NumericsError(f"the loss of step {step} is {loss.item()}", fix="lower the rate")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return tuple(losses)


@checked
def untrained(model: Model, seed: Seed = 0) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return a copy of the model with random weights, each tensor with the mean and the spread it had.

    What a search finds there is what it would find anywhere.
    """
    fresh = bridge.copied(bridge.require_bridge(model))
    fresh.cfg.model_name = f"{model.cfg.model_name}, untrained"
    redraw(fresh, seed)
    return fresh


@contextmanager
def frozen(model: Any) -> Generator[None]:  # noqa: ANN401
    """Keep the weights out of the graph while the body runs."""
    weights = [p for p in bridge.underlying(model).parameters() if p.requires_grad]
    try:
        for parameter in weights:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in weights:
            parameter.requires_grad_(True)
