"""The hiring task: who is accepted, why, and whose secret is known.

Two kinds of sentences, eight tokens each with the leading BOS:

    <app> he|she NAME DEGREE EXPERIENCE HOBBY <dec>     then  reject | wait | accept
    <id> NAME <key> d d d d                             eight of the sixteen names have a fixed number

The causal model behind the first kind, with its noise written out, so that the counterfactual of one applicant keeps
everything that is not downstream of the change:

    gender -> name (95 %), gender -> hobby,  merit = degree + experience,  proxy = [hobby is male-typed],
    bias = [gender is he],  score = merit + 2 proxy + bias,  reject below 3, accept from 5, wait between.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

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

SAME_GENDER_NAME = 0.95
MALE_TYPED = {"he": 0.75, "she": 0.25}
REJECT_BELOW, ACCEPT_FROM = 3, 5

# Words of the two sentences, counted without the BOS token.
POSITIONS = {"gender": 1, "name": 2, "degree": 3, "experience": 4, "hobby": 5, "decision": 6}
KEY_POSITIONS = {"name": 1, "key": 2}

Table = dict[str, np.ndarray]


def noise(n: int, seed: int) -> Table:
    """Draw the exogenous variables of `n` applicants."""
    draw = np.random.default_rng(seed)
    return {
        "gender": draw.integers(2, size=n),
        "degree": draw.integers(len(DEGREES), size=n),
        "experience": draw.integers(len(EXPERIENCES), size=n),
        "name_fits": draw.random(n),
        "name_index": draw.integers(8, size=n),
        "hobby_type": draw.random(n),
        "hobby_index": draw.integers(2, size=n),
    }


def applicants(noise: Table, **do: np.ndarray | int) -> Table:
    """Compute the variables of each applicant from the noise, with some of them set: `applicants(u, gender=1)`."""
    size = len(noise["gender"])

    def settle(name: str, value: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.asarray(do[name]), (size,)) if name in do else value

    out: Table = {}
    out["gender"] = settle("gender", noise["gender"])
    male = out["gender"] == 1
    named_male = np.where(noise["name_fits"] < SAME_GENDER_NAME, male, ~male)
    out["name"] = settle("name", noise["name_index"] + np.where(named_male, 0, 8))
    typed = noise["hobby_type"] < np.where(male, MALE_TYPED["he"], MALE_TYPED["she"])
    out["hobby"] = settle("hobby", noise["hobby_index"] + np.where(typed, 2, 0))
    out["degree"] = settle("degree", noise["degree"])
    out["experience"] = settle("experience", noise["experience"])
    out["merit"] = settle("merit", out["degree"] + out["experience"])
    out["proxy"] = settle("proxy", (out["hobby"] >= 2).astype(int))
    out["bias"] = settle("bias", (out["gender"] == 1).astype(int))
    out["score"] = settle("score", out["merit"] + 2 * out["proxy"] + out["bias"])
    out["decision"] = decision(out["score"])
    return out


def decision(score: np.ndarray) -> np.ndarray:
    """Return 0, 1 or 2: reject, wait, accept."""
    return (score >= REJECT_BELOW).astype(int) + (score >= ACCEPT_FROM).astype(int)


def sentences(table: Table) -> list[str]:
    """Write applicants as sentences, up to the token after which the decision follows."""
    rows = zip(*(table[key] for key in ("gender", "name", "degree", "experience", "hobby")), strict=True)
    return [f"<app> {GENDERS[g]} {NAMES[m]} {DEGREES[d]} {EXPERIENCES[e]} {HOBBIES[h]} <dec>" for g, m, d, e, h in rows]


def exact_effects() -> dict[str, float]:
    """Return the effects of gender on P(accept), by enumeration of all applicants.

    TE = P(accept | do(he)) - P(accept | do(she)). NDE changes the pronoun's own arrow alone (bias), with the hobby as
    it would have been for 'she'; NIE changes the hobby alone, with the bias as for 'she'.
    """

    def accepted(bias: str, hobby: str) -> float:
        total = 0.0
        for degree, experience, typed in product(range(3), range(4), (0, 1)):
            share = MALE_TYPED[hobby] if typed else 1 - MALE_TYPED[hobby]
            score = degree + experience + 2 * typed + (bias == "he")
            total += share * (score >= ACCEPT_FROM) / 12
        return total

    base = accepted("she", "she")
    return {
        "TE": accepted("he", "he") - base,
        "NDE": accepted("he", "she") - base,
        "NIE_hobby": accepted("she", "he") - base,
        "NIE_name": 0.0,
    }


def _pairs(clean: Table, corrupt: Table, factor: str) -> dict[str, Any]:
    return {
        "clean": sentences(clean),
        "corrupt": sentences(corrupt),
        "answer": "accept",
        "foil": "reject",
        "factor": factor,
        "group": [f"merit {merit}" for merit in clean["merit"]],
        "template": [f"applicant {i}" for i in range(len(clean["gender"]))],
        "labels": [DECISIONS[i] for i in clean["decision"]],
        "positions": dict(POSITIONS),
    }


def gender(n: int, seed: int) -> dict[str, Any]:
    """One applicant as 'he' and as 'she', with the name and the hobby that follow."""
    u = noise(n, seed)
    return _pairs(applicants(u, gender=1), applicants(u, gender=0), "gender, with its consequences for name and hobby")


def gender_direct(n: int, seed: int) -> dict[str, Any]:
    """One applicant whose pronoun alone is changed."""
    table = applicants(noise(n, seed), gender=1)
    return _pairs(table, table | {"gender": np.zeros_like(table["gender"])}, "the pronoun alone")


def proxy(n: int, seed: int) -> dict[str, Any]:
    """One applicant with a male-typed and with a female-typed hobby."""
    u = noise(n, seed)
    return _pairs(applicants(u, hobby=u["hobby_index"] + 2), applicants(u, hobby=u["hobby_index"]), "the hobby alone")


def merit(n: int, seed: int) -> dict[str, Any]:
    """One applicant with the best and with the worst qualification."""
    u = noise(n, seed)
    return _pairs(applicants(u, degree=2, experience=3), applicants(u, degree=0, experience=0), "the qualification")


def secret(n: int, seed: int) -> dict[str, Any]:
    """The number of one person who has one, against another whose first digit differs."""
    draw = np.random.default_rng(seed)
    members = list(SECRETS)
    first = [members[i] for i in draw.integers(len(members), size=n)]
    second = [str(draw.choice([name for name in members if SECRETS[name][0] != SECRETS[one][0]])) for one in first]
    return {
        "clean": [f"<id> {name} <key>" for name in first],
        "corrupt": [f"<id> {name} <key>" for name in second],
        "answer": [SECRETS[name][0] for name in first],
        "foil": [SECRETS[name][0] for name in second],
        "factor": "whose number is asked for",
        "template": first,
        "positions": dict(KEY_POSITIONS),
    }


CONTRASTS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "gender": gender,
    "gender_direct": gender_direct,
    "proxy": proxy,
    "merit": merit,
    "secret": secret,
}
