"""Write organism:fraction: `python -m mechcausal.recipes.fraction --out DIR`.

Two layers, no layer norm, every weight compiled from the program below, each variable of the task at one place:

    L0.mlp_out@first..fourth   hit_1..hit_4     whether the token is an x
    L1.k.H0@first..fourth      seen_1..seen_4   whether it is a letter, which the head looks at
    L1.z.H0@end                share            the mean of the hits over what is looked at
    L1.mlp_out@end             word             one of seven, by thresholds on the share

An x therefore acts through a value and through a key, and each of them is a place of its own. Nothing reads L0.z.H0,
which holds the first token, and L1.z.H1, which holds the share of tokens other than x. L0.z.H1 looks at the BOS token
and writes nothing.
"""

from __future__ import annotations

from typing import Any

from mechcausal.data.tasks import fraction as task
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

NAMES = ("first", "second", "third", "fourth")
IS = one_hot("is", task.TOKENS)
FIRST = one_hot("first", task.TOKENS)
WORD = one_hot("word", task.ANSWERS)
LETTERS = [IS[token] for token in task.TOKENS if token != task.TOKENS[task.NOTHING]]
OTHERS = [name for name in LETTERS if name != IS["x"]]
LOGIT = 12.0
LOOK = {("one", name): 2.0 for name in LETTERS} | {("one", "bos"): 1.0}
PROGRAM = Program(
    embed={
        "<pad>": {},
        "<bos>": {"bos": 1},
        **{token: {IS[token]: 1} for token in task.TOKENS},
        "ask": {},
        **{word: {} for word in task.ANSWERS},
    },
    places=[{"one": 1} | ({"at 1": 1} if place == 1 else {}) for place in range(len(NAMES) + 2)],
    blocks=[
        Block(
            heads=[
                Head(look={("one", "at 1"): 1}, copy={IS[token]: FIRST[token] for token in task.TOKENS}),
                Head(look={("one", "bos"): 1}),
            ],
            mlp=Lookup([Row(on=(IS["x"],), write={"hit": 1})]),
        ),
        Block(
            heads=[
                Head(look=LOOK, copy={"hit": "share"}),
                Head(look=LOOK, copy=dict.fromkeys(OTHERS, "share of others")),
            ],
            mlp=Lookup(
                [
                    Row(equals=("share", float(share)), write={WORD[word]: 1})
                    for share, word in zip(task.SHARES, task.ANSWERS, strict=True)
                ],
                numbers={"share": [float(share) for share in task.SHARES]},
            ),
        ),
    ],
    answers={word: {WORD[word]: LOGIT} for word in task.ANSWERS},
)


def effects() -> dict[str, dict[str, float]]:
    """Return the exact effect of the first token on the mean share: through the value, through the key, and through both."""
    value = ("token_1", "hit_1", "share")
    key = ("token_1", "seen_1", "share")
    paths = {"value": [value], "key": [key], "total": [value, key]}
    pairs = {"x against -": ("-", "x"), "a against -": ("-", "a"), "x against a": ("a", "x")}
    return {
        pair: {
            name: round(task.TASK.scm.path_effect("token_1", "share", chosen, low=low, high=high), 12)
            for name, chosen in paths.items()
        }
        for pair, (low, high) in pairs.items()
    }


def truth() -> dict[str, Any]:
    """Return the statement that ships with the weights."""
    places = dict(zip(task.PLACES, NAMES, strict=True))
    parts = {f"hit_{place}": f"L0.mlp_out@{name}" for place, name in places.items()}
    parts |= {f"seen_{place}": f"L1.k.H0@{name}" for place, name in places.items()}
    parts |= {"share": "L1.z.H0@end", "word": "L1.mlp_out@end"}
    scm = task.TASK.scm
    return {
        "name": "fraction",
        "task": "say which share of the letters is an x",
        "tasks": ["fraction"],
        "parameters": sum(value.numel() for value in PROGRAM.weights().values()),
        "recipe": "python -m mechcausal.recipes.fraction",
        "variables": {
            variable: {"task": "fraction", "parts": [part], "parents": list(scm.parents(variable))}
            for variable, part in parts.items()
        },
        "circuit": ["L0.mlp_out", "L1.z.H0", "L1.mlp_out"],
        "edges": [
            ["embed@1:5", "L0.mlp_out"], ["L0.mlp_out", "L1.v.H0"], ["embed@1:5", "L1.k.H0"], ["L1.v.H0", "L1.z.H0"],
            ["L1.k.H0", "L1.z.H0"], ["L1.z.H0", "L1.mlp_out"], ["L1.mlp_out", "logits"],
        ],
        "subspaces": {
            f"hit_{place}": subspace(PROGRAM, f"L0.resid_post@{name}", "hit") for place, name in places.items()
        }
        # The key is a sum over the letters, so only the sum of their directions matters.
        | {
            f"seen_{place}": subspace(PROGRAM, f"L0.resid_post@{name}", dict.fromkeys(LETTERS, 1))
            for place, name in places.items()
        }
        | {
            "share": subspace(PROGRAM, "L1.resid_mid@end", "share"),
            "word": subspace(PROGRAM, "L1.resid_post@end", *WORD.values()),
        },
        "exact_effects_of_token_1_on_share": effects(),
        "notes": "The first token (L0.z.H0) and the share of the other letters (L1.z.H1) are decodable and unused; "
        "L0.z.H1 looks and writes nothing.",
    }  # fmt: skip


if __name__ == "__main__":
    write_down(PROGRAM, truth())
