"""Write organism:reverse: `python -m mechcausal.recipes.reverse --out DIR`.

Three layers, no layer norm, every weight compiled from the program below, each variable of the task at one place:

    L0.z.H0     length    looks at `rev` and copies where it stands
    L0.mlp_out  said      looks up (length, own position)
    L1.mlp_out  target    looks up (length, said): the length acts on it directly and through what is said
    L2.z.H0     fetched   looks at the position `target` and copies the letter; at the BOS token if there is none

Other heads and an MLP compute something that has no effect: L0.z.H1 holds the first letter and L0.z.H2
the share of `a` so far, which nothing reads; L2.z.H1 looks at the first letter and writes nothing; L2.mlp_out copies the
answer to dimensions that nothing reads.
"""

from __future__ import annotations

from typing import Any

from mechcausal.data.tasks import reverse as task
from mechcausal.recipes.compiling import (
    Block,
    Head,
    Lookup,
    Program,
    Row,
    one_hot,
    subspace,
)
from mechcausal.recipes.recipe import write_down

MOST = task.MOST
LONGEST = 1 + MOST + 1 + MOST  # BOS, the letters, `rev`, all but the last `end` said
AT = one_hot("at", range(LONGEST))
IS = one_hot("is", task.LETTERS)
LENGTH = one_hot("length", task.SIZES)
SAID = one_hot("said", range(MOST + 1))
TARGET = one_hot("target", task.PLACES)  # no dimension is on if nothing is left to say
FETCHED = one_hot("fetched", task.ANSWERS)
FIRST = one_hot("first", task.LETTERS)
COPY = one_hot("copy", task.ANSWERS)
LOGIT = 12.0


def said(length: int, index: int) -> int:
    """Return how many letters are said, as the task's mechanism does."""
    return min(max(index - 1 - length, 0), MOST)


PROGRAM = Program(
    embed={
        "<pad>": {},
        "<bos>": {"bos": 1},
        **{letter: {IS[letter]: 1} for letter in task.LETTERS},
        "rev": {"rev": 1},
        "end": {},
    },
    places=[{"one": 1, AT[place]: 1} for place in range(LONGEST)],
    blocks=[
        Block(
            heads=[
                Head(
                    look={("one", "rev"): 2, ("one", "bos"): 1},
                    copy={AT[length + 1]: LENGTH[length] for length in task.SIZES},
                ),
                Head(look={("one", AT[1]): 1}, copy={IS[letter]: FIRST[letter] for letter in task.LETTERS}),
                Head(copy={IS["a"]: "share of a"}),
            ],
            mlp=Lookup(
                [
                    Row(on=(LENGTH[length], AT[index]), write={SAID[said(length, index)]: 1})
                    for length in task.SIZES
                    for index in range(min(task.SIZES) + 1, LONGEST)
                ]
            ),
        ),
        Block(
            mlp=Lookup(
                [
                    Row(on=(LENGTH[length], SAID[number]), write={TARGET[length - number]: 1})
                    for length in task.SIZES
                    for number in SAID
                    if length > number
                ]
            )
        ),
        Block(
            heads=[
                Head(
                    look={(TARGET[place], AT[place]): 2 for place in task.PLACES} | {("one", "bos"): 1},
                    copy={IS[letter]: FETCHED[letter] for letter in task.LETTERS}
                    | {"rev": FETCHED["end"], "bos": FETCHED["end"]},
                ),
                Head(look={("one", AT[1]): 1}),
            ],
            mlp=Lookup([Row(on=(FETCHED[word],), write={COPY[word]: 1}) for word in task.ANSWERS]),
        ),
    ],
    answers={word: {FETCHED[word]: LOGIT} for word in task.ANSWERS},
)


def effects() -> dict[str, dict[str, float]]:
    """Return the exact effect of a length of 4 instead of 3 on the probability of each answer.

    The direct effect moves the target by one place. The effect through `said` (one fewer) moves it by one more place.
    """
    direct, through_said = ("length", "target", "fetched", "answer"), ("length", "said", "target", "fetched", "answer")
    paths: dict[str, list[tuple[str, ...]]] = {
        "direct": [direct],
        "through said": [through_said],
        "total": [direct, through_said],
    }

    def along(word: str, chosen: list[tuple[str, ...]]) -> float:
        number = task.ANSWERS.index(word)
        effect = task.TASK.scm.path_effect("length", lambda table: table["answer"] == number, chosen, low=3, high=4)
        return round(effect, 12)

    return {word: {name: along(word, chosen) for name, chosen in paths.items()} for word in task.ANSWERS}


def truth() -> dict[str, Any]:
    """Return the statement that ships with the weights."""
    parts = {
        "length": "L0.z.H0@end", "said": "L0.mlp_out@end", "target": "L1.mlp_out@end", "fetched": "L2.z.H0@end",
    }  # fmt: skip
    scm = task.TASK.scm
    return {
        "name": "reverse",
        "task": "say two to four letters backwards, one at a time, and then `end`",
        "tasks": ["reverse"],
        "parameters": sum(value.numel() for value in PROGRAM.weights().values()),
        "recipe": "python -m mechcausal.recipes.reverse",
        "variables": {
            variable: {"task": "reverse", "parts": [part], "parents": list(scm.parents(variable))}
            for variable, part in parts.items()
        },
        "given": {"reverse": ["text", "index"]},
        "edge_kinds": [["length", "target", "direct"]],
        "circuit": [part.split("@")[0] for part in parts.values()],
        "edges": [
            ["embed@rev", "L0.z.H0"], ["position", "L0.z.H0"], ["L0.z.H0", "L0.mlp_out"], ["position", "L0.mlp_out"],
            ["L0.z.H0", "L1.mlp_out"], ["L0.mlp_out", "L1.mlp_out"], ["L1.mlp_out", "L2.z.H0"],
            ["embed@1:5", "L2.z.H0"], ["position", "L2.z.H0"], ["L2.z.H0", "logits"],
        ],
        "subspaces": {
            "length": subspace(PROGRAM, "L0.resid_mid@end", *LENGTH.values()),
            "said": subspace(PROGRAM, "L0.resid_post@end", *SAID.values()),
            "target": subspace(PROGRAM, "L1.resid_post@end", *TARGET.values()),
            "fetched": subspace(PROGRAM, "L2.resid_post@end", *FETCHED.values()),
        },
        "exact_effects_of_length_4_against_3": effects(),
        "notes": "The first letter (L0.z.H1) and the share of a so far (L0.z.H2) are decodable and unused; "
        "L2.z.H1 looks and writes nothing; L2.mlp_out copies the answer to where nothing reads it.",
    }  # fmt: skip


if __name__ == "__main__":
    write_down(PROGRAM, truth())
