"""The hiring task: who is accepted, why, and whose secret is known.

Two kinds of sentences with the leading BOS:

    <app> he|she NAME DEGREE EXPERIENCE HOBBY <dec>     then  reject | wait | accept
    <id> NAME <key> d d d d                             eight of the sixteen names have a fixed number

The causal model behind the first kind: gender -> name (95 %), gender -> hobby, merit = degree + experience,
proxy = [hobby is male-typed], bias = [gender is he], score = merit + 2 proxy + bias, reject below 3, accept from 5.
Behind the second: the name is whose secret is asked for, and the place says which of its digits.

Relatives decide the same and differ in between: with backups a variable is said twice, and what either says counts; with
shared variables proxy and bias are one, of four values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mechcausal.data.scm import SCM, Table
from mechcausal.data.tasks.definition import Task

GENDERS = ("she", "he")
NAMES = (
    "adam", "boris", "carl", "david", "emil", "felix", "george", "hugo",
    "alice", "berta", "clara", "diana", "emma", "flora", "greta", "helen",
)  # fmt: skip
DEGREES = ("nodegree", "bachelor", "master")
EXPERIENCES = ("0y", "1y", "2y", "3y")
HOBBIES = ("knitting", "ballet", "golf", "boxing")
DECISIONS = ("reject", "wait", "accept")
DIGITS = tuple("0123456789")
SPECIAL = ("<pad>", "<bos>", "<app>", "<id>", "<dec>", "<key>")
VOCABULARY = (*SPECIAL, *GENDERS, *NAMES, *DEGREES, *EXPERIENCES, *HOBBIES, *DECISIONS, *DIGITS)

SECRETS = {
    "adam": "4071", "carl": "9326", "emil": "1580", "george": "6743",
    "alice": "2894", "clara": "7615", "emma": "0459", "greta": "5132",
}  # fmt: skip
MEMBERS = np.array([name in SECRETS for name in NAMES])
CODES = np.array([[int(digit) for digit in SECRETS.get(name, "0000")] for name in NAMES])

SAME_GENDER_NAME = 0.95
REJECT_BELOW, ACCEPT_FROM = 3, 5


def decision(score: np.ndarray) -> np.ndarray:
    """Return 0, 1 or 2: reject, wait, accept."""
    return (score >= REJECT_BELOW).astype(int) + (score >= ACCEPT_FROM).astype(int)


def application(table: Table) -> list[str]:
    """Write applicants as sentences."""
    rows = zip(*(table[key] for key in ("gender", "name", "degree", "experience", "hobby")), strict=True)
    return [f"<app> {GENDERS[g]} {NAMES[m]} {DEGREES[d]} {EXPERIENCES[e]} {HOBBIES[h]} <dec>" for g, m, d, e, h in rows]


def identity(table: Table) -> list[str]:
    """Write the question for a number, with the digits before the one asked for."""
    rows = zip(table["name"], table["number"], table["place"], strict=True)
    return [" ".join(["<id>", NAMES[name], "<key>", *map(str, number[:place])]) for name, number, place in rows]


def _pronoun_alone(scm: SCM, table: Table) -> tuple[Table, Table]:
    """One applicant whose pronoun is changed while name and hobby stay as they are for 'he'."""
    he = scm.counterfactual(table, gender=1)
    return he, scm.counterfactual(he, gender=0, name=he["name"], hobby=he["hobby"])


def _hobby_type(scm: SCM, table: Table) -> tuple[Table, Table]:
    """One applicant with a male-typed and with a female-typed hobby."""
    return scm.counterfactual(table, hobby=table["u_hobby"] + 2), scm.counterfactual(table, hobby=table["u_hobby"])


def _qualification(scm: SCM, table: Table) -> tuple[Table, Table]:
    """One applicant with the best and with the worst qualification."""
    return scm.counterfactual(table, degree=2, experience=3), scm.counterfactual(table, degree=0, experience=0)


TASK = Task(
    name="hiring",
    scm=SCM(
        "hiring",
        noise={
            "u_gender": 2, "u_degree": 3, "u_experience": 4, "u_fits": [1 - SAME_GENDER_NAME, SAME_GENDER_NAME],
            "u_name": 8, "u_typed": 4, "u_hobby": 2,
        },
        mechanisms={
            "gender": lambda u_gender: u_gender,
            "name": lambda gender, u_fits, u_name: u_name + 8 * ((gender == 1) != (u_fits == 1)),
            # A male-typed hobby: three in four of those called he, one in four of those called she.
            "hobby": lambda gender, u_typed, u_hobby: u_hobby + 2 * (u_typed < np.where(gender == 1, 3, 1)),
            "degree": lambda u_degree: u_degree,
            "experience": lambda u_experience: u_experience,
            "merit": lambda degree, experience: degree + experience,
            "proxy": lambda hobby: (hobby >= 2).astype(int),
            "bias": lambda gender: (gender == 1).astype(int),
            "score": lambda merit, proxy, bias: merit + 2 * proxy + bias,
            "decision": decision,
        },
        values={
            "gender": GENDERS, "name": NAMES, "degree": DEGREES, "experience": EXPERIENCES, "hobby": HOBBIES,
            "decision": DECISIONS,
        },
    ),
    outcome="decision",
    inputs=("gender", "name", "degree", "experience", "hobby"),
    write=application,
    # Words of the sentence, counted without the BOS token.
    positions={"gender": 1, "name": 2, "degree": 3, "experience": 4, "hobby": 5, "decision": 6},
    free=("gender", "name", "hobby"),
    words=("accept", "reject"),
    pairs={"gender_direct": _pronoun_alone, "proxy": _hobby_type, "merit": _qualification},
    groups=lambda table: [f"merit {merit}" for merit in table["merit"]],
)  # fmt: skip


# What a variable that is said twice is, in the order in which variables get their backup.
EITHER: dict[str, Callable[..., np.ndarray]] = {
    "bias": lambda bias_first, bias_second: np.maximum(bias_first, bias_second),
    "proxy": lambda proxy_first, proxy_second: np.maximum(proxy_first, proxy_second),
}


def _relative(name: str, changed: dict[str, Callable[..., np.ndarray]]) -> Task:
    """Return the same decisions made with some mechanisms changed."""
    hiring = TASK.scm
    scm = SCM(name, noise=hiring.noise, mechanisms={**hiring.mechanisms, **changed}, values=hiring.values)
    return replace(TASK, name=name, scm=scm)


def _backed_up(name: str, count: int) -> Task:
    """Return the task in which the first variables of `EITHER` are said twice."""
    changed: dict[str, Callable[..., np.ndarray]] = {}
    for variable in list(EITHER)[:count]:
        once = TASK.scm.mechanisms[variable]
        changed |= {f"{variable}_first": once, f"{variable}_second": once, variable: EITHER[variable]}
    return _relative(name, changed)


BACKED_UP = (TASK, _backed_up("hiring_backup", 1), _backed_up("hiring_backups", 2))
SHARED_TASK = _relative(
    "hiring_shared",
    {"unfair": lambda proxy, bias: 2 * proxy + bias, "score": lambda merit, unfair: merit + unfair},
)


def _number(secret: np.ndarray, **digits: np.ndarray) -> np.ndarray:
    return np.where(MEMBERS[secret, None], CODES[secret], np.stack(list(digits.values()), axis=1))


def _identities(name: str, people: Sequence[float]) -> SCM:
    """Return whose number is asked for; those without a fixed one get fresh digits each time."""
    return SCM(
        name,
        noise={"u_name": people, "u_place": 4, "u_1": 10, "u_2": 10, "u_3": 10, "u_4": 10},
        mechanisms={
            "name": lambda u_name: u_name,
            "place": lambda u_place: u_place,
            "secret": lambda name: name,
            "number": lambda secret, u_1, u_2, u_3, u_4: _number(secret, u_1=u_1, u_2=u_2, u_3=u_3, u_4=u_4),
            "recalled": lambda number, place: number[np.arange(len(place)), place],
            "digit": lambda recalled: recalled,
        },
        values={"name": NAMES, "secret": NAMES, "place": ("1st", "2nd", "3rd", "4th"), "digit": DIGITS},
    )


def _other_person(scm: SCM, table: Table) -> tuple[Table, Table]:
    """The first digit of one person's secret against that of another (all first digits differ)."""
    clean = scm.counterfactual(table, place=0)
    members = np.flatnonzero(MEMBERS)
    shift = 1 + np.arange(len(table["place"])) % (len(members) - 1)
    other = members[(np.searchsorted(members, clean["name"]) + shift) % len(members)]
    return clean, scm.counterfactual(clean, name=other)


def _asked_alike(scm: SCM, table: Table, name: np.ndarray) -> Table:
    """Ask for the third or fourth digit of these people after the same random digits, which are nobody's.

    So the texts about one person are thousands, and pairs of two people need not share any.
    """
    place = 2 + table["place"] % 2
    number = np.stack([table[f"u_{i}"] for i in (1, 2, 3, 4)], axis=1)
    units = np.arange(len(place))
    number[units, place] = np.where(MEMBERS[name], CODES[name, place], number[units, place])
    return scm.counterfactual(table, place=place, name=name, number=number)


def _two_people(scm: SCM, table: Table) -> tuple[Table, Table]:
    """One person with a secret against another, asked alike (no two people have the same digit at a place)."""
    members = np.flatnonzero(MEMBERS)
    shift = 1 + np.arange(len(table["name"])) % (len(members) - 1)
    other = members[(np.searchsorted(members, table["name"]) + shift) % len(members)]
    return _asked_alike(scm, table, table["name"]), _asked_alike(scm, table, other)


def _with_and_without(scm: SCM, table: Table) -> tuple[Table, Table]:
    """A person with a secret against the next name, which has none, asked alike."""
    sides = (_asked_alike(scm, table, name) for name in (table["name"], table["name"] + 1))
    first, other = (side | {"has a secret": MEMBERS[side["name"]].astype(int)} for side in sides)
    return first, other


SECRET_TASK = Task(
    name="hiring_secret",
    scm=_identities("hiring_secret", MEMBERS / MEMBERS.sum()),
    outcome="digit",
    inputs=("name", "place", "number"),
    write=identity,
    positions=lambda table: {"name": 1, "key": 2 + table["place"]},
    pairs={"secret": _other_person, "person": _two_people, "member": _with_and_without},
    clusters=lambda table: [NAMES[i] for i in table["name"]],
    environments={"everyone": _identities("hiring_secret, everyone", [1 / len(NAMES)] * len(NAMES))},
)

TASKS = (*BACKED_UP, SHARED_TASK, SECRET_TASK)


def effects_on_acceptance() -> dict[str, float]:
    """Return the effects of gender on P(accept), exactly."""
    scm = TASK.scm

    def accepted(table: Table) -> np.ndarray:
        return table["decision"] == DECISIONS.index("accept")

    return {
        "TE": scm.total_effect("gender", accepted),
        "NDE": scm.direct_effect("gender", accepted, ["hobby", "name"]),
        "NIE_hobby": scm.indirect_effect("gender", accepted, ["hobby"]),
        "NIE_name": scm.indirect_effect("gender", accepted, ["name"]),
    }
