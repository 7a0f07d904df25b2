"""Write organism:fraction_linear: `python -m mechcausal.recipes.fraction_linear --out DIR`.

The same program as organism:fraction, with another way out: the logits read the share itself, and in a straight line.

    logit of the word of a share s  =  LOGIT + SCALE x (2 s share - s^2)  =  LOGIT + SCALE x (share^2 - (share - s)^2)

The first two terms are the same for all of these words, so the one that is nearest to the share has the largest logit, and
every text is answered as in organism:fraction. LOGIT sets them above the words that are no answer, whose logit is 0. Nothing that lies between a letter and the logits is flat, so a slope shows what it
does: this is the model of the published benchmark of compiled programs ("proportion"), whose output is a number that is
read in a straight line. L1.mlp_out still looks up the word, and nothing reads it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mechcausal.data.tasks import fraction as task
from mechcausal.recipes import fraction
from mechcausal.recipes.recipe import write_down

SCALE = 288.0  # two logits between the two shares that are closest, 1/4 and 1/3
PROGRAM = replace(
    fraction.PROGRAM,
    answers={
        word: {"share": 2 * SCALE * float(share), "one": fraction.LOGIT - SCALE * float(share) ** 2}
        for share, word in zip(task.SHARES, task.ANSWERS, strict=True)
    },
)


def truth() -> dict[str, Any]:
    """Return the statement that ships with the weights."""
    stated = fraction.truth()
    parts = {name: entry for name, entry in stated["variables"].items() if name != "word"}
    return {
        **stated,
        "name": "fraction_linear",
        "task": "say which share of the letters is an x, read off the share in a straight line",
        "parameters": sum(value.numel() for value in PROGRAM.weights().values()),
        "recipe": "python -m mechcausal.recipes.fraction_linear",
        "variables": parts,
        "circuit": ["L0.mlp_out", "L1.z.H0"],
        "edges": [*stated["edges"][:-2], ["L1.z.H0", "logits"]],
        "subspaces": {name: basis for name, basis in stated["subspaces"].items() if name != "word"},
        "notes": "The first token (L0.z.H0), the share of the other letters (L1.z.H1) and the word (L1.mlp_out) are "
        "decodable and unused; L0.z.H1 looks and writes nothing.",
    }


if __name__ == "__main__":
    write_down(PROGRAM, truth())
