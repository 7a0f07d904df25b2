"""Features at scale: screening by attribution, exact effects, training from activations that were read before.

    python benchmarks/features.py [--quick] [--only CASE]

One JSON line for each case; what is compared takes turns in one process.

`screening`  all features of a dictionary on 1,024 tokens, against one forward and backward of the model alone. `peak_gb`
             is the most memory the process has held so far, imports, model and dictionary included; `max_diff` is the
             gap to autograd through the dictionary spliced in, on one prompt, over the largest score.
`exact`      seconds for each of 200 likely and 50 other features, encoding included, against a loop written out here: one
             full forward of the bare model for each feature (of a sample), its change of the stream computed beforehand
             and added by a hook. The gain grows as features move fewer tokens: the second dictionary is a dense one.
`training`   tokens a second of `mc.features.train` from activations that were read before, against the runner of
             sae-lens, which has the model in its loop; same kind, width, sparsity, batch and tokens. The gain grows with
             the model: the first one is tiny.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data import Contrast, PromptSet
from mechcausal.interventions import Edit, Patch
from mechcausal.metrics import logit_diff, metric
from mechcausal.models.attached import Bound
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.hooked import forward, gradient_reads, gradients

SITE = Site("resid_post", 2)
MOST_TIMES, MOST_GB, EXACT_FLOOR, TRAINING_FLOOR = 12, 2.0, 5, 3
PROMPTS, TOKENS, VOCABULARY, WIDTH, LAYERS = 16, 64, 1000, 256, 6
TOP, RANDOM, SAMPLE = 200, 50, 25
BATCH = 8  # prompts: what all features of so many take stays below the bound on memory
TRAINED, ACTIVE, STEP = 512, 8, 1024  # features, how many of them at a token, tokens at a step


class TopK:
    """A dictionary with random directions of which the k most active count."""

    def __init__(self, n: int, k: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.W_enc = torch.randn(WIDTH, n, generator=draw) / WIDTH**0.5
        self.W_dec, self.k = self.W_enc.T.contiguous(), k

    def encode(self, x: Tensor) -> Tensor:
        """Return the features."""
        f = x @ self.W_enc
        values, index = f.topk(self.k, dim=-1)
        return torch.zeros_like(f).scatter_(-1, index, values.relu())

    def decode(self, f: Tensor) -> Tensor:
        """Return the reconstruction."""
        return f @ self.W_dec


def network() -> GPT2LMHeadModel:
    """Return a GPT-2 of random weights."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=8, n_positions=TOKENS, bos_token_id=1, eos_token_id=2,
        initializer_range=0.06,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def pairs() -> Contrast:
    """Return random prompts, and the same with another second token."""
    draw = torch.Generator().manual_seed(1)
    tokens, others, (answer, foil) = (
        torch.randint(3, VOCABULARY, size, generator=draw) for size in ((PROMPTS, TOKENS), (PROMPTS,), (2, PROMPTS))
    )
    changed = tokens.clone()
    changed[:, 1] = torch.where(others == tokens[:, 1], others - 1, others)
    sides = (
        PromptSet(side, torch.ones_like(side, dtype=torch.bool), answer=answer, foil=foil) for side in (tokens, changed)
    )
    return Contrast(*sides, factor="the second token")


def in_turns(runs: int, *functions: Callable[[], Any]) -> list[float]:
    """Return the median seconds of each function, called one after the other, again and again."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def peak_gb() -> float:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def screening(model: Any, n_features: int, runs: int) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Screen a dictionary: features set to zero, and features taken from the other prompt."""
    bound = mc.features.attach(model, TopK(n_features, 64), SITE, name="large")
    both = pairs()

    def alone() -> None:
        run = forward(model, both.clean, read=gradient_reads([Site("embed")]), grad=True)
        with torch.enable_grad():
            gradients(logit_diff(run.logits, both.clean).sum(), run, [Site("embed")])

    for name, prompts in (("zero", both.clean), ("pairs", both)):
        scores = mc.features.attribute(model, prompts, bound, direction="noise")
        seconds, once = in_turns(
            runs, lambda prompts=prompts: mc.features.attribute(model, prompts, bound, direction="noise"), alone
        )
        yield {
            "case": f"screening, {name}",
            "features": n_features,
            "tokens": scores.tokens,
            "active": int((scores.active > 0).sum()),
            "seconds": round(seconds, 3),
            "forward_backward_seconds": round(once, 3),
            "times": round(seconds / once, 2),
            "most_times": MOST_TIMES,
            "peak_gb": round(peak_gb(), 3),
            "most_gb": MOST_GB,
            "max_diff": gap_to_autograd(model, bound, prompts.take([0])),
        }
    mc.features.detach(model, "large")


def gap_to_autograd(model: Any, bound: Bound, prompts: PromptSet | Contrast) -> float:  # noqa: ANN401
    """Return how far scores are from autograd through the dictionary spliced in, over the largest score."""
    base, other = (prompts.clean, prompts.corrupt) if isinstance(prompts, Contrast) else (prompts, None)
    run = forward(model, base, read=[bound.features], grad=True)
    with torch.enable_grad():
        total = logit_diff(run.logits, base).sum()
    slope = torch.autograd.grad(total, run.read[bound.features])[0]
    goal = 0 if other is None else forward(model, other, read=[bound.features]).read[bound.features]
    expected = ((goal - run.read[bound.features].detach()) * slope).double().sum((0, 1)).numpy()
    scores = mc.features.attribute(model, prompts, bound, direction="noise").scores[0]
    return float(np.abs(scores - expected).max() / np.abs(expected).max())


def exact(model: Any, bare: GPT2LMHeadModel, n_features: int, k: int, runs: int) -> dict[str, Any]:  # noqa: ANN401
    """Measure the effects of likely and of random features exactly."""
    bound = mc.features.attach(model, TopK(n_features, k), SITE, name="measured")
    both = pairs()
    scores = mc.features.attribute(model, both, bound, direction="noise")
    order = np.argsort(-np.abs(scores.scores[0]), kind="stable")
    others = np.random.default_rng(0).permutation(np.setdiff1d(np.flatnonzero(scores.moved), order[:TOP]))
    chosen = [int(number) for number in (*order[:TOP], *others[:RANDOM])]
    sample = slice(None, None, len(chosen) // SAMPLE)
    plan = Plan(
        both.clean, [(Edit(bound.feature(j), Patch()),) for j in chosen], metric("logit_diff"), rows=both.corrupt
    )
    values: dict[str, np.ndarray] = {}

    def stacked() -> None:
        values["stacked"] = evaluate(model, plan, batch_size=BATCH).values

    def one_by_one() -> None:
        values["plain"] = by_hooks(bare, bound, chosen[sample], both)

    stacked()  # the engine compares itself with the loop when it first sees a dictionary
    seconds, plain = in_turns(runs, stacked, one_by_one)
    each, plain_each = seconds / len(chosen), plain / len(values["plain"])
    mc.features.detach(model, "measured")
    return {
        "case": f"exact effects, {k} of {n_features} features active at a token",
        "measured": len(chosen),
        "tokens_moved": round(float(scores.moved[chosen].mean()), 1),
        "seconds_each": round(each, 4),
        "plain_seconds_each": round(plain_each, 4),
        "ratio": round(plain_each / each, 2),
        "max_diff": float(np.abs(values["stacked"][sample] - values["plain"]).max()),
        "peak_gb": round(peak_gb(), 3),
    }


@torch.no_grad()
def by_hooks(bare: GPT2LMHeadModel, bound: Bound, chosen: list[int], both: Contrast) -> np.ndarray:
    """Return the metric with each feature taken from the other prompt: one full forward of the bare model for each."""
    seen: list[Tensor] = []
    block = bare.transformer.h[SITE.layer]
    first = lambda out: out[0] if isinstance(out, tuple) else out  # noqa: E731
    handle = block.register_forward_hook(lambda _, __, out: seen.append(first(out)))
    for side in (both.clean, both.corrupt):
        bare(side.tokens)
    handle.remove()
    here, there = (bound.encode(x)[..., chosen] for x in seen)
    values = []
    for number, j in enumerate(chosen):
        added = (there - here)[..., number, None] * bound.W_dec[j]
        handle = block.register_forward_hook(
            lambda _, __, out, added=added: (out[0] + added, *out[1:]) if isinstance(out, tuple) else out + added
        )
        values.append(logit_diff(bare(both.clean.tokens).logits, both.clean))
        handle.remove()
    return torch.stack(values).numpy()


def training(name: str, model: Any, rows: Tensor, tokens: int, runs: int) -> dict[str, Any]:  # noqa: ANN401
    """Train one dictionary from activations that were read before, and one with the model in the loop."""
    prompts = PromptSet(rows, torch.ones_like(rows, dtype=torch.bool))

    def cached(count: int = tokens) -> None:
        options = {"width": TRAINED, "kind": "topk", "k": ACTIVE, "batch_size": STEP, "name": "new"}
        mc.features.train(model, activations, str(SITE), tokens=count, **options)

    mc.features.harvest(model, prompts.take(range(PROMPTS)), str(SITE))
    start = time.perf_counter()
    activations = mc.features.harvest(model, prompts, str(SITE), skip_first=False)
    harvested = time.perf_counter() - start
    cached(2 * STEP)  # both have imported what they need
    with_the_model(model, rows, 2 * STEP)
    seconds, loop = in_turns(runs, cached, lambda: with_the_model(model, rows, tokens))
    mc.features.detach(model, "new")
    return {
        "case": f"training, {name}",
        "features": TRAINED,
        "tokens": tokens,
        "tokens_a_second": round(tokens / seconds),
        "runner_tokens_a_second": round(tokens / loop),
        "reading_seconds": round(harvested, 3),
        "ratio": round(loop / seconds, 2),
    }


def with_the_model(model: Any, rows: Tensor, tokens: int) -> None:  # noqa: ANN401
    """Train with the runner of sae-lens."""
    import sae_lens
    from datasets import Dataset

    length = rows.shape[1]
    config = sae_lens.LanguageModelSAERunnerConfig(
        # It would read a thousand batches to learn a scale before it begins.
        sae=sae_lens.TopKTrainingSAEConfig(
            d_in=model.cfg.d_model, d_sae=TRAINED, k=ACTIVE, normalize_activations="none"
        ),
        model_name="own", model_class_name="TransformerBridge", hook_name=f"blocks.{SITE.layer}.hook_resid_post",
        dataset_path="own", is_dataset_tokenized=True, streaming=False, context_size=length, prepend_bos=False,
        training_tokens=tokens, train_batch_size_tokens=STEP, store_batch_size_prompts=STEP // length,
        n_batches_in_buffer=4 * STEP // length, lr=1e-3, device="cpu", output_path=None, checkpoint_path=None,
        logger=sae_lens.LoggingConfig(log_to_wandb=False), verbose=False,
    )  # fmt: skip
    dataset = Dataset.from_dict({"input_ids": rows.tolist()})
    warnings.simplefilter("ignore")
    sae_lens.LanguageModelSAETrainingRunner(config, override_dataset=dataset, override_model=model).run()


def main() -> None:
    """Print one line for each case; fail where the numbers differ, and at the end if a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer features, fewer repetitions")
    parser.add_argument("--only", choices=("screening", "exact", "training"), help="run this case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    runs = 2 if arguments.quick else 5
    plain = network()
    bare = copy.deepcopy(plain)
    model = mc.load(plain)
    missed = []
    if arguments.only in (None, "screening"):
        for line in screening(model, 65_536, runs):
            print(json.dumps(line), flush=True)
            assert line["max_diff"] <= 1e-6, line["case"]
            missed += [line["case"]] * (line["times"] > MOST_TIMES or line["peak_gb"] > MOST_GB)
    if arguments.only in (None, "exact"):
        for n_features, k in ((65_536, 64), (2_048, 32)):
            line = exact(model, bare, n_features, k, runs) | {"floor": EXACT_FLOOR}
            print(json.dumps(line), flush=True)
            assert line["max_diff"] < 1e-4, line["case"]
            missed += [line["case"]] * (line["ratio"] < EXACT_FLOOR)
    if arguments.only in (None, "training"):
        tokens, runs = (40_960, 2) if arguments.quick else (122_880, 3)
        draw = torch.Generator().manual_seed(2)
        random = torch.randint(3, VOCABULARY, (tokens // TOKENS, TOKENS), generator=draw)
        hiring = mc.load("organism:hiring")
        applicants = mc.task("hiring").prompts(hiring, 4096).tokens
        for name, host, rows in (
            ("organism:hiring", hiring, applicants),
            (f"{LAYERS} layers, {WIDTH} wide", model, random),
        ):
            line = training(name, host, rows, tokens, runs) | {"floor": TRAINING_FLOOR}
            print(json.dumps(line), flush=True)
            missed += [line["case"]] * (line["ratio"] < TRAINING_FLOOR)
    if missed:
        sys.exit("below the floor: " + "; ".join(missed))


if __name__ == "__main__":
    main()
