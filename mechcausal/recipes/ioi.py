"""Make organism:ioi again: `python -m mechcausal.recipes.ioi --out DIR`.

A GPT-2 of 3 layers with one head of each kind that does the task in GPT-2 small: one head finds which name
is repeated, one carries this to the end, and one moves the other name there.
"""

from __future__ import annotations

from mechcausal.data.tasks import ioi
from mechcausal.recipes.recipe import Recipe, main

RECIPE = Recipe(
    name="ioi",
    task=ioi.TASK,
    vocabulary=ioi.VOCABULARY,
    longest=15,
    places={
        "held_first": "embed@first",
        "held_second": "embed@second",
        "held_third": "embed@third",
        "repeated": "L0.z.H0@third",
        "avoided": "L1.z.H1@end",
        "receiver": "L2.z.H2@end",
    },
    says="complete a story with the name that came once",
    steps=900,
    batch=160,
    spread=0.1,
)

if __name__ == "__main__":
    main(RECIPE)
