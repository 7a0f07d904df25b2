"""Metrics: `(logits, batch) -> one number per example`, read at each prompt's read position.

`logit_diff` (the default) is the log-odds of answer against foil, the scale on which total effects decompose
exactly. A metric of your own is any function with the same signature.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechcausal.data.checking import check_answers
from mechcausal.data.forced import several_tokens
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, MechcausalError, shortened
from mechcausal.metrics.answers import Kind, continuation, is_written, one_each, writes
from mechcausal.registry import Registry

Reads = Literal["answers", "position", "continuation", "all"]
MetricFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Metric:
    """A named metric and what it needs.

    Attributes:
        name: How it is called in results.
        function: `(logits, batch)`, or `(logits, batch, reference)` where it compares with the base run.
        needs: The `PromptSet` fields it reads.
        compares: Whether it is given the logits of the unedited run as third argument.
        reads: Which logits it looks at: those of the answer and the foil at the read position (`"answers"`), all of that
            position (`"position"`), those of each token of an answer that is written behind its prompt
            (`"continuation"`), or any (`"all"`, as for a function of your own).
        differentiable: Whether it has a gradient by the logits.
        flat_at_reference: Whether its gradient is zero at the run it compares with, so that a first-order estimate from
            there says nothing.
        log_odds: Whether it is a difference of log-odds, on which effects of independent causes add up.
        answers: What it is of the log-probabilities of whole answers, where these may be several tokens or sets of texts.
        needs_logits: Whether it reads logits. A function of your own is given the last hidden state instead, [batch pos
            d_model], by a model that has no language-model head.
    """

    name: str
    function: MetricFunction
    needs: tuple[str, ...] = ()
    compares: bool = False
    reads: Reads = "all"
    differentiable: bool = True
    flat_at_reference: bool = False
    log_odds: bool = False
    needs_logits: bool = True
    answers: Kind | None = None

    @property
    def reads_one_position(self) -> bool:
        """Whether it looks at the logits of the read position alone; a function of your own may look anywhere."""
        return self.reads in ("answers", "position")

    @property
    def hides_nan(self) -> bool:
        """Whether its values can be finite where the logits are not: what is likeliest, and any function of your own."""
        return not self.differentiable or not self.needs_logits

    @property
    def piece(self) -> Metric:
        """What is measured on each row of forced prompts, of which `combined` makes this metric."""
        if self.answers is None:
            raise DataError(f"the metric {self.name!r} does not score whole answers")
        function, smooth = (writes, False) if self.answers == "written" else (continuation, True)
        return Metric(f"{self.name} of each answer", function, reads="continuation", differentiable=smooth)

    def forces(self, prompts: PromptSet) -> bool:
        """Say whether it needs a row for each answer of these prompts, because they are several tokens."""
        return self.answers is not None and prompts.forced is None and several_tokens(prompts)

    def __call__(self, logits: Tensor, batch: PromptSet, reference: Tensor | None = None) -> Float[Tensor, " batch"]:
        """Return one number per example."""
        if self.forces(batch):
            raise DataError(
                f"the metric {self.name!r} is asked of answers of several tokens, which this method does not score",
                fix="use patch, ablate, attribute, path_patch, link, scrub, mediate or measure, or answers of one token",
            )
        values = _called(self, logits, batch, reference)
        if not isinstance(values, Tensor) or values.shape != (len(batch),):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise MechcausalError(
                f"the metric {self.name!r} must return one number per example", got=got, expected=(len(batch),)
            )
        if not self.hides_nan:
            return values
        values = values if values.is_floating_point() else values.float()
        return values.masked_fill(~self._is_finite(logits, batch), math.nan)

    def _is_finite(self, logits: Tensor, batch: PromptSet) -> Bool[Tensor, " batch"]:
        """Say which examples have numbers wherever they are read."""
        read = at_read_position(logits, batch) if self.reads_one_position else logits
        finite = is_finite(read)
        if finite.shape == batch.mask.shape:  # padding is not read
            finite = finite | ~batch.mask.to(finite.device)
        return finite.reshape(len(batch), -1).all(1)

    def check(self, prompts: PromptSet) -> None:
        """Say what is missing if these prompts do not carry what the metric reads, or what it compares is the same."""
        for need in self.needs:
            if getattr(prompts, need) is None and getattr(prompts, f"{need}s", None) is None:
                raise MechcausalError(
                    f"the metric {self.name!r} needs the {need} of each prompt and these have none",
                    fix=f"build them with {need}=..., or choose a metric that needs none, such as 'loss'",
                )
        if {"answer", "foil"} <= set(self.needs):
            check_answers(prompts)

    def require_gradient(self, *, at_reference: bool = False) -> None:
        """Raise if a first-order estimate of this metric is impossible.

        Args:
            at_reference: Whether the gradient is taken at the run that a comparing metric compares with.
        """
        if not self.differentiable:
            raise DataError(
                f"the metric {self.name!r} has no gradient",
                fix="attribute to 'logit_diff', or measure exact effects with mc.patch",
            )
        if at_reference and self.flat_at_reference:
            raise DataError(
                f"the metric {self.name!r} has no slope at the clean run, which it compares with",
                fix="pass pairs with steps=8 or direction='denoise', or choose another metric",
            )


def is_finite(logits: Float[Tensor, "... vocab"]) -> Tensor:
    """Say where logits are numbers; single tokens may be ruled out by minus infinity."""
    return logits.detach().amax(-1).isfinite()


METRICS: Registry[Metric] = Registry("metric")


def metric(spec: str | MetricFunction | Metric) -> Metric:
    """Return the metric of that name, or wrap a function `(logits, batch) -> one number per example`."""
    if isinstance(spec, Metric):
        return spec
    if isinstance(spec, str):
        return METRICS[spec]
    if not callable(spec) or len(inspect.signature(spec).parameters) != 2:
        raise MechcausalError("a metric is a name or a function of (logits, batch)", got=spec)
    return Metric(getattr(spec, "__name__", "custom"), spec, needs_logits=False)


def at_read_position(logits: Float[Tensor, "batch pos vocab"], batch: PromptSet) -> Float[Tensor, "batch vocab"]:
    """Return the logits at the position each prompt is read at, in float32 at least."""
    rows = torch.arange(len(batch), device=logits.device)
    picked = logits[rows, batch.read_columns]
    return picked.float() if picked.dtype in (torch.bfloat16, torch.float16) else picked


def _pick(table: Float[Tensor, "batch vocab"], token: Tensor | None, tokens: Tensor | None) -> Float[Tensor, " batch"]:
    """Return the entry of each answer; of a set of tokens the log of their summed exponentials."""
    if token is None:
        assert tokens is not None  # `Metric.check` has refused this already
        return one_each(table, tokens)
    return table.gather(1, token[:, None])[:, 0]


def _file(
    name: str,
    *needs: str,
    compares: bool = False,
    reads: Reads = "position",
    differentiable: bool = True,
    flat_at_reference: bool = False,
    log_odds: bool = False,
    answers: Kind | None = None,
) -> Callable[[MetricFunction], MetricFunction]:
    def decorate(function: MetricFunction) -> MetricFunction:
        METRICS.register(name)(
            Metric(name, function, needs, compares, reads, differentiable, flat_at_reference, log_odds, answers=answers)
        )
        return function

    return decorate


@_file("logit_diff", "answer", "foil", reads="answers", log_odds=True, answers="odds")
def logit_diff(logits: Tensor, batch: PromptSet) -> Tensor:
    """Log-odds of the answer against the foil: of single tokens, their difference in logits."""
    last = at_read_position(logits, batch)
    return _pick(last, batch.answer, batch.answers) - _pick(last, batch.foil, batch.foils)


@_file("logprob", "answer", answers="logprob")
def logprob(logits: Tensor, batch: PromptSet) -> Tensor:
    """Log-probability of the answer."""
    return _pick(at_read_position(logits, batch).log_softmax(-1), batch.answer, batch.answers)


@_file("prob", "answer", answers="prob")
def prob(logits: Tensor, batch: PromptSet) -> Tensor:
    """Probability of the answer."""
    return logprob(logits, batch).exp()


@_file("accuracy", "answer", differentiable=False, answers="written")
def accuracy(logits: Tensor, batch: PromptSet) -> Tensor:
    """1 where the answer is the most likely token (of several tokens: each of them), else 0."""
    if batch.answer is None:
        assert batch.answers is not None  # `Metric.check` has refused this already
        return is_written(at_read_position(logits, batch), batch.answers).to(torch.float32)
    return at_read_position(logits, batch).argmax(-1).eq(batch.answer).to(torch.float32)


@_file("kl", compares=True, flat_at_reference=True)
def kl(logits: Tensor, batch: PromptSet, reference: Tensor) -> Tensor:
    """KL divergence from the clean run's next-token distribution to this run's, in nats."""
    old, new = (at_read_position(x, batch).log_softmax(-1) for x in (reference, logits))
    return (old.exp() * (old - new)).sum(-1)


@_file("loss", reads="all")
def loss(logits: Tensor, batch: PromptSet) -> Tensor:
    """Mean negative log-likelihood of each prompt's own next tokens, in nats."""
    total, counted = _own_tokens(logits, batch)
    return -total / counted.clamp(min=1)


@_file("log_likelihood", reads="all")
def log_likelihood(logits: Tensor, batch: PromptSet) -> Tensor:
    """Log-likelihood of each whole prompt after its first token, in nats."""
    return _own_tokens(logits, batch)[0]


def _own_tokens(logits: Tensor, batch: PromptSet) -> tuple[Tensor, Tensor]:
    """Return the summed log-probability of each prompt's own next tokens, and how many these are."""
    logprobs = logits[:, :-1].float().log_softmax(-1)
    picked = logprobs.gather(2, batch.tokens[:, 1:, None])[..., 0]
    counted = (batch.mask[:, 1:] & batch.mask[:, :-1]).to(picked.dtype)
    return (picked * counted).sum(1), counted.sum(1)


def _called(metric: Metric, logits: Tensor, batch: PromptSet, reference: Tensor | None) -> Any:  # noqa: ANN401 - of your own
    """Return what the function of a metric returns; one of your own may fail."""
    try:
        return metric.function(logits, batch, reference) if metric.compares else metric.function(logits, batch)
    except (MechcausalError, MemoryError):
        raise
    except Exception as error:
        raise MechcausalError(
            f"the metric {metric.name!r} failed", got=shortened(f"{type(error).__name__}: {error}", 150),
            expected="a function of (logits, batch) that returns one number per example",
        ) from error  # fmt: skip
