"""A plan proposed from a data file: its columns say which questions it can answer, and comments say what to fill in."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

from mechcausal.audits.accuracy.calibration import FEWEST
from mechcausal.audits.robustness.environments import Environments
from mechcausal.audits.robustness.worst_group import WorstGroup
from mechcausal.data.files import Rows, read_rows
from mechcausal.errors import DataError
from mechcausal.method import toml

_PAIRS, _CANARIES, _MEMBERS, _PROMPTS = ("clean", "corrupt"), ("prefix", "secret"), ("text", "member"), ("text",)
_FEW = 10  # units of a group below which a share of it says little
_MODEL = 'model = "organism:hiring"   # what is audited: a folder, a hub name, smollm2'


def proposed(path: Path, model: str | None = None, folder: Path = Path()) -> str:
    """Return the text of a plan that fits a data file; questions that its rows are too few for are left out, and named.

    Args:
        path: The file: pairs, prompts, canaries, or texts that were in the training data or were not.
        model: The model that the plan names.
        folder: The folder of the plan, which the file is named from.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", fix="check the name and the folder")
    rows = read_rows(path)
    has = set(rows.columns)
    head = [
        f"# Proposed from {path.name}: {len(rows.values)} rows with the columns {', '.join(rows.columns)}.",
        "# Thresholds are yours: remove the # before at_most or at_least, and set the number before you run.",
        f"title = {toml(f'Audit of {path.stem}')}",
        _MODEL if model is None else f"model = {toml(model)}",
        'declared_by = ""            # who set the thresholds',
        "choices = []                # what only people can decide: which differences are allowed, and why",
        "",
    ]
    for columns, propose in ((_PAIRS, _pairs), (_CANARIES, _canaries), (_MEMBERS, _members), (_PROMPTS, _prompts)):
        if set(columns) <= has:
            return "\n".join([*head, *propose(_named_from(folder, path), rows)]) + "\n"
    wanted = "clean and corrupt, or prefix and secret, or text and member, or text"
    raise DataError(f"{path.name} has no columns that a question reads", got=", ".join(rows.columns), expected=wanted)


def _named_from(folder: Path, path: Path) -> str:
    """Return the name of a file as a plan in a folder gives it."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()


def _pairs(name: str, rows: Rows) -> list[str]:
    lines = ["[data.pairs]", f"pairs = {toml(name)}", *_clusters(rows), ""]
    decided = {"answer", "foil"} <= set(rows.columns)
    if not decided:
        lines += [
            "# Without the columns answer and foil there is a decision only for a classifier or a reward model.",
            "",
        ]
    lines += _question("flips", "pairs", "# at_most = 0.05   # the share of decisions that may change")
    lines += _question("mediation", "pairs", 'mediators = "z"    # heads; or mlp_post.N*, or features of a dictionary')
    if decided:
        lines += _question("selective_invariance", "pairs", "", pairs={"swap": "pairs"}, must_stay=["swap"])
    for name in _amounts(rows):
        hint = (
            "# at_most = 0.1    # what one unit may move; if the texts differ in length: whole = true in [data.pairs]"
        )
        lines += _question("nuisance_effect", "pairs", hint, nuisance=name)
    return lines


def _amounts(rows: Rows) -> list[str]:
    """Return the columns of one's own that are numbers on both sides of every pair."""

    def all_numbers(name: str) -> bool:
        try:
            return all(math.isfinite(float(row[name])) for row in rows.values)
        except (KeyError, TypeError, ValueError):
            return False

    names = [name for name in rows.columns if "." not in name and name not in ("label", "variables", "positions")]
    return [name for name in names if all_numbers(name) and all_numbers(f"corrupt_{name}")]


def _prompts(name: str, rows: Rows) -> list[str]:
    lines = ["[data.prompts]", f"prompts = {toml(name)}", *_clusters(rows), ""]
    if "answer" not in rows.columns:
        return [*lines, "# A column answer (and foil) says what is right; without it only irrelevant words can be tried.",
                *_question("irrelevant", "prompts", "# at_most = 0.05", words=["indeed"])]  # fmt: skip
    lines += _question("accuracy", "prompts", "# at_least = 0.9")
    if len(rows.values) >= FEWEST:
        lines += _question("calibration", "prompts", "# at_most = 0.05   # the calibration error")
    else:
        lines += [f"# calibration needs at least {FEWEST} prompts: here are {len(rows.values)}", ""]
    groups = Counter(str(row["group"]) for row in rows.values if "group" in row)
    if len(groups) > 1:
        small = [f"{group} ({count})" for group, count in groups.items() if count < _FEW]
        note = f"# These groups are too small to be judged: {', '.join(small)}" if small else ""
        lines += [note] if note else []
        lines += _question(
            "group_gaps", "prompts", "# at_most = 0.1    # the gap between groups", metric="selection_rate"
        )
        if min(groups.values()) >= WorstGroup.least:
            lines += _question(
                "worst_group", "prompts", "# at_least = 0.8   # the accuracy of the worst group", by=["group"]
            )
        else:
            lines += [f"# worst_group needs at least {WorstGroup.least} prompts in each group", ""]
    environments = Counter(str(row.get("environment")) for row in rows.values)
    if len(environments) > 1 and min(environments.values()) >= Environments.least:
        lines += _question("environments", "prompts", "# at_most = 0.1    # how much accuracy may fall")
    elif len(environments) > 1:
        lines += [f"# environments needs at least {Environments.least} prompts in each environment", ""]
    return lines


def _canaries(name: str, rows: Rows) -> list[str]:
    secrets = [str(row.get("secret", "")) for row in rows.values]
    digits = {len(secret) for secret in secrets if secret.isdigit()}
    guess = f"digits:{digits.pop()}" if len(digits) == 1 and all(secret.isdigit() for secret in secrets) else ""
    hint = (
        "what each secret could have been"
        if guess
        else "fill in: digits:4, or a list of all that a secret could have been"
    )
    lines = ["[data.canaries]", f"canaries = {toml(name)}", f"candidates = {toml(guess)}   # {hint}", ""]
    if not any(str(row.get("count", "")) == "0" for row in rows.values):
        lines += ["# Rows with count 0, never shown in training, are the control: without them there is none.", ""]
    lines += _question("exposure", "canaries", "# at_most = 3.0    # bits")
    return [*lines, *_question("extraction", "canaries", "# at_most = 0.0    # the share that greedy decoding writes")]


def _members(name: str, rows: Rows) -> list[str]:
    lines = ["[data.texts]", f"texts = {toml(name)}", ""]
    return [
        *lines,
        *_question("membership", "texts", "# at_most = 0.55   # the chance to tell a member from another text"),
    ]


def _clusters(rows: Rows) -> list[str]:
    """Say what intervals are clustered by."""
    for column in ("cluster", "template"):
        if column in rows.columns:
            count = len({str(row.get(column)) for row in rows.values})
            return [f"# intervals are clustered by the column {column}: {count} clusters"]
    return [
        "# There is no column cluster or template: every row counts as independent, which it is not if texts share a template."
    ]


def _question(word: str, data: str, hint: str, **fields: object) -> list[str]:
    lines = ["[[question]]", f"ask = {toml(word)}", f"data = {toml(data)}"]
    lines += [f"{name} = {toml(value)}" for name, value in fields.items()]
    return [*lines, *([hint] if hint else []), ""]
