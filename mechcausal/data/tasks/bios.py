"""Biographies: a profession from what is told of somebody, and a pronoun that says nothing in itself.

    <bos> she from oslo works at a clinic , leads projects and has a diploma <job>     then  nurse | surgeon | ...

The place gives the field. Within a field one profession is junior and one senior, and two words point to one of them, or
to neither: what somebody does and what degree they hold. In the world the senior are called he nine times in ten, the
junior one time in ten, so a pronoun is worth more than one such word and less than two. That is how it is counted here,
which is the best that can be done in the world, and costs accuracy where the pronoun says something else:

    score = 2 (duty + degree) + 3 (he: +1, she: -1), senior if it is above zero

The environments `balanced` and `flipped` differ in the pronoun alone: half of the senior are called he, or one in ten.
"""

from __future__ import annotations

import numpy as np

from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task

PRONOUNS = ("she", "he")
CITIES = ("oslo", "turin", "lyon", "graz")
WORKPLACES = ("clinic", "hospital", "school", "college")
# Two words each that point to the junior profession, to neither, and to the senior one.
DUTIES = ("assists", "supports", "joins", "follows", "leads", "directs")
DEGREES = ("diploma", "certificate", "passport", "licence", "doctorate", "fellowship")
PROFESSIONS = ("nurse", "surgeon", "teacher", "professor")
_FIXED = ("from", "works", "at", "a", ",", "projects", "and", "has", "<job>")
VOCABULARY = ("<pad>", "<bos>", *_FIXED, *PRONOUNS, *CITIES, *WORKPLACES, *DUTIES, *DEGREES, *PROFESSIONS)

WORD_WEIGHT, PRONOUN_WEIGHT = 2, 3
# How often a word points away from the truth, to neither, and to the truth.
POINTS = (0.1, 0.3, 0.6)
HE_IF_SENIOR = {"world": 0.9, "balanced": 0.5, "flipped": 0.1}


def write(table: Table) -> list[str]:
    """Write the units as biographies."""
    rows = zip(*(table[key] for key in ("pronoun", "city", "workplace", "duty", "degree")), strict=True)
    return [
        f"{PRONOUNS[p]} from {CITIES[c]} works at a {WORKPLACES[w]} , {DUTIES[d]} projects and has a {DEGREES[g]} <job>"
        for p, c, w, d, g in rows
    ]


def _word(senior: np.ndarray, u_points: np.ndarray, u_which: np.ndarray) -> np.ndarray:
    """Return one of six words; noise of 2 points to the truth, 0 away from it."""
    return 2 * np.where(senior == 1, u_points, 2 - u_points) + u_which


def _world(name: str, he_if_senior: float) -> SCM:
    return SCM(
        name,
        noise={
            "u_field": 2, "u_senior": 2, "u_typical": [1 - he_if_senior, he_if_senior], "u_city": len(CITIES),
            "u_workplace": 2, "u_duty": POINTS, "u_duty_word": 2, "u_degree": POINTS, "u_degree_word": 2,
        },
        mechanisms={
            "profession": lambda u_field, u_senior: 2 * u_field + u_senior,
            "pronoun": lambda profession, u_typical: profession % 2 == u_typical,
            "city": lambda u_city: u_city,
            "workplace": lambda profession, u_workplace: 2 * (profession // 2) + u_workplace,
            "duty": lambda profession, u_duty, u_duty_word: _word(profession % 2, u_duty, u_duty_word),
            "degree": lambda profession, u_degree, u_degree_word: _word(profession % 2, u_degree, u_degree_word),
            "field": lambda workplace: workplace // 2,
            "evidence": lambda duty, degree: (duty // 2 - 1) + (degree // 2 - 1),
            "stereotype": lambda pronoun: 2 * pronoun - 1,
            "score": lambda evidence, stereotype: WORD_WEIGHT * evidence + PRONOUN_WEIGHT * stereotype,
            "answer": lambda field, score: 2 * field + (score > 0),
        },
        values={
            "profession": PROFESSIONS, "pronoun": PRONOUNS, "city": CITIES, "workplace": WORKPLACES, "duty": DUTIES,
            "degree": DEGREES, "field": ("medicine", "education"), "answer": PROFESSIONS,
        },
    )  # fmt: skip


TASK = Task(
    name="bios",
    scm=_world("bios", HE_IF_SENIOR["world"]),
    outcome="answer",
    inputs=("pronoun", "city", "workplace", "duty", "degree"),
    write=write,
    # Words of the sentence, counted without the BOS token.
    positions={"pronoun": 0, "city": 2, "workplace": 6, "duty": 8, "degree": 13, "job": 14},
    free=("pronoun", "city", "workplace", "duty", "degree"),
    groups=lambda table: [PRONOUNS[p] for p in table["pronoun"]],
    environments={
        name: _world(f"bios, {name}", share) for name, share in HE_IF_SENIOR.items() if name != "world"
    },
)  # fmt: skip
TASKS = (TASK,)


def accuracy(environment: str | None = None) -> float:
    """Return how often the answer is the true profession, exactly."""
    return TASK.environment(environment).expectation(lambda table: table["answer"] == table["profession"])
