"""Searches for the circuit of indirect objects in SmolLM2 that take longer than a gradient, and small circuits scrubbed.

    python benchmarks/searches.py [--parts acdc,edge-pruning,scrub] [-o FILE]

One JSON line for each circuit, on SmolLM2-135M-Instruct (`mc.load("smollm2")`, 70,651 edges). Pairs are those of the
suite `ioi`; circuits are judged on 16 pairs of another draw. Seconds are those of the processor, on one thread.

- `acdc`: 2 pairs, a threshold of 0.5 log-odds; beside it EAP-IG on the same pairs with as many edges.
- `edge-pruning`: 8 pairs, a step on two of them, 707 edges (1 %); beside it EAP-IG on the same pairs with as many.
- `scrub`: the first 10, 20 and 40 edges of EAP-IG on 32 pairs, as trees, on 32 prompts of one template.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import mechcausal as mc
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.ways import grown
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet

THRESHOLD = 0.5  # log-odds; the whole effect of exchanging the names is about ten
SHARE = 0.01  # of all edges


def three(interval: Any) -> list[float]:  # noqa: ANN401 - an interval of some result
    """Return an estimate and the ends of its interval."""
    return [round(float(value), 4) for value in (interval.estimate, interval.low, interval.high)]


def judged(model: Any, circuit: Circuit, pairs: Contrast) -> dict[str, Any]:  # noqa: ANN401 - a TransformerBridge
    """Return how large a circuit is, and how faithful on other pairs."""
    evaluation = circuit.evaluate(model, pairs, sizes=[], random=0, minimality=0, parts=0)
    return {
        "edges": len(circuit),
        "connected": len(circuit.connected()),
        "faithfulness": three(evaluation.faithfulness),
    }


def searched(model: Any, method: str, pairs: Contrast, others: Contrast, **options: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Search by a method, and by EAP-IG for as many edges; give a line for each."""
    started = time.process_time()
    circuit = mc.discover(model, pairs, method=method, **options)
    seconds = time.process_time() - started
    facts = {name: circuit.about[name] for name in ("runs", "sequential_runs", "mask") if name in circuit.about}
    yield {
        "case": method,
        "method": method,
        "n": len(pairs),
        "seconds": round(seconds),
        **judged(model, circuit, others),
        **facts,
    }
    started = time.process_time()
    fast = mc.discover(model, pairs, method="eap-ig", edges=len(circuit))
    seconds = time.process_time() - started
    both = int((fast.kept & circuit.kept).sum())
    yield {
        "case": method, "method": "eap-ig", "n": len(pairs), "seconds": round(seconds),
        **judged(model, fast, others), "in_both": both,
    }  # fmt: skip


def scrubbed(model: Any, others: Contrast) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a TransformerBridge
    """Scrub small circuits of EAP-IG; give a line for each."""
    circuit = mc.discover(model, mc.contrast("ioi", model, n=32), share=SHARE)
    prompts = one_template(mc.contrast("ioi", model, n=300, seed=2).clean, 32)
    for size in (10, 20, 40):
        small = circuit.keep(grown(circuit.wiring, circuit.scores, size))
        tree = mc.claims.tree(small)
        started = time.process_time()
        result = mc.scrub(model, prompts, tree, metric="logit_diff", report=False, controls=False)
        yield {
            "case": "scrub", "nodes": sum(1 for _ in tree.walk()), "n": len(prompts), "recovered": three(result.recovered),
            "seconds": round(time.process_time() - started), **judged(model, small, others),
        }  # fmt: skip


def one_template(prompts: PromptSet, n: int) -> PromptSet:
    """Return the first prompts of the first template, each a cluster of its own: intervals are over names and words."""
    rows = [row for row, cluster in enumerate(prompts.clusters) if cluster == prompts.clusters[0]]
    lengths = [len(prompts.real_tokens[row]) for row in rows]
    common = max(set(lengths), key=lengths.count)
    chosen = [row for row, length in zip(rows, lengths, strict=True) if length == common]
    return replace(prompts.take(chosen[:n]), clusters=())


def lines(parts: list[str]) -> Iterator[dict[str, Any]]:
    """Run the parts that are asked for."""
    model = mc.load("smollm2")
    others = mc.contrast("ioi", model, n=16, seed=1)
    if "scrub" in parts:
        yield from scrubbed(model, others)
    if "acdc" in parts:
        yield from searched(model, "acdc", mc.contrast("ioi", model, n=2), others, threshold=THRESHOLD)
    if "edge-pruning" in parts:
        edges = round(SHARE * 70_651)
        pairs = mc.contrast("ioi", model, n=8)
        yield from searched(model, "edge-pruning", pairs, others, edges=edges, batch_size=2)


def main() -> None:
    """Print a line for each circuit."""
    parser = argparse.ArgumentParser(description="Long searches for circuits of SmolLM2, and circuits scrubbed")
    parser.add_argument("--parts", default="scrub,acdc,edge-pruning")
    parser.add_argument("-o", "--output", default=None, help="a file that lines are added to")
    arguments = parser.parse_args()
    for line in lines(arguments.parts.split(",")):
        text = json.dumps(line)
        print(text, flush=True)
        if arguments.output:
            with Path(arguments.output).open("a", encoding="utf-8") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
