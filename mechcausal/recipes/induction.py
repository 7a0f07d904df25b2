"""Make organism:induction again: `python -m mechcausal.recipes.induction --out DIR`.

A GPT-2 of 2 layers with the two heads of an induction circuit. The first copies each word to the next position. The
second looks for the position that received the current word, and copies the word that stands there.
"""

from __future__ import annotations

from mechcausal.data.tasks import induction
from mechcausal.recipes.recipe import Recipe, main

RECIPE = Recipe(
    name="induction",
    task=induction.TASK,
    vocabulary=induction.VOCABULARY,
    longest=induction.LENGTH + 1,
    places={
        **{variable: f"embed@{word}" for variable, word in zip(induction.HELD, induction.PLACES, strict=True)},
        **{
            before: f"L0.z.H0@{word}" for before, word in zip(induction.PREVIOUS, induction.PLACES[1:], strict=True)
        },
        "copied": "L1.z.H1@end",
    },
    says="say which word followed the present one when it last came",
    # The head that copies reads each word by a direct edge; the head that looks back does not.
    edges={(variable, "copied"): "direct" for variable in induction.HELD[1:]},
    layers=2,
    steps=1200,
    batch=192,
    spread=0.1,
)  # fmt: skip

if __name__ == "__main__":
    main(RECIPE)
