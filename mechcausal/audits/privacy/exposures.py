"""Exposure: how many bits a model gives away of a secret (Carlini et al. 2019, The Secret Sharer).

    exposure(s) = log2 |R| - log2 rank(s)

R are the candidates and the rank counts those that are at least as likely. A secret drawn at random that the model never
saw has a uniform rank, so its exposure follows Exp(ln 2): a chance of 2^-b to reach b bits, and a mean of 1.443 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from mechcausal.arguments import Count, Model, Seed, checked
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.prompting import asked_for
from mechcausal.audits.privacy.ranks import Speller, Tree
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit

Ranking = Literal["exact", "extrapolated"]
MOST = 2_000_000
"""The largest set of candidates that is ranked exactly."""
NULL_MEAN = float(1 / np.log(2))
"""The mean exposure of secrets that the model never saw, in bits."""


def exposure_among(perplexity: float, references: ArrayLike) -> float:
    """Return the exposure of a secret among references by their log-perplexities; ties rank the references first.

    Args:
        perplexity: The log-perplexity of the secret.
        references: The log-perplexities of other secrets.

    Example:
        >>> exposure_among(3.5, range(1, 17))
        2.0
    """
    values = np.asarray(references, dtype=float)
    return float(np.log2(len(values)) - np.log2(1 + (values <= perplexity).sum()))


def extrapolated_exposure(perplexity: ArrayLike, references: ArrayLike) -> np.ndarray:
    """Return exposures from a skew-normal law fitted to the log-perplexities of references: -log2 F(perplexity).

    It reaches beyond log2 of the number of references, at the price that the law is assumed. Exact ranks need no law.

    Args:
        perplexity: The log-perplexities of the secrets.
        references: The log-perplexities of random candidates.
    """
    law = stats.skewnorm(*stats.skewnorm.fit(np.asarray(references, dtype=float)))
    return -law.logcdf(np.asarray(perplexity, dtype=float)) / np.log(2)


def null_mean_p(exposures: ArrayLike) -> float:
    """Return the chance that secrets the model never saw have a mean exposure this large.

    The sum of n exposures follows Gamma(n, 1 / ln 2); ranks are whole numbers, so the chance is slightly less.

    Args:
        exposures: The exposures in bits.
    """
    values = np.asarray(exposures, dtype=float)
    return float(stats.gamma.sf(values.sum(), len(values), scale=NULL_MEAN))


def null_largest_p(exposures: ArrayLike) -> float:
    """Return the chance that the largest of as many exposures of unseen secrets is this large."""
    values = np.asarray(exposures, dtype=float)
    return float(-np.expm1(len(values) * np.log1p(-min(1.0, 2.0 ** -values.max()))) if values.max() > 0 else 1.0)


@checked
def exposures(
    model: Model,
    canaries: Canaries,
    *,
    method: Ranking = "exact",
    references: Count = 1000,
    edits: Sequence[Edit] = (),
    batch_size: Count = 256,
    seed: Seed = 0,
) -> pd.DataFrame:
    """Measure how exposed each canary is.

    Estimand: log2 of the number of candidates less log2 of the canary's rank by the probability that the model gives
    it behind its prefix. 0 is the least likely candidate, log2 |R| the most likely; a canary that was never shown has
    1.443 on average.

    Args:
        model: The model, from `mc.load`.
        canaries: The canaries (`Canaries.read`).
        method: `"exact"` ranks among all candidates; `"extrapolated"` fits a skew-normal law to some, for sets too large.
        references: How many random candidates the law is fitted to.
        edits: Edits under which the model runs.
        batch_size: How many prefixes at a time.
        seed: The seed of the random candidates.

    Returns:
        One row for each canary: `name`, `prefix`, `secret`, `count`, `rank`, `n_candidates`, `log_probability` (nats),
        `exposure` (bits), and `evaluations`, in forwards of one token. An extrapolated exposure has no rank (NaN).

    Example:
        >>> import mechcausal as mc
        >>> from mechcausal.audits.privacy.canaries import SHIPPED
        >>> table = exposures(mc.load("organism:hiring"), SHIPPED["hiring_secret"](0).take([0]))
        >>> table["rank"].tolist()
        [1.0]
    """
    ranker = Ranker(model, canaries, method, references, edits, batch_size, seed)
    return pd.DataFrame([ranker.row(number) for number in range(len(canaries))])


def tokens_of(model: Any, canaries: Canaries) -> float:  # noqa: ANN401 - a TransformerBridge
    """Return how many tokens stand before a secret, on average."""
    return float(asked_for(model, canaries, canaries.prompts).lengths.float().mean())


def forwards_of_a_rank(model: Any, canaries: Canaries, method: Ranking, references: int) -> float:  # noqa: ANN401
    """Return how many forwards of one prompt it takes at most to rank one canary; a prefix of the secret is one token.

    Args:
        model: The model.
        canaries: The canaries, one of which stands for all.
        method: How it is ranked.
        references: How many random candidates there are where it is extrapolated.
    """
    choices = canaries.candidates if method == "exact" else canaries.candidates.draw(references, 0)
    endings = Speller(model, choices)(canaries.prompts[0]).endings
    alone = endings.tokens.shape[1] if method == "exact" else 0  # the secret by itself
    prefixes = endings.evaluations - 1 + max(0, alone - 1)
    return 1 + bool(alone) + prefixes / tokens_of(model, canaries)


class Ranker:
    """Measures one canary after another; see `exposures`."""

    def __init__(
        self, model: Any, canaries: Canaries, method: Ranking = "exact", references: int = 1000,  # noqa: ANN401
        edits: Sequence[Edit] = (), batch_size: int = 256, seed: int = 0, prompts: Sequence[str] | None = None,
        reference: PromptSet | None = None, speller: Speller | None = None,
    ) -> None:  # fmt: skip
        self.canaries, self.method = canaries, method
        self.prompts = canaries.prompts if prompts is None else prompts
        if method == "exact" and len(canaries.candidates) > MOST:
            raise DataError(
                "there are too many candidates to rank exactly", got=f"{len(canaries.candidates):.3g}",
                expected=f"at most {MOST:,}", fix='method="extrapolated"',
            )  # fmt: skip
        self._drawn = [] if method == "exact" else canaries.candidates.draw(references, seed)
        self._speller = speller or Speller(model, canaries.candidates if method == "exact" else self._drawn)
        self._model = model
        self.tree = Tree(model, edits, batch_size, reference)

    def row(self, number: int) -> dict[str, Any]:
        """Return the row of one canary."""
        canaries, before = self.canaries, self.tree.evaluations
        size = len(canaries.candidates)
        if self.method == "exact":
            rank, logprob = self.tree.rank(
                self._speller(self.prompts[number]), canaries.candidates.number(canaries.secrets[number])
            )
            exposure = float(np.log2(size) - np.log2(rank))
        else:
            rank, logprob, exposure = float("nan"), *self._extrapolated(number)
        return {
            "name": canaries.names[number], "prefix": canaries.prefixes[number], "secret": canaries.secrets[number],
            "count": canaries.counts[number], "rank": float(rank), "n_candidates": size, "log_probability": logprob,
            "exposure": exposure, "evaluations": self.tree.evaluations - before,
        }  # fmt: skip

    def _extrapolated(self, number: int) -> tuple[float, float]:
        """Return the log-probability and the exposure of a canary by the law of random candidates."""
        texts = [self.canaries.secrets[number], *self._drawn]
        logprobs = self.tree.log_probabilities(Speller(self._model, texts)(self.prompts[number]))
        return float(logprobs[0]), float(extrapolated_exposure(-logprobs[0], -logprobs[1:]))
