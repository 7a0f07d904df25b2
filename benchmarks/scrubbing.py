"""Causal scrubbing: the engine that runs every distinct input once against a plain one that runs every node and example.

    python benchmarks/scrubbing.py [--quick]

One JSON line for each hypothesis. Both engines are given the same draws in one process, and take turns; `max_diff` is
the largest gap between their logits. The plain engine is batched over examples, ends each forward at the last layer it
needs and has no hooks; what it lacks is only the reuse. `forwards` counts what is computed in forwards of a whole prompt
through all layers (a run that begins at the last token of the second layer is a fraction of one), `forwards_ratio` how
many times fewer these are than the plain engine's; `token_layers_ratio` also grants the plain engine that its forwards
end early. `ratio` is what is left of that in time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from transformers import GPT2LMHeadModel
from transformers.utils import logging

import mechcausal as mc
from mechcausal.causal import Hypothesis, Node
from mechcausal.causal.scrubbing.evaluation import Tree
from mechcausal.causal.scrubbing.sampling import Draw, Sampler
from mechcausal.causal.scrubbing.tree import tree_of
from mechcausal.organisms import folder

sys.path.insert(0, str(Path(__file__).parent))
from plain_scrubbing import Evaluation, PlainGPT2, distinct_inputs, evaluate, evaluate_batched

FLOOR = 5  # times fewer forwards, counted either way
SEEDS = 3  # draws for each reference
BATCH = 256
CHECKED = 16  # examples that are also compared with the one-by-one recursion


@dataclass(frozen=True)
class Case:
    """One hypothesis about one organism."""

    name: str
    organism: str
    root: Node
    environment: str | None = None


def hiring() -> Iterator[Case]:
    """Yield the true hypothesis of the hiring organism, less and more detailed."""
    truth = tree_of(Hypothesis.of("hiring"))
    yield Case("hiring", "hiring", truth, "broad")
    reads = {"merit": ("degree", "experience"), "proxy": ("hobby",), "bias": ("gender",)}
    inputs = truth
    for head, variables in reads.items():
        leaves = [Node(f"{head} < {v}", f"embed@{v}", v) for v in variables]
        inputs = inputs.changed(head, children=leaves)
    yield Case("hiring, down to the words", "hiring", inputs, "broad")
    split = truth
    for head in reads:
        leaves = [Node(f"{head} < {v}", f"L1.resid_pre@{v}", v) for v in mc.task("hiring").inputs]
        split = split.changed(head, children=leaves)
    yield Case("hiring, split by position", "hiring", split, "broad")


def brackets() -> Iterator[Case]:
    """Yield hypotheses of the published kind, numbered as in the write-up of the bracket classifier."""
    place = Hypothesis.of("brackets").alignment
    strings = [name for name in mc.task("brackets").positions if name.startswith("p")]
    count = Node("count", place["elevation"], "level")
    horizon = Node("horizon", place["horizon"], "horizon")
    first = Node("first", place["first_open"], "first_open")
    without_first = Node("answer", children=[count, horizon])
    yield Case("brackets 1a: count and horizon", "brackets", without_first)
    with_first = Node("answer", children=[count, horizon, first])
    yield Case("brackets 1b: and the first bracket", "brackets", with_first)
    inputs = with_first.changed("count", feature="elevation")
    inputs = inputs.changed("first", children=[Node("first < p1", "embed@p1", "p1")])
    yield Case("brackets 2a: what the heads read", "brackets", inputs)

    def told(at: str) -> str:
        below = at.replace("p", "below_")
        return below if below in mc.task("brackets").scm.mechanisms else at

    split = with_first.changed(
        "horizon", children=[Node(f"horizon < {at}", f"L1.resid_pre@{at}", told(at)) for at in strings]
    )
    yield Case("brackets 3a: horizon split by position", "brackets", split)


def in_turns(runs: int, *functions: Callable[[], Any]) -> list[float]:
    """Return the median seconds of each function, called one after the other, again and again."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


@torch.no_grad()
def measure(case: Case, n: int, runs: int) -> dict[str, Any]:
    """Run one case through both engines."""
    model = mc.load(f"organism:{case.organism}")
    written_out = PlainGPT2(GPT2LMHeadModel.from_pretrained(folder(case.organism) / "weights").eval())
    prompts = mc.task(case.organism).prompts(model, n, environment=case.environment)
    tree = Tree(model, case.root, prompts, batch_size=BATCH)
    sampler = Sampler(case.root, prompts)
    drawn = [sampler.draw(np.arange(n), seed) for seed in range(SEEDS)]
    draws = {
        name: Draw(*(
            None if getattr(node_draw, of) is None else np.concatenate([getattr(d[name], of) for d in drawn])
            for of in "xo"
        ))
        for name, node_draw in drawn[0].items()
    }  # fmt: skip
    references = draws[case.root.name].x
    per_forward = prompts.tokens.shape[1] * tree.able.shape.n_layers

    def shared() -> np.ndarray:
        return tree.run(tree.schedule(draws), draws, lambda logits, which: logits.T.numpy()).T

    def plain() -> Evaluation:
        return evaluate_batched(written_out, case.root, prompts, draws, references, BATCH)

    scores = shared()
    executed = tree.executed
    expected = plain()
    checked = evaluate(written_out, case.root, prompts, draws, references[:CHECKED])
    seconds, plain_seconds = in_turns(runs, shared, plain)
    result = mc.scrub(model, prompts, case.root, seeds=SEEDS, report=False, controls=False, lonely="keep")
    return {
        "case": case.name,
        "nodes": len(list(case.root.walk())),
        "inner_nodes": sum(bool(node.children) for node in case.root.walk()),
        "examples": len(references),
        "forwards": round(executed / per_forward, 1),
        "plain_forwards": expected.forwards,
        "forwards_ratio": round(expected.forwards * per_forward / executed, 2),
        "token_layers_ratio": round(expected.token_layers / executed, 2),
        "distinct_pairs": distinct_inputs(case.root, draws),
        "seconds": round(seconds, 3),
        "plain_seconds": round(plain_seconds, 3),
        "ratio": round(plain_seconds / seconds, 2),
        "max_diff": max(
            float(np.abs(scores - expected.logits.numpy()).max()),
            float(np.abs(scores[:CHECKED] - checked.logits.numpy()).max()),
        ),
        "recovered": round(float(result.recovered.estimate), 4),
        "floor": FLOOR,
        "threads": torch.get_num_threads(),
        "runs": runs,
    }


def main() -> None:
    """Print one line for each case, and fail if the engines differ or share too little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer prompts, fewer repetitions")
    parser.add_argument("--only", help="run the cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    n, runs = (128, 3) if arguments.quick else (1024, 5)
    for case in (*hiring(), *brackets()):
        if arguments.only and arguments.only not in case.name:
            continue
        line = measure(case, n, runs)
        print(json.dumps(line), flush=True)
        assert line["max_diff"] < 1e-4, line["case"]
        assert line["forwards"] <= line["distinct_pairs"], line["case"]
        assert min(line["forwards_ratio"], line["token_layers_ratio"]) >= FLOOR, line["case"]


if __name__ == "__main__":
    main()
