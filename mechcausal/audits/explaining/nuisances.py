"""What is expected of a number from other columns, by learners that did not see the example: the nuisances of double ML.

    x, names = described(prompts, texts, columns=("workplace",))
    fold = folds_of(concept, clusters, 5, seed)
    expected(x, outcome, fold)                  # the best of a few learners, each fitted without the fold

Several learners are tried, and the one with the smallest error on examples that it did not see is kept. So few choices
add nothing to first order to the error of an estimate whose score is orthogonal (Chernozhukov et al. 2018; Ahrens et al.
2024).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mechcausal.audits.privacy.words import shared_words, word_counts, words_in
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.probes.kinds import Settings, fit, scores
from mechcausal.probes.labels import column_of

LENGTH = "length of the text"
_FEW = 10  # whole numbers with no more values than this are classes
_TREES, _LEAF, _SEEN = 50, 5, 100  # of a forest; it sees the first columns alone, which are the most frequent words
_PAIRED = 20  # columns whose products are looked at
_PENALTIES = {"logistic": (1.0, 0.1, 0.01), "ridge": (1.0, 0.1, 0.01, 0.001), "products": (1.0, 0.1)}  # values of C
_SHARES = (0.5, 0.25)  # of the penalty that chooses no column

Learner = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From columns and numbers to learn from, and further columns, to the numbers that are expected there."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What was expected of each example.

    Attributes:
        values: The expected number.
        learner: Which learner had the smallest error.
        r2: The share of the variance that it explains in examples that it did not see; below 0 where a constant is better.
    """

    values: np.ndarray
    learner: str
    r2: float


def expected(
    x: np.ndarray, y: np.ndarray, fold: np.ndarray, among: np.ndarray | None = None, *, classes: bool = False,
    seed: int = 0,
) -> Expected:  # fmt: skip
    """Return what the best learner expects of each example, fitted without its fold.

    Args:
        x: The columns, [example column].
        y: The numbers; of classes 1 and 0.
        fold: The fold of each example.
        among: From which examples is learned, and by which learners are compared; all unless said.
        classes: Whether a chance is expected in place of a number.
        seed: The seed of the forests.
    """
    among = np.ones(len(y), dtype=bool) if among is None else among
    spread = float(y[among].var())
    best: Expected | None = None
    for name, learner in _learners(classes, seed):
        values = held_out(learner, x, y, fold, among)
        error = float(np.mean((y - values)[among] ** 2))
        r2 = 1 - error / spread if spread > 0 else 0.0
        if best is None or r2 > best.r2 + 1e-12:
            best = Expected(values, name, r2)
    assert best is not None  # there are learners
    return best


def held_out(learner: Learner, x: np.ndarray, y: np.ndarray, fold: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return what one learner expects of each example, fitted without its fold.

    Args:
        learner: The learner.
        x: The columns, [example column].
        y: The numbers.
        fold: The fold of each example.
        among: From which examples is learned.
    """
    values = np.empty(len(y))
    for number in np.unique(fold):
        inside = fold == number
        learned = ~inside & among
        values[inside] = learner(x[learned], y[learned], x[inside])
    return values


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, C: float = 0.1) -> np.ndarray:
    """Expect what a linear function with a squared penalty says: that of a probe, solved so that many words cost less."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    return Ridge(1 / C, solver="cholesky").fit(scaler.transform(x), y).predict(scaler.transform(new))


def _constant(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    del x
    return np.full(len(new), y.mean())


def _logistic(x: np.ndarray, y: np.ndarray, new: np.ndarray, C: float) -> np.ndarray:
    return np.exp(scores(fit("logistic", x, y.astype(int), Settings(C=C)), new)[:, 1])


def _sparse(x: np.ndarray, y: np.ndarray, new: np.ndarray, share: float, classes: bool) -> np.ndarray:
    """Expect what few columns say: the lasso chooses them, and a regression with hardly a penalty reads them.

    Of many words most say nothing, and a penalty that quiets these takes too much from those that act. The penalty is a
    share of the smallest one that chooses nothing.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso
    from sklearn.preprocessing import StandardScaler

    z, centered = StandardScaler().fit_transform(x), y - y.mean()
    nothing = float(np.abs(z.T @ centered).max(initial=0.0)) / len(y)
    if nothing <= 1e-12 * max(1.0, float(np.abs(y).max())):
        return _constant(x, y, new)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the columns are chosen long before
        kept = np.flatnonzero(Lasso(share * nothing).fit(z, centered).coef_)
    if not len(kept):
        return _constant(x, y, new)
    return (_logistic if classes else ridge)(x[:, kept], y, new[:, kept], C=1.0)


def _products(x: np.ndarray, y: np.ndarray, new: np.ndarray, C: float) -> np.ndarray:
    """Expect what two columns say together: a ridge on products of the columns that go along with the number most.

    Two words of which each turns the other round are seen by no sum over words, and by a forest in many examples only.
    """
    centered, spread = x - x.mean(0), np.maximum(x.std(0), 1e-12)
    kept = np.argsort(-np.abs(centered.T @ (y - y.mean())) / spread, kind="stable")[:_PAIRED]
    first, second = np.triu_indices(len(kept), 1)

    def wide(columns: np.ndarray) -> np.ndarray:
        return np.hstack([columns[:, kept], columns[:, kept[first]] * columns[:, kept[second]]])

    return ridge(wide(x), y, wide(new), C)


def _forest(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestRegressor

    # Of ones and zeros the mean of a leaf is a share, so a regression expects chances as well.
    forest = RandomForestRegressor(_TREES, min_samples_leaf=_LEAF, max_features=1 / 3, random_state=seed % 2**32)
    return forest.fit(x[:, :_SEEN], y).predict(new[:, :_SEEN])


def _learners(classes: bool, seed: int) -> Iterator[tuple[str, Learner]]:
    yield "constant", _constant
    kind, learner = ("logistic", _logistic) if classes else ("ridge", ridge)
    for value in _PENALTIES[kind]:
        yield f"{kind}, C = {value:g}", partial(learner, C=value)
    for value in () if classes else _PENALTIES["products"]:
        yield f"products, C = {value:g}", partial(_products, C=value)
    for share in _SHARES:
        yield f"sparse, {share:g} of the penalty", partial(_sparse, share=share, classes=classes)
    yield "forest", partial(_forest, seed=seed)


def described(
    prompts: PromptSet, clusters: np.ndarray, texts: Sequence[str] = (), columns: Sequence[str] = (),
    without: Sequence[str] = (),
) -> tuple[np.ndarray, tuple[str, ...]]:  # fmt: skip
    """Return columns of numbers that describe each prompt, [example column], and their names.

    Args:
        prompts: The prompts.
        clusters: The cluster of each, a number; words of one cluster alone are not counted.
        texts: The texts whose words are counted; none are where there are none.
        columns: Declared columns: words, booleans and few whole numbers are classes, other numbers are taken as they are.
        without: Words that are not counted.
    """
    parts, names = [np.zeros((len(prompts), 0))], []
    for name in columns:
        values, titles = _coded(column_of(prompts, name), name)
        parts.append(values)
        names += titles
    if texts:
        left_out = {word.lower() for word in without}
        kept = [" ".join(word for word in words_in(text) if word not in left_out) for text in texts]
        parts.append(word_counts(kept, clusters, damped=False))
        names += [*shared_words(kept, clusters), LENGTH]
    return np.hstack(parts), tuple(names)


def _coded(values: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Return a column as numbers: one column for each class, or the number itself."""
    missing = sum(value is None or value != value for value in values.tolist())
    if missing:
        raise DataError(
            f"the column {name!r} has no value for {missing} of {len(values)} prompts, and is to be adjusted for",
            fix="fill it in, or leave these prompts out",
        )
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values.tolist()):
        numbers = values.astype(float)
        if not np.isfinite(numbers).all():
            raise DataError(f"the column {name!r} holds infinity, and is to be adjusted for")
        if len(np.unique(numbers)) > _FEW or (numbers != np.round(numbers)).any():
            return numbers[:, None], [name]
    words = np.array([str(value) for value in values.tolist()])
    classes = sorted(set(words.tolist()))
    if len(classes) > len(words) / 2:
        raise DataError(
            f"the column {name!r} has a value of its own for nearly every prompt, so nothing can be learned from it",
            got=f"{len(classes)} values of {len(words)} prompts",
        )
    return (words[:, None] == np.array(classes)).astype(float), [f"{name} {word}" for word in classes]


def differing(pairs: Contrast) -> list[str]:
    """Return the words that stand on one side of a pair alone: those of the concept, where the pairs edit it cleanly."""
    sides = [[set(words_in(text)) for text in side.texts] for side in (pairs.clean, pairs.corrupt)]
    return sorted(set().union(*(first ^ second for first, second in zip(*sides, strict=True))))
