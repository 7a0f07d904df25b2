"""How well scores tell true edges from the others: the area under the ROC curve.

The area is the chance that a true edge has the larger score of a true and a false one drawn at random, ties counting
half. A constant score gives 0.5. An edge that a method gave no score ranks below all that have one, so it is never found.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from mechcausal.errors import ResultError


def roc_auc(scores: np.ndarray, true: np.ndarray) -> float:
    """Return the area under the ROC curve of scores, whatever their sign.

    Args:
        scores: One score for each edge or node; NaN where a method gave none. The larger the absolute value, the more it
            matters.
        true: Which of them are true.
    """
    size, true = np.abs(np.asarray(scores, dtype=float)), np.asarray(true, dtype=bool)
    if size.shape != true.shape or size.ndim != 1:
        raise ResultError(
            "an area needs one score for each edge",
            got=f"{size.shape} scores of {true.shape} edges",
            expected="two lists",
        )
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        raise ResultError(
            "an area under the curve needs edges that are true and edges that are not",
            got=f"{positives} true and {negatives} others",
            fix="choose pairs that differ in what the model uses",
        )
    ranks = rankdata(np.where(np.isnan(size), -1.0, size))  # equal scores share their mean rank
    # Mann and Whitney: the number of pairs in which the true one ranks above, as a share of all pairs.
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))
