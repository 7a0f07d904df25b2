"""What an audit reads off the model: log-odds of answer against foil, a label's log-odds of a classifier, or a reward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import MechcausalError
from mechcausal.metrics import Metric, metric
from mechcausal.models.classifier import head_of, outcome


def outcome_of(model: Any, word: str = "") -> Metric:  # noqa: ANN401 - a TransformerBridge
    """Return the metric that a plan's questions read.

    Args:
        model: The model.
        word: Of a classifier the label; of a reward model nothing; of a language model a metric, log-odds unless said.
    """
    if head_of(model) is not None:
        return outcome(model, word or None)
    return metric(word or "logit_diff")


def unread(chosen: Metric, data: Any) -> Iterator[str]:  # noqa: ANN401 - pairs or prompts
    """Yield why an outcome cannot be read off data.

    Args:
        chosen: The outcome.
        data: Pairs, of which both sides are looked at, or prompts; anything else is not looked at.
    """
    sides = (data.clean, data.corrupt) if isinstance(data, Contrast) else (data,) if isinstance(data, PromptSet) else ()
    for side in sides:
        try:
            chosen.check(side)
        except MechcausalError as error:
            yield str(error)
            return
