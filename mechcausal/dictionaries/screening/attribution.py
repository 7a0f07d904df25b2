"""What every feature of a dictionary does to a metric, to first order, without the dictionary in the graph.

A feature enters what is decoded through its row of `W_dec`, so the gradient by a feature is that row times the gradient
by the activation:

    score_j = sum over tokens of  (f'_j - f_j) * (W_dec[j] . g),        g = d metric / d activation

One forward and backward of the model gives `g` for all features. Of the features only those that move at a token are
looked up there, so that 65,536 of them over a thousand tokens are a matter of seconds. A decoder that is not linear is
differentiated instead, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.arguments import Count, CountOrZero, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, NumericsError
from mechcausal.interventions.specs import Edit, Interpolate
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.attached import Bound, resolved
from mechcausal.models.engine import align, in_batches
from mechcausal.models.hooked import Source, forward, gradient_reads, gradients
from mechcausal.patching.activation import Direction
from mechcausal.patching.sweep import MetricSpec, two_sides

At = str | int | slice | Selection | None

BUDGET = 192 * 2**20
_WHOLE = 768 * 2**20  # bytes that all features of one batch may take where they are held at once
_COPIES = 4  # how many arrays of [token feature] live at once: features, their change, and what encoding leaves behind
_DENSE = 8  # gathering is for changes of which fewer than one in so many is not zero


@dataclass(frozen=True)
class Attribution:
    """First-order effects of all features of a dictionary.

    Attributes:
        scores: The mean over the examples of each part, [part feature].
        active: On how many of the tokens each feature is not zero, in the base run, [feature].
        moved: On how many tokens it would be changed, [feature].
        tokens: How many tokens were looked at.
        n: How many examples each part has.
        forwards: How many times the model was run.
        batch_size: The batch size that fitted.
    """

    scores: np.ndarray
    active: np.ndarray
    moved: np.ndarray
    tokens: int
    n: tuple[int, ...]
    forwards: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class FeatureAttributing(Method[PromptSet | Contrast, Attribution]):
    """Estimate the effect of every feature on the metric.

    Estimand: the mean over examples of `(f'_j - f_j) . d metric / d f_j`, the first-order effect of setting the feature
    to `f'_j`: its value in the other prompt of a pair, or zero where the prompts come alone. It is the gradient through
    the dictionary spliced in with its error kept (Marks et al. 2024), at the price of one forward and backward. With
    `steps` the gradient is averaged along the straight path on which the whole activation moves to that of the other
    prompt; the features and the error then share out the exact effect of patching it. Zero means no effect, negative
    that the metric falls.

    Attributes:
        dictionary: The dictionary, or its name.
        at: At which positions features are changed.
        direction: Of pairs, `"denoise"` (base corrupt) or `"noise"` (base clean).
        steps: 0 for the gradient at the base run, else the number of points on the path; for pairs only.
        metric: A metric's name, or a differentiable function of (logits, batch).
        parts: For each example the number of the part it is counted in, for example of the half by which features are
            chosen; one part by default.
        batch_size: How many prompts at a time.
        budget: How many bytes the features of one chunk of tokens may take.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> sae = mc.features.load(model, "organism:hiring")
        >>> attribute(model, mc.contrast("hiring/gender", model, n=8), sae).scores.shape
        (1, 256)
    """

    word: ClassVar[str] = "attribute_features"
    dictionary: Bound | str = field(kw_only=False)
    at: At = "all"
    direction: Direction = "denoise"
    steps: CountOrZero = 0
    metric: MetricSpec = "logit_diff"
    parts: Any = None
    batch_size: Count = 64
    budget: Count = BUDGET

    def run(self, model: Model, data: PromptSet | Contrast) -> Attribution:
        """Estimate the effects."""
        dictionary, metric, at = self._asked(model, data)
        paired = isinstance(data, Contrast)
        base, source = two_sides(data, self.direction) if paired else (data, None)
        base, source, clean = align(base, source, data.clean if paired else data)
        part = np.zeros(len(base), dtype=int) if self.parts is None else np.asarray(self.parts, dtype=int)
        if part.shape != (len(base),):
            raise DataError("every example is counted in one part", got=part.shape, expected=(len(base),))
        metric.check(base)
        base.select(at)
        job = _Job(model, dictionary, metric, at, self.steps, self.budget, int(part.max()) + 1)

        def one_batch(index: Tensor) -> np.ndarray:
            device = bridge.device_of(model)
            other = None if source is None else source.take(index).to(device)
            of_part = torch.as_tensor(part[index.numpy()], device=device)
            job.add(base.take(index).to(device), other, clean.take(index).to(device), of_part)
            return np.zeros((0, len(index)))

        # The caller may have switched gradients off, for good or for a while.
        with torch.inference_mode(False):
            _, used = in_batches(len(base), self.batch_size, one_batch, progress="screening features")
        reached = base.select(at).any(1).cpu().numpy()  # a prompt too short for the position is no example
        counts = np.bincount(part[reached], minlength=job.parts)
        scores = job.scores.cpu().numpy() / np.maximum(counts, 1)[:, None]
        if not np.isfinite(scores).all():
            raise NumericsError(
                f"the gradient at {dictionary.written} holds NaN or infinity", fix="use a smooth metric"
            )
        active, moved = job.active.cpu().numpy(), job.moved.cpu().numpy()
        return Attribution(scores, active, moved, job.tokens, tuple(counts.tolist()), job.forwards, used)

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take; a forward and its backward count as one. Nothing is run."""
        dictionary, metric, _ = self._asked(model, data)
        # The other side, the base run with its gradient at each point of the path, and the run compared with.
        runs = isinstance(data, Contrast) + max(1, self.steps) + (self.steps > 0) + metric.compares
        return Cost(dictionary.n_features, len(data), runs * len(data), dictionary.n_features * len(data))

    def _asked(self, model: Model, data: PromptSet | Contrast) -> tuple[Bound, Metric, Selection]:
        """Return the dictionary, the metric and the positions; refuse what has no gradient."""
        if self.steps and not isinstance(data, Contrast):
            raise DataError(
                "a path leads from one prompt of a pair to the other", got=f"steps {self.steps}", fix="give pairs"
            )
        metric = differentiable(self.metric)
        at_clean = self.direction == "noise" or not isinstance(data, Contrast)
        metric.require_gradient(at_reference=at_clean and self.steps == 0)
        return resolved(model, self.dictionary), metric, Selection.parse(self.at)


attribute = function(FeatureAttributing, about="Pairs, or prompts whose features are set to zero.", name="attribute")


def fitting(batch_size: int, width: int, *dictionaries: Bound) -> int:
    """Return how many prompts, of those asked for, can be held at a time with all their features."""
    largest = max(dictionary.n_features for dictionary in dictionaries)
    return max(1, min(batch_size, _WHOLE // (4 * (_COPIES + 1) * width * largest)))


def differentiable(metric: MetricSpec) -> Metric:
    """Return a metric that has a gradient."""
    chosen = metric_of(metric)
    chosen.require_gradient()
    return chosen


def slope(
    model: Any,  # noqa: ANN401
    batch: PromptSet,
    metric: Metric,
    compared: Tensor | None,
    site: Site,
    read: Sequence[Site] = (),
    path: tuple[Source, int] | None = None,
) -> tuple[Tensor, dict[Site, Tensor], int]:
    """Return d metric / d activation at a site, activations of the run, and how many runs it took.

    Args:
        model: The bridge.
        batch: The prompts.
        metric: The metric.
        compared: The logits that a comparing metric compares with.
        site: Where to differentiate.
        read: What else to read in the unedited run.
        path: The activation to which the site moves, and where it does; and the number of points at which the gradient
            is taken on the way, of which the mean is returned.
    """
    points = [None] if path is None else [(step + 0.5) / path[1] for step in range(path[1])]
    reads = list(dict.fromkeys([*gradient_reads([site]), *read]))
    total, seen, forwards = None, {}, 0
    if path is not None and read:
        seen, forwards = forward(model, batch, read=list(read)).read, 1
    for point in points:
        edits = [] if point is None else [Edit(site, Interpolate(point))]
        sources = [] if path is None else [path[0]]
        run = forward(model, batch, edits, read=reads, sources=sources, grad=True)
        with torch.enable_grad():
            gradient = gradients(run.score(metric, batch, compared).sum(), run, [site])[site]
        total = gradient if total is None else total + gradient
        seen = seen or {site_read: run.read[site_read].detach() for site_read in read}
        forwards += 1
    assert total is not None  # there is at least one point
    return total / len(points), seen, forwards


@dataclass
class _Job:
    """Gather scores batch by batch.

    Attributes:
        model: The bridge.
        dictionary: The dictionary.
        metric: The metric.
        at: Where features are changed.
        steps: How many points of the path; 0 for the base run.
        budget: How many bytes the features of one chunk may take.
        parts: How many parts there are.
    """

    model: Any
    dictionary: Bound
    metric: Metric
    at: Selection
    steps: int
    budget: int
    parts: int

    def __post_init__(self) -> None:
        device, n = bridge.device_of(self.model), self.dictionary.n_features
        self.scores = torch.zeros(self.parts, n, dtype=torch.double, device=device)
        self.active, self.moved = (torch.zeros(n, dtype=torch.long, device=device) for _ in range(2))
        self.tokens = self.forwards = 0

    def add(self, batch: PromptSet, other: PromptSet | None, clean: PromptSet, part: Tensor) -> None:
        """Add what one batch gives; nothing is kept of a batch that fails."""
        site, written = self.dictionary.site, self.dictionary.written
        compared = forward(self.model, clean).logits if self.metric.compares else None
        there: dict[Site, Tensor] = {}
        if other is not None:
            there = forward(self.model, other, read=list(dict.fromkeys((site, written)))).read
        path = (Source(there[written]), self.steps) if self.steps else None
        gradient, read, forwards = slope(self.model, batch, self.metric, compared, written, [site], path)
        chosen = batch.select(self.at) & batch.mask
        of_token = part[:, None].expand_as(chosen)[chosen]
        source = there[site][chosen] if there else None
        new = self._scored(read[site][chosen], source, gradient[chosen], of_token)
        self.scores += new[0]
        self.active += new[1]
        self.moved += new[2]
        self.tokens += int(chosen.sum())
        self.forwards += forwards + (other is not None) + self.metric.compares

    def _scored(self, x: Tensor, source: Tensor | None, slopes: Tensor, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, active, moved = (
            torch.zeros_like(self.scores),
            torch.zeros_like(self.active),
            torch.zeros_like(self.moved),
        )
        size = max(1, self.budget // (_COPIES * 4 * self.dictionary.n_features))
        for some in torch.arange(len(x), device=x.device).split(size):
            f, change = changes(self.dictionary, x[some], None if source is None else source[some])
            active += counts(f)
            moved += counts(change)
            add_scores(scores, self.dictionary, f, change, slopes[some].flatten(1), part[some], self.budget)
        return scores, active, moved


@torch.no_grad()
def changes(dictionary: Bound, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the features of activations, [token feature], and how they change: to those of the source, or to zero."""
    # Some dictionaries remember between encoding and decoding how large the activation was: the base comes last.
    new = None if source is None else dictionary.encode(source)
    f = dictionary.encode(x)
    return f, -f if new is None else new - f


def add_scores(
    out: Tensor, dictionary: Bound, f: Tensor, change: Tensor, slopes: Tensor, rows: Tensor, budget: int = BUDGET
) -> None:
    """Add `change * (W_dec . slope)` of each token to the row it belongs to.

    Args:
        out: The sums so far, [row feature].
        dictionary: The dictionary.
        f: Features, [token feature].
        change: What is added to them.
        slopes: The gradient by what is decoded, [token d_out].
        rows: For each token the row of `out`.
        budget: How many bytes what is gathered may take.
    """
    if not dictionary.linear:
        _scatter(out, change * through_decoder(dictionary, f, slopes), rows)
        return
    weight = dictionary.W_dec
    slopes = slopes.to(weight.dtype)
    if _is_dense(change):
        width = max(1, budget // (8 * max(1, len(change))))
        for low in range(0, len(weight), width):
            some = slice(low, low + width)
            _scatter(out[:, some], change[:, some] * (slopes @ weight[some].T), rows)
        return
    token, number = change.nonzero(as_tuple=True)
    values, flat = change[token, number], out.view(-1)
    for some in torch.arange(len(token), device=token.device).split(max(1, budget // (8 * weight.shape[1]))):
        share = torch.einsum("kd,kd->k", weight[number[some]], slopes[token[some]])
        at = rows[token[some]] * len(weight) + number[some]
        flat.index_add_(0, at, (values[some] * share).to(out.dtype))


def _is_dense(values: Tensor) -> bool:
    return int(torch.count_nonzero(values)) * _DENSE > values.numel()


def counts(values: Tensor) -> Tensor:
    """Return how many entries of each column are not zero."""
    if _is_dense(values):
        return torch.count_nonzero(values, dim=0)
    return torch.bincount(values.nonzero(as_tuple=True)[1], minlength=values.shape[1])


def _scatter(out: Tensor, values: Tensor, rows: Tensor) -> None:
    out.index_add_(0, rows, values.to(out.dtype))


def through_decoder(dictionary: Bound, f: Tensor, slopes: Tensor) -> Tensor:
    """Return the gradient by features from that by what they decode to, through the decoder as it is."""
    with torch.enable_grad():
        leaf = f.detach().clone().requires_grad_(True)
        made = dictionary.decode(leaf)
        if not made.requires_grad:
            raise NumericsError(f"what the dictionary {dictionary.name!r} decodes has no gradient by its features")
        return torch.autograd.grad(made, leaf, slopes.to(made.dtype))[0]
