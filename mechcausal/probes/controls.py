"""What a probe would reach without the concept: control tasks, shuffled labels, and the length of the shortest message.

Three questions that an accuracy leaves open. Would the probe learn anything at all there (Hewitt and Liang 2019: labels
drawn at random for each *type* of input)? Would chance do as well (labels shuffled over clusters)? And how much work
is it to read the concept off (Voita and Titov 2020: bits to send the labels to someone who has the activations)?
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from mechcausal.errors import DataError
from mechcausal.probes.held_out import best_settings, cross_validate
from mechcausal.probes.kinds import Settings, fit, scores, strengths

DRAWS = 5  # control tasks
_ENOUGH = 64  # examples from which a penalty is chosen among several


@dataclass(frozen=True)
class Selectivity:
    """How much better the concept is read than labels without meaning.

    Attributes:
        control: The held-out accuracy on control tasks, their mean; NaN where types do not allow one.
        selectivity: The held-out accuracy on the concept minus that.
        types: How many types of input there are.
    """

    control: float
    selectivity: float
    types: int


@dataclass(frozen=True)
class Description:
    """The online code: labels are sent block after block, each with the probe fitted to the blocks before.

    Attributes:
        bits: The length of the message per label.
        uniform: The length without any probe: log2 of the number of classes.
        blocks: How many blocks there were.
    """

    bits: float
    uniform: float
    blocks: int

    @property
    def compression(self) -> float:
        """How many times shorter than without a probe; 1 or less where nothing can be read."""
        return self.uniform / self.bits


@dataclass(frozen=True, eq=False)
class Null:
    """What exchanged labels reach.

    Attributes:
        p: The chance of a score as high as the observed one under the null hypothesis, never zero.
        scores: The held-out balanced accuracy of every exchange, or R2 where numbers are read.
    """

    p: float
    scores: np.ndarray


def selectivity(
    kind: str,
    x: np.ndarray,
    y: np.ndarray,
    types: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    draws: int = DRAWS,
    folds: int = 5,
    settings: Settings | None = None,
    seed: int = 0,
) -> Selectivity:
    """Compare the held-out accuracy with that on control tasks, in which every type has a random class.

    A control task can only be learned by knowing the types, which is what a probe with much capacity does. Where there
    are few types, or the concept is a function of them, the control is as easy as the concept, and selectivity is zero:
    the probe may read the type alone.

    Args:
        kind: The kind of probe.
        x: The activations, [example feature].
        y: The classes, [example].
        types: The type of each example, a number (the token that is read, the name of a person).
        clusters: The cluster of each example.
        draws: How many control tasks.
        folds: How many folds.
        settings: How probes are fitted.
        seed: The seed of the draws.
    """
    real = cross_validate(kind, x, y, clusters, folds=folds, settings=settings, seed=seed).hits.mean()
    names, type_of = np.unique(types, return_inverse=True)
    shares = np.bincount(y) / len(y)
    draw = np.random.default_rng([seed, 2])
    reached = []
    for _ in range(draws):
        made = _control_labels(type_of, len(names), shares, draw)
        if made is None:
            return Selectivity(np.nan, np.nan, len(names))
        try:
            held_out = cross_validate(kind, x, made, clusters, folds=folds, settings=settings, seed=seed)
        except DataError:  # a class of this draw cannot be held out: too few clusters have it
            continue
        reached.append(held_out.hits.mean())
    control = float(np.mean(reached)) if reached else np.nan
    return Selectivity(control, float(real - control), len(names))


def _control_labels(
    type_of: np.ndarray, n_types: int, shares: np.ndarray, draw: np.random.Generator
) -> np.ndarray | None:
    """Return a random class for each type, drawn from the shares of the classes; at least two classes occur."""
    if n_types < 2:
        return None
    for _ in range(1000):
        classes = draw.choice(len(shares), size=n_types, p=shares)
        if len(np.unique(classes)) > 1:
            return np.unique(classes[type_of], return_inverse=True)[1]
    return None


def online_code(
    kind: str,
    x: np.ndarray,
    y: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    settings: Settings | None = None,
    seed: int = 0,
) -> Description:
    """Return the length of the online code of the labels given the activations, in bits per label.

    Clusters are sent in random order, and each block is as long as all before it together. Until every class has been
    sent, labels cost log2 of the number of classes.

    Args:
        kind: The kind of probe.
        x: The activations, [example feature].
        y: The classes, [example].
        clusters: The cluster of each example: it is sent as a whole.
        settings: How probes are fitted.
        seed: The seed of the order.
    """
    n_classes = int(y.max()) + 1
    clusters, settings = np.arange(len(y)) if clusters is None else clusters, settings or Settings()
    order = _shuffled(clusters, np.random.default_rng([seed, 3]))
    x, y, clusters = x[order], y[order], clusters[order]
    ends = _block_ends(y, clusters)
    bare = replace(settings, C=min(strengths(settings)))  # too few examples to choose by
    uniform = float(np.log2(n_classes))
    total = ends[0] * uniform
    for begin, end in itertools.pairwise(ends):
        chosen = (
            best_settings(kind, x[:begin], y[:begin], clusters[:begin], settings, seed) if begin >= _ENOUGH else bare
        )
        log_probabilities = scores(fit(kind, x[:begin], y[:begin], chosen), x[begin:end])
        total -= log_probabilities[np.arange(end - begin), y[begin:end]].sum() / np.log(2)
    return Description(float(total / len(y)), uniform, len(ends))


def _shuffled(clusters: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    rank = draw.permutation(int(clusters.max()) + 1)[clusters]
    return np.argsort(rank, kind="stable")


def _block_ends(y: np.ndarray, clusters: np.ndarray) -> list[int]:
    """Return where blocks end: first when every class has been seen, then at each doubling, never inside a cluster."""
    seen = max(int(np.flatnonzero(y == c)[0]) for c in np.unique(y)) + 1
    ends = [max(seen, min(8, len(y)))]
    while ends[-1] < len(y):
        ends.append(2 * ends[-1])
    edges = np.append(np.flatnonzero(np.diff(clusters)) + 1, len(y))
    moved = [int(edges[np.searchsorted(edges, min(end, len(y)))]) for end in ends]
    return list(dict.fromkeys(moved))


def shuffle_labels(y: np.ndarray, clusters: np.ndarray | None, draw: np.random.Generator) -> np.ndarray:
    """Return labels that mean nothing but hang together as the given ones do.

    Clusters of one class exchange their labels. Any other cluster exchanges its classes as a whole: all its examples of
    one class get another of its classes. So each cluster may answer to the label in a way of its own, as the null
    hypothesis allows; shuffled example by example, such answers would look like the concept.
    """
    if clusters is None:
        return draw.permutation(y)
    _, first, index = np.unique(clusters, return_index=True, return_inverse=True)
    n_classes = int(y.max()) + 1
    occurs = np.zeros((len(first), n_classes), dtype=bool)  # which cluster has which class
    occurs[index, y] = True
    renamed = np.tile(np.arange(n_classes), (len(first), 1))
    for cluster in np.flatnonzero(occurs.sum(1) > 1):
        classes = np.flatnonzero(occurs[cluster])
        renamed[cluster, classes] = draw.permutation(classes)
    alike = np.flatnonzero(occurs.sum(1) == 1)
    renamed[alike, y[first[alike]]] = draw.permutation(y[first[alike]])
    return renamed[index, y]


def permutation_null(
    kind: str,
    x: np.ndarray,
    y: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    draws: int = 99,
    folds: int = 5,
    settings: Settings | None = None,
    seed: int = 0,
) -> Null:
    """Return how often exchanged labels are read as well as the true ones; all is done again for each exchange.

    The score is the held-out balanced accuracy, because an exchange may change how frequent the classes are.

    Args:
        kind: The kind of probe.
        x: The activations, [example feature].
        y: The classes, [example].
        clusters: The cluster of each example.
        draws: How many exchanges; the smallest p is 1 / (draws + 1).
        folds: How many folds.
        settings: How probes are fitted.
        seed: The seed of folds and shuffles.
    """
    if draws < 1:
        raise DataError("a permutation test needs at least one shuffle", got=draws)

    def reached(labels: np.ndarray) -> float:
        held_out = cross_validate(kind, x, labels, clusters, folds=folds, settings=settings, seed=seed)
        return held_out.balanced_accuracy

    observed, draw = reached(y), np.random.default_rng([seed, 4])
    null = np.array([reached(shuffle_labels(y, clusters, draw)) for _ in range(draws)])
    p = (1 + int((null >= observed - 1e-12).sum())) / (draws + 1)
    return Null(float(p), null)
