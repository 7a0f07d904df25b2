"""Does this installation still recover the known truths? Every causal method on every organism, against what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.catalog import ORGANISMS
from mechcausal.causal.alignment.exchange import exchange
from mechcausal.causal.alignment.interchange import interchange
from mechcausal.causal.alignment.interchanged import ALIGNED, WORST
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.hypothesis import Hypothesis, table_of
from mechcausal.causal.scrubbing.scrub import scrub
from mechcausal.causal.scrubbing.wrong import wrong_hypotheses
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import task
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.metrics import Metric, logit_diff, metric
from mechcausal.models.load import load
from mechcausal.organisms import truth

RECOVERED, IIA, SLACK = 0.97, 0.98, 0.02
_N = 384
_LOG_ODDS = "log_odds"  # where a causal model has it, it states what the network computes, not only what it answers


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        organism: The organism.
        task: Its task.
        what: What was checked.
        value: What was found.
        wanted: What must hold of it.
        passed: Whether it does.
        note: What else there is to say.
    """

    organism: str
    task: str
    what: str
    value: float
    wanted: str
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        """Print as one line."""
        line = f"{'ok  ' if self.passed else 'FAIL'} {self.what:<26} {self.value:8.4f}  {self.wanted:<22}"
        return f"{line} {self.note}".rstrip()


def selftest(organisms: Sequence[str] | None = None, *, n: int = _N, seed: int = 0) -> Iterator[Check]:
    """Check each organism's true and wrong hypotheses, interchange and effects; yield as they are found."""
    for organism in ORGANISMS if organisms is None else organisms:
        facts = truth(organism)
        model = load(f"organism:{organism}")
        if not facts["variables"]:
            yield from _twin(organism, facts["twin_of"], model, n, seed)
            continue
        for name in facts["tasks"]:
            definition = task(name)
            hypothesis = Hypothesis.of(organism, name)
            prompts = definition.prompts(model, n, seed=seed, environment="broad" if definition.free else None)
            yield from _scrubbed(organism, name, model, hypothesis, prompts, seed)
            yield from _exchanged(organism, name, model, hypothesis, prompts, n, seed)
            yield from _effects(organism, definition, model, hypothesis, n, seed)


def fidelity(hypothesis: Hypothesis) -> Metric:
    """Return how well an answer fits: its log-probability, or minus the squared error of the log-odds where known."""
    if _LOG_ODDS not in hypothesis.scm.mechanisms:
        return metric("logprob")
    answer = hypothesis.scm.values[hypothesis.outcome][1]

    def log_odds(logits: Tensor, batch: PromptSet) -> Tensor:
        """Minus the squared distance from the log-odds that the causal model states."""
        wanted = batch.variables[_LOG_ODDS].to(logits)
        # Prompts carry the word they call for as answer, so the difference is of the second word or of the first.
        sign = torch.where(batch.variables[hypothesis.outcome] == 1, 1.0, -1.0).to(logits)
        return -((sign * logit_diff(logits, batch) - wanted) ** 2)

    log_odds.__name__ = f"log_odds of {answer}"
    return metric(log_odds)


def _scrubbed(
    organism: str,
    name: str,
    model: Any,  # noqa: ANN401
    hypothesis: Hypothesis,
    prompts: PromptSet,
    seed: int,
) -> Iterator[Check]:
    fit = fidelity(hypothesis)
    true = scrub(model, prompts, hypothesis, metric=fit, seed=seed, lonely="keep", report=False, controls=False)
    share = true.recovered
    yield Check(
        organism, name, "scrubbing, true", share.estimate, f">= {RECOVERED}", bool(share.estimate >= RECOVERED),
        f"[{share.low:.4f}, {share.high:.4f}], {true.provenance.compute['forwards']} runs",
    )  # fmt: skip
    for wrong in wrong_hypotheses(model, prompts, hypothesis, seed):
        scrubbed = scrub(model, prompts, wrong.root, metric=fit, seeds=1, seed=seed, lonely="keep", controls=False)
        lost = scrubbed.recovered.high < share.low - SLACK
        named = scrubbed.culprit in wrong.blame
        culprit = ": ".join(scrubbed.culprit) if scrubbed.culprit else "none"
        yield Check(
            organism, name, wrong.kind, scrubbed.recovered.estimate, "less, culprit named", bool(lost and named),
            f"{wrong.what}; blamed: {culprit}",
        )  # fmt: skip


def _exchanged(
    organism: str,
    name: str,
    model: Any,  # noqa: ANN401
    hypothesis: Hypothesis,
    prompts: PromptSet,
    n: int,
    seed: int,
) -> Iterator[Check]:
    frame = interchange(model, prompts, hypothesis, n=n, seed=seed).frame
    for _, row in frame[frame["role"] == ALIGNED].iterrows():
        if row["n"]:
            yield Check(
                organism, name, f"IIA, {row['variables']}", float(row["value"]), f">= {IIA}", bool(row["value"] >= IIA),
                f"{row['n']} pairs whose answer changes; all pairs {row['iia']:.3f}",
            )  # fmt: skip
    worst = frame[(frame["role"] == WORST) & frame["value"].notna()]
    if len(worst):
        row = worst.loc[worst["value"].idxmax()]
        limit = row["chance"] + 0.05
        yield Check(
            organism, name, "IIA, worst placebo", float(row["value"]), f"<= {limit:.2f} (chance)", bool(row["value"] <= limit),
            f"{row['variables']} at {row['label']}",
        )  # fmt: skip


def _effects(organism: str, definition: Task, model: Any, hypothesis: Hypothesis, n: int, seed: int) -> Iterator[Check]:  # noqa: ANN401
    """Compare what each input does through each variable, in the causal model and in the network."""
    words = answer_tokens(model, hypothesis)
    worst, worst_effect, compared = 0.0, "", 0
    exact = _LOG_ODDS in hypothesis.scm.mechanisms
    for cause in definition.inputs:
        if (
            not definition.scm.descendants(cause) & set(hypothesis.variables)
            or definition.scm.sample(2)[cause].ndim > 1
        ):
            continue
        try:
            pairs = definition.contrast(model, cause, n, seed=seed)
        except DataError:  # this input cannot change alone in texts of equal length
            continue
        low, high = table_of(pairs.corrupt), table_of(pairs.clean)
        for variable in hypothesis.variables:
            expected = hypothesis.scm.counterfactual(low, **{variable: high[variable]})
            logits = exchange(model, pairs.corrupt, (hypothesis.alignment[variable], pairs.clean))
            said = logits[:, words]
            if exact:
                log_odds = (said[:, 1] - said[:, 0]).double().cpu().numpy()
                gap = float(np.abs(log_odds - expected[_LOG_ODDS]).max())
            else:
                answers = said.argmax(1).cpu().numpy()
                wanted = expected[hypothesis.outcome].astype(int)
                gap = max(abs(float((answers == k).mean() - (wanted == k).mean())) for k in range(len(words)))
            compared += 1
            if gap >= worst:
                worst, worst_effect = gap, f"{cause} through {variable}"
    if compared:
        limit = 1e-5 if exact else SLACK
        kind = "log-odds of every prompt" if exact else "P(answer)"
        yield Check(
            organism, definition.name, "effects, largest gap", worst, f"<= {limit:g}", bool(worst <= limit),
            f"{kind}, {compared} effects; {worst_effect}",
        )  # fmt: skip


def _twin(organism: str, of: str, model: Any, n: int, seed: int) -> Iterator[Check]:  # noqa: ANN401
    """A natural twin behaves alike, and the mechanism of the other is not in it."""
    for name in truth(of)["tasks"]:
        definition, hypothesis = task(name), Hypothesis.of(of, name)
        prompts = definition.prompts(model, n, seed=seed, environment="broad" if definition.free else None)
        scrubbed = scrub(model, prompts, hypothesis, seed=seed, lonely="keep", report=False, controls=False)
        frame = interchange(model, prompts, hypothesis, n=n, seed=seed, placebo=False).frame
        right = float(scrubbed.provenance.compute["accuracy"])
        yield Check(organism, name, "accuracy", right, f">= {IIA}", right >= IIA)
        share = scrubbed.recovered
        yield Check(
            organism, name, f"scrubbing, as {of}", share.estimate, f"< {RECOVERED}", bool(share.high < RECOVERED),
            "what is true of the organism is not true of its natural twin",
        )  # fmt: skip
        lowest = float(frame["value"].min())
        yield Check(organism, name, f"IIA, as {of}", lowest, f"< {IIA}", lowest < IIA, "the lowest of the variables")
