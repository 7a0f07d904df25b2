"""Effects on the scale of odds, from stored probabilities: a view that agrees with Vig et al. (2020) to the last digit.

    effects = audit.stored_effects("winobias_gpt2_unfiltered_dev.json")
    effects.mean("te"), effects.heads().head()

With y(x) = p(candidate 2) / p(candidate 1) after the prompt x, and x' the prompt with the attribute swapped:

    TE = y(x') / y(x) - 1      NIE(M) = y(x, M(x')) / y(x) - 1      NDE(M) = y(x', M(x)) / y(x) - 1

On this scale the parts need not add up to TE, and a mean over examples that were chosen because their odds rise is large in
any network: the published total effect of GPT-2 rests on such a choice, and the same choice finds one in random weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.arguments import checked, described
from mechcausal.audits.estimate import Estimate
from mechcausal.errors import DataError, shortened
from mechcausal.results.multiplicity import benjamini_hochberg, max_t, t_test

WHAT = ("te", "nie", "nde")


@dataclass(frozen=True, eq=False)
class StoredEffects:
    """Effects of every example on the scale of odds.

    Attributes:
        te: The total effect of each example.
        nie: The indirect effect through all mediators together; empty where it was not stored.
        nde: The direct effect past all of them; empty where it was not stored.
        nie_by_head: The indirect effect through each head, [example layer head]; empty where it was not stored.
        facts: What else the file says of the run.
    """

    te: np.ndarray
    nie: np.ndarray
    nde: np.ndarray
    nie_by_head: np.ndarray
    facts: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.te)

    def mean(self, what: str = "te") -> float:
        """Return the mean of `te`, `nie` or `nde`."""
        return float(getattr(self, self._named(what)).mean())

    def estimate(self, what: str = "te") -> Estimate:
        """Return the mean of `te`, `nie` or `nde` with its interval over examples."""
        return Estimate.mean(getattr(self, self._named(what)))

    def heads(self, seed: int = 0) -> pd.DataFrame:
        """Return one row for each head, the largest effect first, with p-values of "its effect is zero".

        `q` is that of Benjamini and Hochberg, `p_max` that of step-down max-T under sign flips; the heads are the family.

        Args:
            seed: The seed of the sign flips.
        """
        if self.nie_by_head.ndim != 3:
            raise DataError("no effects of heads were stored", fix="read a file that has indirect_effect_head")
        n, layers, heads = self.nie_by_head.shape
        values = self.nie_by_head.reshape(n, -1).T
        p = t_test(values)[1]
        frame = pd.DataFrame(
            {
                "layer": np.repeat(np.arange(layers), heads), "head": np.tile(np.arange(heads), layers),
                "nie": values.mean(1), "p": p, "q": benjamini_hochberg(p), "p_max": max_t(values, seed=seed),
            }
        )  # fmt: skip
        return frame.sort_values("nie", ascending=False, kind="stable").reset_index(drop=True)

    @staticmethod
    def _named(what: str) -> str:
        if what not in WHAT:
            raise DataError(f"there is no effect {what!r}", expected=", ".join(WHAT))
        return what


@checked
def odds_effects(
    base: Any,  # noqa: ANN401 - two columns of probabilities
    swapped: Any,  # noqa: ANN401
    through: Any = None,  # noqa: ANN401
    past: Any = None,  # noqa: ANN401
) -> StoredEffects:
    """Return effects on the scale of odds from probabilities of two candidates.

    Estimands: see the head of this module. An effect of 0 is none, 1 doubles the odds of the second candidate, -0.5 halves
    them.

    Args:
        base: The probabilities of the first and the second candidate after each prompt, [example 2].
        swapped: The same after the prompt with the attribute swapped.
        through: The same after the prompt with the mediator as in the swapped one.
        past: The same after the swapped prompt with the mediator as in the other.

    Example:
        >>> from mechcausal import audit
        >>> effects = audit.odds_effects([[0.2, 0.1]], [[0.1, 0.1]], through=[[0.2, 0.15]])
        >>> effects.te.tolist(), effects.nie.round(12).tolist()
        ([1.0], [0.5])
    """
    start = _odds(base, "base")
    effects = []
    for name, value in (("swapped", swapped), ("through", through), ("past", past)):
        odds = np.array([]) if value is None and name != "swapped" else _odds(value, name)
        if len(odds) not in (0, len(start)):
            raise DataError(f"{name} and base differ in length", got=f"{len(odds)} and {len(start)}")
        effects.append(odds / start - 1 if len(odds) else odds)
    return StoredEffects(effects[0], effects[1], effects[2], np.array([]), {})


@checked
def stored_effects(path: str | Path) -> StoredEffects:
    """Read a file of results in the format of Vig et al. (2020): total effects from probabilities, the others as stored.

    Args:
        path: The file: `results`, each with `candidate1_base_prob` and so on, and `indirect_effect_head`.
    """
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = content["results"]
        sides = [
            [[float(row[f"candidate{number}_{when}_prob"]) for number in (1, 2)] for row in rows]
            for when in ("base", "alt")
        ]
        total = odds_effects(*sides).te
        stored = [
            np.array([row[name] for row in rows if name in row], dtype=float)
            for name in ("indirect_effect_model", "direct_effect_model", "indirect_effect_head")
        ]
    except FileNotFoundError:
        raise DataError(f"there is no file {file}") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file.name} holds no stored effects", got=shortened(f"{type(error).__name__}: {error}"),
            expected="the format of Vig et al. (2020)",
        ) from None  # fmt: skip
    for effects in stored:
        if len(effects) not in (0, len(rows)):
            raise DataError(f"{file.name} lacks effects of some examples", got=len(effects), expected=len(rows))
    return StoredEffects(total, *stored, {name: value for name, value in content.items() if name != "results"})


def _odds(values: Any, name: str) -> np.ndarray:  # noqa: ANN401
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        got = described(values) if not array.size else array.shape
        raise DataError(f"{name} holds no probabilities of two candidates", got=got, expected="two for each example")
    if not ((array > 0) & (array <= 1)).all():
        raise DataError(f"{name} holds numbers that are no probabilities", expected="above 0, and at most 1")
    return array[:, 1] / array[:, 0]
