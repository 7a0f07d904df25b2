"""Run the benchmark: every method on every question, several draws of pairs each, written as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mechcausal.arguments import Count, Seed, Texts, checked
from mechcausal.circuits.benchmark.benchmark import Benchmark
from mechcausal.circuits.benchmark.methods import Scorer, forwards_of, scorers
from mechcausal.circuits.benchmark.questions import QUESTIONS, Question, questions
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.known.truth import truth
from mechcausal.data.contrast import Contrast
from mechcausal.data.tasks import contrast
from mechcausal.errors import ArgumentError, MechcausalError
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.load import load

DRAWS, PAIRS = 5, 32
QUICK_DRAWS, QUICK_PAIRS = 2, 24
_HELD_OUT = 10_000  # added to the seed of the pairs on which circuits are judged


@checked
def bench(
    *,
    methods: Texts | Mapping[str, Callable[..., Any]] | None = None,
    organisms: Texts | None = None,
    n: Count | None = None,
    draws: Count | None = None,
    seed: Seed = 0,
    quick: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
) -> Benchmark:
    """Run methods of circuit discovery on organisms whose circuit is known, and say how well they find it.

    Estimand: the area under the ROC curve of the scores of edges (and of nodes) against the true ones, over draws of
    pairs: the chance that a true edge has a larger absolute score than a false one. 1 is perfect, 0.5 is chance, less is
    worse than chance. Truth follows from the weights or the training of an organism (`mc.circuits.truth`). Intervals are
    t-intervals of the mean over draws.

    Args:
        methods: The methods, by the names that `mc.discover` takes; all of them if None. A mapping gives scorers of your
            own: functions of (model, pairs, seed) that return a circuit.
        organisms: The organisms; all whose circuit is known if None.
        n: How many pairs in each draw; 32 unless said, 24 if quick.
        draws: How many draws of pairs; 5 unless said, 2 if quick.
        seed: The seed of the first draw.
        quick: One question about each organism, fewer and smaller draws.
        out: A .json file that is written after each method and question, with a page beside it. A file that is there
            already is gone on with.
        progress: Whether to show a bar.

    Example:
        >>> import mechcausal as mc
        >>> result = mc.circuits.bench(methods=["random"], organisms=["by_hand"], quick=True, progress=False)
        >>> list(result.methods), len(result.rows)
        (['random'], 2)
    """
    chosen = list(scorers(methods))
    asked = questions(organisms, quick=quick)
    if not chosen or not asked:
        raise ArgumentError("there is nothing to run", fix="name a method and an organism, or leave both out for all")
    settings = {
        "n": n or (QUICK_PAIRS if quick else PAIRS), "draws": draws or (QUICK_DRAWS if quick else DRAWS), "seed": seed,
    }  # fmt: skip
    rows = Benchmark.begun(out, settings)
    bar = tqdm(total=len(asked) * len(chosen), desc="circuits", unit="method", disable=None if progress else True)
    wanted: list[Mapping[str, Any]] = []
    for question in asked:
        model = load(f"organism:{question.organism}")
        digest = weights_fingerprint(model)
        for method, scorer in scorers(methods, question.metric).items():
            key = question.name, method, digest
            done = [row for row in rows if (row["question"], row["method"], row["weights"]) == key]
            if not done:
                done = [{**row, "weights": digest} for row in _measured(model, question, method, scorer, settings)]
                rows += done
                if out is not None:
                    Benchmark.made(rows, settings).save(out)
            wanted += done
            bar.update()
    bar.close()
    made = Benchmark.made(wanted, settings)
    if out is not None:
        Benchmark.made(rows, settings).save(out)
    return made


def _measured(
    model: Any,  # noqa: ANN401 - a bridge
    question: Question,
    method: str,
    scorer: Scorer,
    settings: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Run one method on all draws of one question."""
    rows: list[dict[str, Any]] = []
    first = 1000 * QUESTIONS.index(question)  # a method that draws draws anew for each question
    for draw in range(settings["draws"]):
        pairs = contrast(question.contrast, model, settings["n"], seed=settings["seed"] + draw)
        true_circuit = truth(model, pairs, organism=question.organism)
        row: dict[str, Any] = {
            "question": question.name, "organism": question.organism, "contrast": question.contrast,
            "kind": f"{true_circuit.kind}, flat" if question.flat else true_circuit.kind,
            "method": method, "draw": draw,
            "true": int(true_circuit.true_units.sum()), "edges": len(true_circuit.true_units),
        }  # fmt: skip
        try:
            began = time.perf_counter()
            circuit = scorer(model, pairs, first + draw)
            row["seconds"] = time.perf_counter() - began
        except MechcausalError as error:
            return [row | {"not_run": str(error)}]
        row |= {"edge_auc": true_circuit.edge_auc(circuit), "node_auc": true_circuit.node_auc(circuit)}
        row["forwards"] = forwards_of(circuit)
        others = contrast(question.contrast, model, settings["n"], seed=settings["seed"] + draw + _HELD_OUT)
        rows.append(row | {"cmd": distance(model, circuit, others, question.metric)})
    return rows


def distance(
    model: Any,  # noqa: ANN401 - a bridge
    circuit: Circuit,
    pairs: Contrast,
    metric: str = "logit_diff",
) -> float | None:
    """Return the CMD of a circuit on other pairs by one metric, whatever it was found by; None where it has no curve."""
    evaluate = getattr(circuit, "evaluate", None)
    if evaluate is None:
        return None
    try:  # organisms know few sentences, so the same pairs come again in another draw
        area = evaluate(model, pairs, metric=metric, shared=True, minimality=0, random=0).cmd
    except MechcausalError:  # these pairs leave nothing to be kept
        return None
    return None if area is None else area.estimate
