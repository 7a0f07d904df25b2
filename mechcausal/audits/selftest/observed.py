"""A7: the effect of the pronoun from biographies as they are, where the profession goes along with it, against the edit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mechcausal.audits.desk import Desk
from mechcausal.audits.explaining.concept_effect import DIFFERS, ConceptEffect
from mechcausal.audits.explaining.double import Double, double
from mechcausal.audits.explaining.nuisances import described
from mechcausal.audits.explaining.observational import NO_OVERLAP
from mechcausal.audits.finding import Answer
from mechcausal.audits.selftest import biographies
from mechcausal.audits.selftest.biographies import GENDER, People
from mechcausal.audits.selftest.checks import Check, above, checks_of, holds, near, yes
from mechcausal.data.contrast import Contrast
from mechcausal.data.tasks import task
from mechcausal.data.tasks.bios import PRONOUNS
from mechcausal.models.load import load

AGREE = 0.95
"""How often those who are senior are called he, and those who are junior she."""
N, DO, CLOSE = 600, 2 * GENDER, 0.05


def edited(people: People) -> Contrast:
    """Return the biographies, each against itself with the other pronoun."""
    pairs = people.pairs(people.changed(he=~people.he), "pronoun")
    clean, corrupt = (
        replace(side, variables={"pronoun": torch.as_tensor(he.astype(int))})
        for side, he in ((pairs.clean, people.he), (pairs.corrupt, ~people.he))
    )
    return replace(pairs, clean=clean, corrupt=corrupt)


def by_formula(seed: int) -> Double:
    """Estimate the effect from another draw of biographies, whose log-odds are the formula of the network."""
    people = biographies.draw(N, AGREE, seed)
    prompts, rows = people.prompts(), np.arange(N)
    x, _ = described(prompts, rows, people.texts, without=PRONOUNS)
    return double(people.he.astype(int), biographies.odds(people), x, rows, seed=seed)


def _asked(question: ConceptEffect, model: Any) -> tuple[Answer, dict[str, float]]:  # noqa: ANN401
    answer = question.answer(Desk(model, {"data": question.data}, networks=0, quiet=True))
    return answer, dict(zip(answer.table["what"], answer.table["value"], strict=True))


@checks_of("A7", "the effect of a concept from texts as they are")
def double_machine_learning(quick: bool) -> Iterator[Check]:
    """Adjust for the words of biographies by hand, and of `organism:bios`, where the effect differs between texts."""
    pairs, model = edited(biographies.draw(N, AGREE)), biographies.model()
    answer, table = _asked(ConceptEffect(pairs, concept="pronoun"), model)
    naive, do = table["not adjusted: difference of the means"], table["do(): what the edit changes"]
    yield near("what swapping the pronoun does to the log-odds", DO, do, 1e-4)
    yield near("by double machine learning, the pronoun not swapped", DO, answer.estimate.value, CLOSE * DO)
    yield above("not adjusted, relative distance to what the swap does", abs(naive / do - 1), CLOSE, "outside 5 %")
    draws = 2 if quick else 8
    close = [abs(by_formula(seed).partially_linear.value / DO - 1) <= CLOSE for seed in range(1, draws + 1)]
    yield holds("further draws of biographies in which it is within 5 %", sum(close), draws)
    question = ConceptEffect(pairs.clean, concept="pronoun")  # its words are counted with the others
    yield yes(
        "where the words give the pronoun away, no number is given", NO_OVERLAP in _asked(question, model)[0].marks
    )
    yield from _where_effects_differ()


def of_medicine(model: Any, n: int = N, seed: int = 0) -> Contrast:  # noqa: ANN401 - organism:bios
    """Return biographies of one field as they come, about n of them, each against itself with the other pronoun."""
    words = model.tokenizer.get_vocab()
    prompts = task("bios").prompts(model, 2 * n, seed=seed)
    prompts = prompts.take(np.flatnonzero(prompts.variables["field"].numpy() == 0).tolist())
    answer, foil = (torch.full((len(prompts),), words[word]) for word in ("surgeon", "nurse"))
    prompts = replace(prompts, answer=answer, foil=foil)
    he = prompts.variables["pronoun"]
    tokens = prompts.tokens.clone()
    at = torch.arange(len(prompts)), (~prompts.mask).sum(1) * (prompts.side == "left") + prompts.positions["pronoun"]
    tokens[at] = torch.tensor([words[word] for word in PRONOUNS])[1 - he.long()]
    texts = tuple(
        " ".join([PRONOUNS[1 - int(g)], *text.split()[1:]]) for g, text in zip(he, prompts.texts, strict=True)
    )
    other = replace(prompts, tokens=tokens, texts=texts, variables={**prompts.variables, "pronoun": 1 - he.long()})
    return Contrast(prompts, other, factor="pronoun")


def _where_effects_differ() -> Iterator[Check]:
    """Ask of an organism that the pronoun moves by 2 to 21, depending on what else it reads."""
    model = load("organism:bios")
    pairs = of_medicine(model)
    answer, table = _asked(ConceptEffect(pairs, concept="pronoun"), model)
    do, alike = (
        table[name] for name in ("do(): what the edit changes", "do(), weighted as the partially linear number")
    )
    yield near("where effects differ: over what the swap does, weighted alike", 1, answer.estimate.value / alike, CLOSE)
    yield above("where effects differ: relative distance to the plain mean of what it does",
                abs(answer.estimate.value / do - 1), CLOSE, "outside 5 %")  # fmt: skip
    yield yes("that the two are not the same is marked", DIFFERS in answer.marks)
    plain, _ = _asked(ConceptEffect(pairs, concept="pronoun", model="interactive"), model)
    inside = plain.estimate.low <= do <= plain.estimate.high
    yield yes("where effects differ: the interval of the interactive model holds the plain mean of the swap", inside)
