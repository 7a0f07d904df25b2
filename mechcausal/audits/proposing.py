"""A plan proposed from a data file: its columns say which questions it can answer, and comments say what to fill in."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mechcausal.audits.proposed import pairs_of, prompts_of, question
from mechcausal.data.files import Rows, read_rows
from mechcausal.errors import DataError
from mechcausal.method import toml
from mechcausal.models.classifier import SUFFIX

_PAIRS, _CANARIES, _MEMBERS, _PROMPTS = ("clean", "corrupt"), ("prefix", "secret"), ("text", "member"), ("text",)
_MODEL = 'model = "organism:hiring"   # what is audited: a folder, a hub name, smollm2'


def proposed(path: Path, model: str | None = None, folder: Path = Path()) -> str:
    """Return the text of a plan that fits a data file; questions that its rows are too few for are left out, and named.

    Args:
        path: The file: pairs, prompts, canaries, or texts that were in the training data or were not.
        model: The model that the plan names; of a folder, its configuration says whether it is a classifier.
        folder: The folder of the plan, which the file is named from.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", fix="check the name and the folder")
    rows, labels = read_rows(path), _labels_of(model)
    has = set(rows.columns)
    named = model if model is None or not Path(model).exists() else _named_from(folder, Path(model))
    head = [
        f"# Proposed from {path.name}: {len(rows.values)} rows with the columns {', '.join(rows.columns)}.",
        "# Thresholds are yours: remove the # before at_most or at_least, and set the number before you run.",
        f"title = {toml(f'Audit of {path.stem}')}",
        _MODEL if named is None else f"model = {toml(named)}",
        *([f"outcome = {toml(labels[-1])}   # the label whose log-odds count"] if len(labels) > 2 else []),
        'declared_by = ""            # who set the thresholds',
        "choices = []                # what only people can decide: which differences are allowed, and why",
        "",
    ]
    for columns, propose in ((_PAIRS, pairs_of), (_CANARIES, _canaries), (_MEMBERS, _members), (_PROMPTS, prompts_of)):
        if set(columns) <= has:
            return "\n".join([*head, *propose(_named_from(folder, path), rows, labels)]) + "\n"
    wanted = "clean and corrupt, or prefix and secret, or text and member, or text"
    raise DataError(f"{path.name} has no columns that a question reads", got=", ".join(rows.columns), expected=wanted)


def _labels_of(model: str | None) -> tuple[str, ...]:
    """Return the labels of a classifier in a folder, of a reward model its only one; none for any other model."""
    file = Path(model or "") / "config.json"
    if not file.is_file():
        return ()
    config = json.loads(file.read_text(encoding="utf-8"))
    if not str((config.get("architectures") or [""])[0]).endswith(SUFFIX):
        return ()
    labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(labels[key]) for key in sorted(labels, key=int))


def _named_from(folder: Path, path: Path) -> str:
    """Return the name of a file as a plan in a folder gives it."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()


def _canaries(name: str, rows: Rows, labels: tuple[str, ...]) -> list[str]:
    del labels
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
    lines += question("exposure", "canaries", "# at_most = 3.0    # bits")
    return [*lines, *question("extraction", "canaries", "# at_most = 0.0    # the share that greedy decoding writes")]


def _members(name: str, rows: Rows, labels: tuple[str, ...]) -> list[str]:
    del labels, rows
    lines = ["[data.texts]", f"texts = {toml(name)}", ""]
    return [
        *lines,
        *question("membership", "texts", "# at_most = 0.55   # the chance to tell a member from another text"),
    ]
