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
            yield f"{error}; a reward model (scalar head) or a classifier needs neither"
            return


def in_its_unit(words: Any, chosen: Metric) -> Any:  # noqa: ANN401 - JSON data
    """Return what a question says, which speaks of log-odds, in the unit of the outcome that it was asked of.

    Args:
        words: Texts, or JSON data that holds some; examples stay as they are.
        chosen: The outcome: a reward, say, is no log-odds.
    """
    if chosen.log_odds or chosen.name == "logit_diff":
        return words
    if isinstance(words, str):
        return words.replace("the log-odds move ", f"the {chosen.name} moves ").replace("log-odds", chosen.name)
    if isinstance(words, dict):
        return {key: value if key == "examples" else in_its_unit(value, chosen) for key, value in words.items()}
    return [in_its_unit(item, chosen) for item in words] if isinstance(words, list) else words
