"""The questions that the columns of pairs and of prompts allow, as lines of a plan; what is left out is said, with the reason.

What a model can be asked depends on what it is: `labels` are those of a classifier, the only one of a reward model, and none
of a language model, or where the model is not known.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from mechcausal.audits.accuracy.calibration import FEWEST
from mechcausal.audits.robustness.environments import Environments
from mechcausal.audits.robustness.worst_group import WorstGroup
from mechcausal.data.files import Rows
from mechcausal.method import toml

Labels = tuple[str, ...]
_FEW = 10  # units of a group below which a share of it says little
_PERTURBATION = "perturbation"  # a column of pairs that says what differs within each


def pairs_of(name: str, rows: Rows, labels: Labels) -> list[str]:
    """Return the questions about pairs.

    Args:
        name: The file, as the plan names it.
        rows: Its rows.
        labels: The labels of the model.
    """
    uneven = _of_other_lengths(rows)
    table = [
        f"pairs = {toml(name)}",
        *(["whole = true               # the texts of a pair differ in length"] if uneven else []),
    ]
    lines = ["[data.pairs]", *table, *_clusters(rows), ""]
    if len(labels) == 1:
        return [*lines, *_rewarded(rows)]
    answered = {"answer", "foil"} <= set(rows.columns)
    if not (answered or labels):
        lines += [
            "# Without the columns answer and foil there is a decision only for a classifier or a reward model.",
            "",
        ]
    lines += question("flips", "pairs", "# at_most = 0.05   # the share of decisions that may change")
    if uneven:
        lines += ["# mediation needs pairs whose texts correspond token by token: name positions, see data.md", ""]
    elif (count := _cluster_count(rows)) < 2:
        lines += [f"# mediation needs pairs of at least 2 clusters: here is {count}", ""]
    else:
        lines += question(
            "mediation", "pairs", 'mediators = "z"    # heads; or mlp_post.N*, or features of a dictionary'
        )
    if answered or "label" in rows.columns:
        lines += _selective(table, rows)
    return [*lines, *_nuisances(rows)]


def _of_other_lengths(rows: Rows) -> bool:
    """Say whether the texts of some pair have not as many words, and nothing says which correspond."""
    if any(column.startswith(("position", "corrupt_position")) for column in rows.columns):
        return False
    return any(len(str(row["clean"]).split()) != len(str(row["corrupt"]).split()) for row in rows.values)


def _selective(table: list[str], rows: Rows) -> list[str]:
    """Return the question what must stay and what must change: by the labels where there are some, else all must stay.

    Each value of the column `perturbation` is one; without it all pairs are.
    """
    kinds: dict[str, list[bool]] = {}
    for row in rows.values:
        stays = row.get("corrupt_label", row.get("label")) == row.get("label")
        kinds.setdefault(str(row.get(_PERTURBATION, "swap")), []).append(stays)
    must_stay = [kind for kind, stay in kinds.items() if all(stay)]
    must_change = [kind for kind, stay in kinds.items() if not any(stay)]
    if not (must_stay or must_change):
        return [
            "# selective_invariance needs pairs of which all labels stay, or all change: add a column perturbation",
            "",
        ]
    fields: dict[str, object] = {"pairs": dict.fromkeys(kinds, "pairs")}
    lines = []
    if _PERTURBATION in rows.columns:
        fields["pairs"] = {kind: f"pairs_{number}" for number, kind in enumerate(kinds, 1)}
        for number, kind in enumerate(kinds, 1):
            lines += [f"[data.pairs_{number}]", *table, f"perturbation = {toml(kind)}", ""]
    fields |= {key: kept for key, kept in (("must_stay", must_stay), ("must_change", must_change)) if kept}
    return [*lines, *question("selective_invariance", "pairs", "", **fields)]


def _rewarded(rows: Rows) -> list[str]:
    """Return the questions about pairs of a reward model."""
    lines = ["# A reward model is right where clean, which was chosen, has the larger reward. If no one chose (these are rewrites),",
             "# take out accuracy and what follows it but nuisance_effect.", ""]  # fmt: skip
    lines += question("accuracy", "pairs", "# at_least = 0.7")
    lines += [*_calibrated(rows, "pairs"), *_by_group(rows, "pairs", gaps=False), *_by_environment(rows, "pairs")]
    return [*lines, *_nuisances(rows)]


def _nuisances(rows: Rows) -> list[str]:
    """Return a question for every column of one's own that is a number on both sides of every pair."""
    lines = []
    for name in _amounts(rows):
        still = sum(float(row[name]) == float(row[f"corrupt_{name}"]) for row in rows.values)
        if still:
            lines += [
                f"# nuisance_effect needs rewrites, which all differ in {name}: {still} of these pairs do not",
                "",
            ]
        elif _cluster_count(rows) < 2:
            lines += ["# nuisance_effect needs pairs of at least 2 clusters", ""]
        else:
            lines += question("nuisance_effect", "pairs", "# at_most = 0.1    # what one unit may move", nuisance=name)
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


def prompts_of(name: str, rows: Rows, labels: Labels) -> list[str]:
    """Return the questions about prompts.

    Args:
        name: The file, as the plan names it.
        rows: Its rows.
        labels: The labels of the model.
    """
    lines = ["[data.prompts]", f"prompts = {toml(name)}", *_clusters(rows), ""]
    by_label = "label" in rows.columns and (len(labels) > 1 or "answer" not in rows.columns)
    if len(labels) == 1 or not (by_label or "answer" in rows.columns):
        why = (
            "A reward model is right about pairs"
            if len(labels) == 1
            else "A column answer (and foil), or label, says what is right"
        )
        fields: dict[str, object] = {"words": [_usual_word(rows)]} | ({} if len(labels) == 1 else {"against": "all"})
        return [*lines, f"# {why}; of these prompts only irrelevant words can be tried.", *question("irrelevant", "prompts", "# at_most = 0.05", **fields)]  # fmt: skip
    if by_label and not labels:
        lines += ["# There is a column label: these questions are for a classifier with labels of these names.", ""]
    lines += question("accuracy", "prompts", "# at_least = 0.9")
    return [
        *lines,
        *_calibrated(rows, "prompts"),
        *_by_group(rows, "prompts", gaps=True),
        *_by_environment(rows, "prompts"),
    ]


def _usual_word(rows: Rows) -> str:
    """Return the word that stands most often in the texts, which a tokenizer of such texts has."""
    words = Counter(word for row in rows.values for word in str(row["text"]).split() if word.isalpha())
    return words.most_common(1)[0][0] if words else "indeed"


def _calibrated(rows: Rows, data: str) -> list[str]:
    if len(rows.values) < FEWEST:
        return [f"# calibration needs at least {FEWEST} {data}: here are {len(rows.values)}", ""]
    return question("calibration", data, "# at_most = 0.05   # the calibration error")


def _by_group(rows: Rows, data: str, *, gaps: bool) -> list[str]:
    groups = Counter(str(row["group"]) for row in rows.values if "group" in row)
    if len(groups) < 2:
        return []
    small = [f"{group} ({count})" for group, count in groups.items() if count < _FEW]
    lines = [f"# These groups are too small to be judged: {', '.join(small)}"] if small else []
    if gaps:
        lines += _gaps(rows)
    if min(groups.values()) >= WorstGroup.least:
        return [
            *lines,
            *question("worst_group", data, "# at_least = 0.8   # the accuracy of the worst group", by=["group"]),
        ]
    return [*lines, f"# worst_group needs at least {WorstGroup.least} {data} in each group", ""]


def _gaps(rows: Rows) -> list[str]:
    """Return the question about gaps between groups, where a decision means the same in every prompt."""
    answered, hint = "answer" in rows.columns, "# at_most = 0.1    # the gap between groups"
    if answered and len({str(row.get("answer")) for row in rows.values}) > 1:
        return ["# group_gaps needs one answer for all prompts, so that a decision means the same in each", ""]
    if answered and "foil" not in rows.columns:
        return ["# group_gaps needs a column foil", ""]
    kinds = sorted({str(row["label"]).strip() for row in rows.values if "label" in row})
    named = {} if not kinds or set(kinds) <= {"0", "1"} or answered else {"positive": kinds[-1]}
    return question("group_gaps", "prompts", hint, metric="selection_rate", **named)


def _by_environment(rows: Rows, data: str) -> list[str]:
    environments = Counter(str(row.get("environment")) for row in rows.values)
    if len(environments) < 2:
        return []
    if min(environments.values()) < Environments.least:
        return [f"# environments needs at least {Environments.least} {data} in each environment", ""]
    return question("environments", data, "# at_most = 0.1    # how much accuracy may fall")


def _cluster_column(rows: Rows) -> str:
    return next((column for column in ("cluster", "template") if column in rows.columns), "")


def _cluster_count(rows: Rows) -> int:
    column = _cluster_column(rows)
    return len({str(row.get(column)) for row in rows.values}) if column else len(rows.values)


def _clusters(rows: Rows) -> Iterator[str]:
    """Say what intervals are clustered by."""
    if column := _cluster_column(rows):
        yield f"# intervals are clustered by the column {column}: {_cluster_count(rows)} clusters"
    else:
        yield "# There is no column cluster or template: every row counts as independent, which it is not if texts share a template."


def question(word: str, data: str, hint: str, **fields: object) -> list[str]:
    """Return the lines of a question, with a hint below them.

    Args:
        word: Its word.
        data: The name of its data.
        hint: A comment, or nothing.
        **fields: Its other fields.
    """
    lines = ["[[question]]", f"ask = {toml(word)}", f"data = {toml(data)}"]
    lines += [f"{name} = {toml(value)}" for name, value in fields.items()]
    return [*lines, *([hint] if hint else []), ""]
