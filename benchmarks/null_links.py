"""Links where there is nothing to find: how often is something called causal?

    python benchmarks/null_links.py            # 60 links of each of four nulls; one JSON line each; about ten minutes
    python benchmarks/null_links.py --links 9  # fewer, for a look

Every link draws its pairs and its halves again, of three questions in turn. Candidates are all attention heads and the
stream behind every layer, which are vectors and read by a logistic probe; options are those of a user who gives none.

- `redrawn`: an organism whose weights are redrawn has no mechanism.
- `labels`: a coin for each pair says which of its sides has the concept, so that nothing carries it; what the
  behavior moves with is as it was.
- `answers`: a coin for each pair exchanges its answer and its foil, so that nothing moves the behavior one way; what
  carries the concept is as it was.
- `direction`: one random direction of the stream, behind a layer in turn, is the only candidate. It may well carry some of
  the effect; it must not pass for more than random.

A link is a false claim if any of its candidates is `causal`. `links_with_one_used` and `links_with_one_available` count those
in which something moves the behavior, or carries the concept: half of a claim is often there. The nominal rate is one in twenty, and a line fails beyond
that and two standard errors. The line `real` is the same links with nothing exchanged: it fails if one of them finds
nothing, for then the nulls would say little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import mechcausal as mc
from mechcausal.data import Contrast
from mechcausal.links import Links
from mechcausal.models.binding import detach

QUESTIONS = ("hiring/gender", "hiring_backup/gender", "bios/pronoun")
PAIRS = 64
EVERYTHING = ["z", "L*.resid_post"]
NOMINAL = 0.05
REAL = 3  # links with nothing exchanged, one of each question
Null = Callable[[Any, Contrast, str, int], Links]


def redrawn(model: Any, pairs: Contrast, factor: str, seed: int) -> Links:  # noqa: ANN401 - a TransformerBridge
    """Link on redrawn weights."""
    return mc.link(mc.causal.untrained(model, seed + 10_000), pairs, EVERYTHING, factor, seed=seed, details=0)


def labels(model: Any, pairs: Contrast, factor: str, seed: int) -> Links:  # noqa: ANN401
    """Link to labels by coin."""
    side = np.random.default_rng([seed, 1]).integers(0, 2, len(pairs))
    return mc.link(model, pairs, EVERYTHING, {"coin": np.concatenate([side, 1 - side])}, seed=seed, details=0)


def answers(model: Any, pairs: Contrast, factor: str, seed: int) -> Links:  # noqa: ANN401
    """Link where answer and foil are exchanged by coin, on both sides of a pair alike."""
    coin = torch.as_tensor(np.random.default_rng([seed, 2]).integers(0, 2, len(pairs)).astype(bool))
    sides = {
        name: replace(
            side, answer=torch.where(coin, side.foil, side.answer), foil=torch.where(coin, side.answer, side.foil)
        )
        for name, side in (("clean", pairs.clean), ("corrupt", pairs.corrupt))
    }
    return mc.link(model, replace(pairs, **sides), EVERYTHING, factor, seed=seed, details=0)


def direction(model: Any, pairs: Contrast, factor: str, seed: int) -> Links:  # noqa: ANN401
    """Link one random direction."""
    drawn = np.random.default_rng([seed, 3]).normal(size=(1, model.cfg.d_model))
    site = f"L{seed // len(QUESTIONS) % model.cfg.n_layers}.resid_post"
    candidate = mc.features.directions(model, site, drawn, name="drawn")
    try:
        return mc.link(model, pairs, candidate, factor, seed=seed, details=0)
    finally:
        detach(model, "drawn")


def real(model: Any, pairs: Contrast, factor: str, seed: int) -> Links:  # noqa: ANN401
    """Link with nothing exchanged."""
    return mc.link(model, pairs, EVERYTHING, factor, seed=seed, details=0)


NULLS: dict[str, Null] = {"redrawn": redrawn, "labels": labels, "answers": answers, "direction": direction}


def line(case: str, run: Null, models: dict[str, Any], count: int) -> dict[str, Any]:
    """Run the links of a case, and return its line."""
    started, claims, candidates = time.process_time(), [], 0
    moved = available = 0
    verdicts: Counter[str] = Counter()
    for seed in range(count):
        question = QUESTIONS[seed % len(QUESTIONS)]
        model = models[question.split("/")[0]]
        links = run(model, mc.contrast(question, model, PAIRS, seed=1000 + seed), question.split("/")[1], seed)
        verdicts.update(links.frame["verdict"])
        candidates += len(links.frame)
        moved += bool((links.frame["used"] == "yes").any())
        available += bool((links.frame["available"] == "yes").any())
        claims.append(bool((links.frame["verdict"] == "causal").any()))
    most = count * NOMINAL + 2 * np.sqrt(count * NOMINAL * (1 - NOMINAL))
    return {
        "case": case, "links": count, "candidates": candidates, "verdicts": dict(verdicts.most_common()),
        "links_with_one_used": moved, "links_with_one_available": available,
        "links_with_a_claim": sum(claims), "most": round(float(most), 1) if case != "real" else None,
        "cpu_seconds": round(time.process_time() - started),
        "passed": all(claims) if case == "real" else bool(sum(claims) <= most),
    }  # fmt: skip


def main() -> int:
    """Run the cases; return 1 if one makes too many claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=60, help="of each null")
    parser.add_argument("--cases", default=",".join(["real", *NULLS]))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: mc.load(f"organism:{name}") for name in (question.split("/")[0] for question in QUESTIONS)}
    missed = 0
    for case in asked.cases.split(","):
        result = line(case, NULLS.get(case, real), models, REAL if case == "real" else asked.links)
        print(json.dumps(result), flush=True)
        missed += not result["passed"]
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
