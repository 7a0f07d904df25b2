"""Indirect object identification: two people, one of them acts, the other is who receives.

    <bos> when anna and ben went to the shop , ben gave a book to      then  anna

The name that comes twice is the subject, and the answer is the other one. Which of the two it is, is found where the
name comes again (`repeated`), taken to the end (`avoided`), and there the other name is taken up (`receiver`). The names
themselves are `held_first`, `held_second` and `held_third`, the words at their places: one of them can be another while
the others stay, which no story says. A third name that is neither of the two counts as the first.
"""

from __future__ import annotations

import numpy as np

from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task

NAMES = ("anna", "ben", "clara", "david", "eva", "felix")
ORDERS = ("first", "second")
SHOPS = ("shop", "park", "school", "station", "market", "library")
THINGS = ("book", "key", "letter", "basket", "ring", "map")
# All have the same words at the same places, except for those of the story.
TEMPLATES = (
    "when {} and {} went to the {} , {} gave a {} to",
    "after {} and {} arrived at the {} , {} handed the {} to",
    "while {} and {} waited near the {} , {} passed this {} to",
    "then {} and {} met behind the {} , {} offered one {} to",
)
_FIXED = dict.fromkeys(word for template in TEMPLATES for word in template.replace("{}", "").split())
VOCABULARY = ("<pad>", "<bos>", *_FIXED, *NAMES, *SHOPS, *THINGS)


def write(table: Table) -> list[str]:
    """Write the units as stories."""
    rows = zip(*(table[key] for key in ("template", "first", "second", "place", "third", "thing")), strict=True)
    return [TEMPLATES[t].format(NAMES[a], NAMES[b], SHOPS[p], NAMES[c], THINGS[o]) for t, a, b, p, c, o in rows]


def _order(scm: SCM, table: Table) -> tuple[Table, Table]:
    """The same two names, told in the other order."""
    swapped = {"first": table["second"], "second": table["first"], "third": table["third"]}
    return table, scm.counterfactual(table, **swapped)


TASK = Task(
    name="ioi",
    scm=SCM(
        "ioi",
        noise={
            "u_first": len(NAMES), "u_second": len(NAMES) - 1, "u_subject": 2,
            "u_template": len(TEMPLATES), "u_place": len(SHOPS), "u_thing": len(THINGS),
        },
        mechanisms={
            "first": lambda u_first: u_first,
            "second": lambda first, u_second: (first + 1 + u_second) % len(NAMES),
            "subject": lambda u_subject: u_subject,
            "third": lambda subject, first, second: np.where(subject == 1, second, first),
            "template": lambda u_template: u_template,
            "place": lambda u_place: u_place,
            "thing": lambda u_thing: u_thing,
            "held_first": lambda first: first,
            "held_second": lambda second: second,
            "held_third": lambda third: third,
            "repeated": lambda held_second, held_third: held_third == held_second,
            "avoided": lambda repeated: repeated,
            "receiver": lambda avoided, held_first, held_second: np.where(avoided == 1, held_first, held_second),
            "answer": lambda receiver: receiver,
        },
        values={
            **dict.fromkeys(("first", "second", "third", "held_first", "held_second", "held_third"), NAMES),
            **dict.fromkeys(("receiver", "answer"), NAMES),
            **dict.fromkeys(("subject", "repeated", "avoided"), ORDERS),
            "place": SHOPS, "thing": THINGS,
        },
    ),
    outcome="answer",
    inputs=("template", "first", "second", "place", "third", "thing"),
    write=write,
    # Words of the sentence, counted without the BOS token.
    positions={"first": 1, "second": 3, "place": 7, "third": 9, "thing": 12, "end": 13},
    pairs={"order": _order},
    groups=lambda table: [f"{ORDERS[i]} is repeated" for i in table["subject"]],
    clusters=lambda table: [f"template {i}" for i in table["template"]],
)  # fmt: skip
TASKS = (TASK,)
