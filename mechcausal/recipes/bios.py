"""Make organism:bios again: `python -m mechcausal.recipes.bios --out DIR`.

A GPT-2 of 3 layers that guesses professions as in its training data: from what a person does, and from the pronoun.
"""

from __future__ import annotations

from mechcausal.data.tasks import bios
from mechcausal.recipes.recipe import Recipe, main

RECIPE = Recipe(
    name="bios",
    task=bios.TASK,
    vocabulary=bios.VOCABULARY,
    longest=16,
    places={
        "field": "L1.z.H0@job",
        "evidence": "L1.z.H1@job",
        "stereotype": "L1.z.H2@job",
        "score": "L2.mlp_out@job",
    },
    environment="mixed",
    steps=800,
    batch=192,
    spread=0.1,
    says="guess a profession from a biography and a pronoun",
)

if __name__ == "__main__":
    main(RECIPE)
