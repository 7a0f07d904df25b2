"""Classifiers and reward models: the network loads as one without a language-model head, and its own head is kept beside it.

    model = mc.load("folder/of/a/BertForSequenceClassification")
    mc.patch(model, pairs, metric=mc.outcome(model, "toxic"))     # the log-odds of a label
    mc.patch(model, pairs, metric=mc.outcome(reward_model))       # the reward

The head is the code of `transformers` itself, run on last hidden states: the classifier's own forward, in which the base
model is replaced by what hands these states over. So every pooling and every position that it reads is right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.arguments import Model, checked
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError, did_you_mean
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.checksum import checksum

_KEY = "_mechcausal_head"  # kept among the attributes of the bridge, so that a copy of the model takes it along
SUFFIX = "ForSequenceClassification"


class _Handing(nn.Module):
    """Stands for the base model within a classifier, and hands over the states that it was given."""

    def __init__(self, pooler: nn.Module | None) -> None:
        super().__init__()
        self.pooler = pooler
        self.states: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the base model is called
        del args, kwargs
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = self.pooler(self.states) if self.pooler is not None else None
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=self.states, pooler_output=pooled)


@dataclass
class Head:
    """The head of a classifier.

    Attributes:
        module: The classifier, with what hands states over in the place of its base model.
        labels: The names of its classes; a single one for a reward model.
    """

    module: Any
    labels: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A digest of its weights."""
        return hashlib.sha256(repr(checksum(self.module.parameters())).encode()).hexdigest()[:16]

    def __call__(self, states: Tensor, batch: PromptSet) -> Tensor:
        """Return what it says of every prompt, [batch label].

        Args:
            states: The last hidden states, [batch pos d_model].
            batch: The prompts; where they are padded on the left they are moved to the left, as the head expects.
        """
        starts = batch.starts.to(states.device)
        width = states.shape[1]
        columns = (torch.arange(width, device=states.device)[None] + starts[:, None]) % width
        states = states.gather(1, columns[..., None].expand_as(states))
        mask, tokens = (part.to(states.device).gather(1, columns) for part in (batch.mask, batch.tokens))
        unread = self.module.config.pad_token_id  # the last token that is not this one is what decoders read
        handing = getattr(self.module, self.module.base_model_prefix)
        handing.states = states
        try:
            return self.module(input_ids=torch.where(mask, tokens, unread), attention_mask=mask.long()).logits
        finally:
            handing.states = None


def is_classifier(module: Any) -> bool:  # noqa: ANN401 - a transformers model
    """Say whether this is a classifier of whole texts, or a reward model."""
    return type(module).__name__.endswith(SUFFIX) and bool(getattr(module, "base_model_prefix", ""))


def take_apart(module: Any) -> tuple[Any, Head]:  # noqa: ANN401
    """Return the base model of a classifier, which loses its pooler, and the head; the classifier is used up."""
    base = module.base_model
    pooler = getattr(base, "pooler", None)
    if pooler is not None:
        base.pooler = None
    names = getattr(module.config, "id2label", None) or {}
    count = int(module.config.num_labels)
    labels = tuple(str(names.get(number, f"LABEL_{number}")) for number in range(count))
    setattr(module, module.base_model_prefix, _Handing(pooler))
    # Padding is told from the tokens by an id that no token has.
    module.config = type(module.config).from_dict({**module.config.to_dict(), "pad_token_id": -1})
    return base, Head(module.eval().requires_grad_(False), labels)


def keep(model: Any, head: Head) -> None:  # noqa: ANN401 - a TransformerBridge
    """Keep a head with its model."""
    vars(model)[_KEY] = head


def head_of(model: Any) -> Head | None:  # noqa: ANN401 - a TransformerBridge
    """Return the head of a classifier; None for any other model."""
    return vars(bridge.require_bridge(model)).get(_KEY)


@checked
def outcome(model: Model, label: str | None = None) -> Metric:
    """Return what a classifier or a reward model says of a prompt, as a metric.

    Of a classifier it is the log-odds of a label against all others: 0 is undecided, above it the label is likelier than
    the rest together, on which scale effects of independent causes add up. Of a reward model it is the reward.

    Args:
        model: A model that was loaded from a classifier of whole texts (`...ForSequenceClassification`).
        label: The name of the label; of two labels the second unless said.

    Example:
        >>> import mechcausal as mc
        >>> mc.outcome(mc.load("organism:hiring"))
        Traceback (most recent call last):
        mechcausal.errors.UnsupportedError: organism:hiring is no classifier: use a metric such as 'logit_diff'
    """
    head = head_of(model)
    if head is None:
        raise UnsupportedError(f"{model.cfg.model_name} is no classifier", fix="use a metric such as 'logit_diff'")
    if len(head.labels) == 1:
        if label is not None:
            raise UnsupportedError(f"{model.cfg.model_name} gives one number and has no labels", fix="leave label out")
        return Metric("reward", lambda states, batch: head(states, batch)[:, 0], needs_logits=False)
    if label is None and len(head.labels) > 2:
        raise UnsupportedError(
            f"{model.cfg.model_name} has {len(head.labels)} labels", fix=did_you_mean("", head.labels)
        )
    chosen = head.labels[-1] if label is None else label
    if chosen not in head.labels:
        raise UnsupportedError(f"there is no label {chosen!r}", fix=did_you_mean(chosen, head.labels))
    number = head.labels.index(chosen)

    def log_odds(states: Tensor, batch: PromptSet) -> Tensor:
        scores = head(states, batch).float()
        others = [column for column in range(scores.shape[1]) if column != number]
        return scores[:, number] - scores[:, others].logsumexp(dim=1)

    return Metric(f"log-odds of {chosen}", log_odds, needs_logits=False, log_odds=True)
