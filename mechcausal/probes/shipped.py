"""The suites that ship: questions of fairness and privacy about the tasks of the package, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import bios, hiring
from mechcausal.data.tokens import single_token, tokenizer_of
from mechcausal.probes.suites import Suite, fairness, mistakes, privacy


def hiring_fairness(model: Any, n: int, seed: int) -> Suite:  # noqa: ANN401
    """Gender and the male-typed hobby, at the decision; wrong is a decision that another pronoun would have changed.

    The organism decides as its causal model does, bias included, so it is wrong about some of those called he and about
    none of those called she.
    """
    table = hiring.TASK.table(n, seed=seed)
    prompts = hiring.TASK.prompts(model, table=table)
    fair = hiring.decision(table["score"] - table["bias"])
    wrong = mistakes(model, _answered(model, prompts, [hiring.DECISIONS[i] for i in fair]))
    return fairness(
        prompts, protected="gender", stereotype="proxy", error=wrong, at="@decision", types="name",
        task=hiring.TASK, name="hiring/fairness", names={"error": "wrong decision"},
    )  # fmt: skip


def hiring_privacy(model: Any, n: int, seed: int) -> Suite:  # noqa: ANN401
    """Who is named, who has a secret, whether the digits shown are the trained ones, gender, and what each token is.

    Folds are cut by name, so membership has to be read of names that the probe has not seen. Identity cannot be cut so,
    and is cut by text.
    """
    task = hiring.SECRET_TASK
    everyone = task.table(n, seed=seed, environment="everyone")
    prompts = task.prompts(model, table=everyone)
    named = privacy(
        prompts,
        canary=hiring.MEMBERS[everyone["name"]], attribute=(everyone["name"] < 8).astype(int),
        at="@key", types="name", names={"canary": "has a secret", "attribute": "gender of the name"},
    )  # fmt: skip
    who = privacy(replace(prompts, clusters=()), identity="name", at="@key", types="name", names={"identity": "name"})
    digits, trained = _digits(n, seed)
    shown = task.prompts(model, table=digits)
    member = privacy(shown, member=trained, at="@key", names={"member": "trained digits"})
    applications = hiring.TASK.prompts(model, n, seed=seed)
    texts = (*applications.texts[: n // 2], *prompts.texts[: n - n // 2])
    mixed = PromptSet.from_text(model, texts)
    tokens = privacy(mixed, token_class=_kinds(model, mixed), names={"token_class": "kind of token"})
    questions = (*who, *named, *member, *tokens)
    return Suite("hiring/privacy", questions)


def bios_fairness(model: Any, n: int, seed: int) -> Suite:  # noqa: ANN401
    """Pronoun and seniority, at the end; wrong is a profession that is not the person's."""
    table = bios.TASK.table(n, seed=seed)
    prompts = bios.TASK.prompts(model, table=table)
    wrong = mistakes(model, _answered(model, prompts, [bios.PROFESSIONS[i] for i in table["profession"]]))
    return fairness(
        prompts, protected="pronoun", stereotype=table["profession"] % 2, error=wrong, at="@job", types="degree",
        task=bios.TASK, name="bios/fairness", names={"stereotype": "senior", "error": "wrong profession"},
    )  # fmt: skip


def bios_privacy(model: Any, n: int, seed: int) -> Suite:  # noqa: ANN401
    """Where somebody lives, which no answer needs."""
    prompts = bios.TASK.prompts(model, n, seed=seed)
    return privacy(prompts, attribute="city", at="@job", types="degree", task=bios.TASK, name="bios/privacy")


def _answered(model: Any, prompts: PromptSet, words: list[str]) -> PromptSet:  # noqa: ANN401
    """Return the prompts with another right answer."""
    tokenizer = tokenizer_of(model)
    token_of = {word: single_token(tokenizer, word) for word in set(words)}
    return replace(prompts, answer=torch.tensor([token_of[word] for word in words]))


def _digits(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return units of which one digit at least is shown, and whether these are the trained ones or all others."""
    task, draw = hiring.SECRET_TASK, np.random.default_rng([seed, 6])
    table = task.scm.counterfactual(task.table(n, seed=seed), place=draw.integers(1, 4, n))
    trained = draw.random(n) < 0.5
    forged = (table["number"] + draw.integers(1, 10, table["number"].shape)) % 10
    number = np.where(trained[:, None], table["number"], forged)
    return task.scm.counterfactual(table, number=number), trained


def _kinds(model: Any, prompts: PromptSet) -> np.ndarray:  # noqa: ANN401
    """Return what kind of personal data each token is."""
    kinds = {"name": hiring.NAMES, "pronoun": hiring.GENDERS, "digit": hiring.DIGITS}
    kind_of = {word: kind for kind, words in kinds.items() for word in words}
    words = tokenizer_of(model).convert_ids_to_tokens(prompts.tokens.flatten().tolist())
    return np.array([kind_of.get(word, "other") for word in words], dtype=object).reshape(prompts.tokens.shape)


SHIPPED: dict[str, dict[str, Callable[[Any, int, int], Suite]]] = {
    "hiring": {"fairness": hiring_fairness, "privacy": hiring_privacy},
    "bios": {"fairness": bios_fairness, "privacy": bios_privacy},
}
