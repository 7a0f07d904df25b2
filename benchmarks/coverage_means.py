"""How often the 95 % intervals of mean ablation cover, where the means come from the prompts that are ablated.

`coverage.py` runs this and prints one JSON line a cell. A sample of prompts is drawn, its sites are ablated by the means
of that sample, and the interval of the change is compared with the change of very many prompts under the means of very
many prompts. The mean is estimated as well as the effect, and the interval counts both, to first order.

- `model`: `random`, a GPT-2 with random weights of large size, in which an ablation moves the metric in a curved way; and, with
  `coverage.py --beyond`, `hiring`, the organism: it computes steps and products of words, which a mean of few prompts
  moves so far that the estimate itself is biased.
- `site`: what is ablated, at all positions.
- `prompts`, `clusters`: how many. Prompts of the random model that form a cluster begin with the same tokens.
- `mean_as_known`: the coverage of an interval that takes the mean as known, for comparison.

A cell is simulated 500 times, which leaves an error of 1 point.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import transformers as hf

import mechcausal as mc
from mechcausal.data.prompts import PromptSet
from mechcausal.results.intervals import mean_intervals

DESIGNS = ((16, 16), (48, 48), (48, 12))  # prompts and clusters
SITES = {"random": ("L0.attn_out", "L1.z.H2", "L2.mlp_out"), "hiring": ("L1.z.H1", "L1.attn_out", "L2.mlp_out")}
VOCABULARY, START, END = 61, 4, 2  # tokens that a cluster shares, and tokens of a prompt's own
POPULATION = 20_000

Sampler = Callable[[int, int, int], PromptSet]


def random_model() -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return a GPT-2 whose random weights are large enough for effects that can be seen."""
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=32, initializer_range=0.25,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return mc.load(hf.GPT2LMHeadModel(config).eval())


def random_prompts(n: int, clusters: int, seed: int) -> PromptSet:
    """Return prompts of random tokens; those of a cluster begin alike."""
    draw = torch.Generator().manual_seed(seed)
    cluster = torch.arange(n) % clusters
    start = torch.randint(3, VOCABULARY, (clusters, START), generator=draw)[cluster]
    tokens = torch.cat([start, torch.randint(3, VOCABULARY, (n, END), generator=draw)], dim=1)
    ones = torch.ones(n, dtype=torch.long)
    names = tuple(f"start {number}" for number in cluster.tolist())
    return PromptSet(tokens, torch.ones_like(tokens, dtype=torch.bool), answer=3 * ones, foil=13 * ones, clusters=names)


def cells(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Measure one cell of the random model after the other."""
    yield from _measured("random", random_model(), random_prompts, DESIGNS, 100 if quick else 500)


def beyond(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Measure the organism, in which the estimate itself is biased: its prompts are independent."""
    model, task = mc.load("organism:hiring"), mc.task("hiring")
    designs = [(n, clusters) for n, clusters in DESIGNS if n == clusters]
    sample = lambda n, clusters, seed: task.prompts(model, n, seed=seed)  # noqa: E731
    yield from _measured("hiring", model, sample, designs, 100 if quick else 500)


def _measured(
    name: str,
    model: Any,  # noqa: ANN401 - a TransformerBridge
    sample: Sampler,
    designs: Sequence[tuple[int, int]],
    times: int,
) -> Iterator[dict[str, Any]]:
    """Measure the cells of a model; those of one design are measured on the same samples."""
    torch.set_num_threads(1)
    sites = SITES[name]
    truth = ablated(model, sample(POPULATION, POPULATION, 10**6), sites).frame["change"].to_numpy()
    for n, clusters in designs:
        hits = np.stack([covered(model, sample(n, clusters, seed), sites, truth) for seed in range(times)])
        for site, (counted, fixed_mean) in zip(sites, 100 * hits.mean(0).T, strict=True):
            yield {
                "table": "means", "what": "change", "model": name, "site": site, "prompts": n, "clusters": clusters,
                "times": times, "mean_as_known": round(float(fixed_mean), 2), "coverage": round(float(counted), 2),
            }  # fmt: skip


def ablated(model: Any, prompts: PromptSet, sites: Sequence[str]) -> mc.Result:  # noqa: ANN401 - a TransformerBridge
    """Ablate sites by the means of these very prompts."""
    return mc.ablate(model, prompts, sites=list(sites), do="mean", at="all")


def covered(model: Any, prompts: PromptSet, sites: Sequence[str], truth: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """Say of each site whether its interval holds the true change, and whether one that takes the mean as known does."""
    result = ablated(model, prompts, sites)
    fixed_mean = mean_intervals(result.examples - result.baselines["base"], result.clusters)
    ends = [(result.frame["change_low"], result.frame["change_high"]), (fixed_mean["low"], fixed_mean["high"])]
    return np.stack([(np.asarray(low) <= truth) & (np.asarray(high) >= truth) for low, high in ends])
