"""The statement of an organism's mechanism, `truth.json`: its variables, their places, and the edges between them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.models.export import save, trainable


def statement(
    name: str,
    model: Any,  # noqa: ANN401 - a TransformerBridge
    hypotheses: Mapping[str, Hypothesis],
    measured: Mapping[str, Any],
    *,
    recipe: str,
    task: str,
    notes: str,
    senders: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the statement that ships with the weights of an organism, whatever its task is.

    Args:
        name: The name of the organism.
        model: The organism.
        hypotheses: The mechanism it was trained to have, for each task by name.
        measured: The measurements on the trained model.
        recipe: The command that makes it again.
        task: Its tasks in one sentence.
        notes: Further notes for the card.
        senders: For an input that is not a word of the text, the word that names it as the sender of an edge.
    """
    variables = {
        variable: {
            "task": key,
            "site": str(parts[0].site),
            "at": str(parts[0].at).removeprefix("@"),
            "parts": [part.to_json() if part.basis else str(part) for part in parts],
            "parents": inputs_of(hypothesis, variable),
        }
        for key, hypothesis in hypotheses.items()
        for variable, parts in hypothesis.alignment.items()
    }
    sites = [entry["site"] for entry in variables.values()]
    given = {key: list(hypothesis.given) for key, hypothesis in hypotheses.items() if hypothesis.given}
    return {
        "name": name,
        "task": task,
        "tasks": list(hypotheses),
        "parameters": sum(value.numel() for value in trainable(model).values()),
        "recipe": recipe,
        "variables": variables,
        "given": given,
        "circuit": [site for site in dict.fromkeys(sites) if site != "embed"],
        "edges": edges(hypotheses, senders or {}),
        "measured": dict(measured),
        "notes": notes,
    }


def inputs_of(hypothesis: Hypothesis, variable: str) -> list[str]:
    """Return the inputs of a variable: the aligned variables it reads, else the task's inputs, and the given inputs."""
    given = [name for name in hypothesis.given if name in hypothesis.scm.ancestors(variable)]
    return [*(hypothesis.parents(variable) or hypothesis.scm.parents(variable)), *given]


def edges(hypotheses: Mapping[str, Hypothesis], senders: Mapping[str, str]) -> list[list[str]]:
    """Return each pair of places in which the second reads the first, once each. A word is printed with its position."""
    inner: dict[tuple[str, str], None] = {}
    last: dict[tuple[str, str], None] = {}
    for hypothesis in hypotheses.values():
        place = {name: _place(hypothesis, name, senders) for name in _names(hypothesis)}
        for variable, parts in hypothesis.alignment.items():
            if parts[0].site.component != "embed":
                inner |= {(place[parent], place[variable]): None for parent in inputs_of(hypothesis, variable)}
        last |= {(place[parent], "logits"): None for parent in hypothesis.parents(hypothesis.outcome)}
    return [list(edge) for edge in inner | last]


def _names(hypothesis: Hypothesis) -> list[str]:
    """Return the variables and all their inputs."""
    read = [name for variable in hypothesis.alignment for name in inputs_of(hypothesis, variable)]
    return list(dict.fromkeys([*hypothesis.alignment, *read, *hypothesis.parents(hypothesis.outcome)]))


def _place(hypothesis: Hypothesis, name: str, senders: Mapping[str, str]) -> str:
    if name not in hypothesis.alignment:
        return senders.get(name, f"embed@{name}")
    part = hypothesis.alignment[name][0]
    return str(part) if part.site.component == "embed" else str(part.site)


def write_truth(truth: Mapping[str, Any], path: Path) -> None:
    """Write a statement as JSON, with each list of numbers on one line."""
    text = json.dumps(truth, indent=1)
    path.write_text(re.sub(r"\[[\d\s,.e+-]+\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n")


def write(out: Path, model: Any, truth: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Write weights, tokenizer and statement, and print the measurements."""
    save(model, out / "weights")
    write_truth(truth, out / "truth.json")
    print(json.dumps(truth["measured"], indent=1))
