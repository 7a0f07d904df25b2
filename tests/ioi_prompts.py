"""Indirect-object prompts with names that are one token each in most English vocabularies.

How far apart the two logits are depends on names and words. These names and the first two templates were chosen after looking
at numbers for each name, so that the log-odds of SmolLM2 lie between 4.5 and 5.5: with 20 other names they were 4.0 to 4.4,
and with places and things drawn at random 1.2 to 4.1. The tests say that the band can be reproduced, not that it holds for
prompts in general; docs/real.md says how it varies over random names.
"""

import random

import mechcausal as mc

NAMES = [
    "Mary",
    "John",
    "James",
    "David",
    "Michael",
    "Tom",
    "Jack",
    "Peter",
    "Martin",
    "Dan",
    "Anna",
    "Alice",
    "Emma",
    "Amy",
    "Linda",
    "Karen",
]
TEMPLATES = (
    "When {a} and {b} went to the store, {s} gave a drink to",
    "Then, {a} and {b} went to the store. {s} gave a drink to",
    "After {a} and {b} had been at the market for an hour, {s} gave a letter to",
    "While {a} and {b} waited, {s} gave a ball to",
)


def ioi_texts(n, seed=0, templates=TEMPLATES[:1], names=NAMES):
    """Return (clean, corrupt, answer, foil, template): in the corrupt prompt the other name is said twice."""
    draw = random.Random(seed)
    rows = []
    for number in range(n):
        a, b = draw.sample(names, 2)
        template = templates[number % len(templates)]
        clean, corrupt = (template.format(a=a, b=b, s=again) for again in (b, a))
        rows.append((clean, corrupt, f" {a}", f" {b}", template))
    return rows


def ioi_pairs(model, n, *, seed=0, templates=TEMPLATES[:1], side="right"):
    """Return pairs for a model."""
    clean, corrupt, answer, foil, template = map(list, zip(*ioi_texts(n, seed, templates), strict=True))
    return mc.Contrast.from_text(
        model, clean, corrupt, answer=answer, foil=foil, clusters=template, factor="who is said twice", side=side
    )
