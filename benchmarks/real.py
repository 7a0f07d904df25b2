"""A real language model: the engine against the loops of its peers, one full forward for each cell.

    python benchmarks/real.py [--quick] [--only WORDS]

One JSON line for each case, on SmolLM2-135M-Instruct (`mc.load("smollm2")`). All are given the same tokens and metric in
one process and take turns, A B A B. What is timed of ours is the whole of `mc.patch`: unedited runs, sweep, intervals and
table. What is timed of a peer is its two unedited runs and its loop; every step of a loop costs the same, so a loop is
timed on cells spread evenly over the sweep (`peer_cells` of `cells`) and scaled.

- `plain`: transformers with a forward hook, its fastest attention and `logits_to_keep=1`.
- `transformer_lens`: hooks on its bridge, as its own patching functions set them.
- `nnsight`: where it is installed.
- `ratio`: seconds of the fastest peer over ours; the median over repetitions of the ratio within each. Seconds are those of
  the processor, on one thread, so that others on the machine do not count.
- `max_diff`: largest gap from any example of any peer's cells, relative to the metric's range over the sweep.
- `first_seconds`: our first call on these prompts, in which the engine may be compared with the loop.

The last cases are no sweeps: activations of all layers cached, the gradients at all layers that attribution needs (many
pairs, few, and two), generation without edits (`generate` of transformers), and a tuned lens (the same estimate written
out with hooks on the plain model and one `solve` for each penalty).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np
import torch
import transformers
from ioi_prompts import TEMPLATES, ioi_texts
from torch import Tensor

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data.splits import split, units
from mechcausal.models.hooked import readings
from mechcausal.models.pretrained import quietly

TOLERANCE = 1e-4  # of the metric's range
Cell = tuple[int, int]  # a layer, and a position or a head
HOOKS = {"resid_pre": "blocks.{}.hook_resid_pre", "attn_out": "blocks.{}.hook_attn_out", "z": "blocks.{}.attn.hook_z"}


@dataclass(frozen=True)
class Case:
    """One sweep.

    Attributes:
        sweep: The component; `z` by head, others by position.
        pairs: How many pairs.
        mixed: Whether they have several lengths.
        floor: How many times faster than the fastest peer it has to be.
    """

    sweep: str
    pairs: int
    mixed: bool
    floor: float

    @property
    def name(self) -> str:
        """What it is called."""
        axes = "layer x head" if self.sweep == "z" else "layer x position"
        return f"{self.sweep}, {axes}, {self.pairs} pairs of {'mixed lengths' if self.mixed else 'one length'}"


CASES = (
    Case("resid_pre", 8, False, 20),
    Case("attn_out", 8, False, 20),
    Case("z", 8, False, 5),
    Case("resid_pre", 64, True, 12),
    Case("z", 64, True, 4),
)


@cache
def ours() -> Any:  # noqa: ANN401
    """Return the bridge."""
    return mc.load("smollm2")


@cache
def plain() -> Any:  # noqa: ANN401
    """Return the model of transformers, with the attention it takes by itself."""
    from mechcausal.models.converting import converted
    from mechcausal.models.wheels import file_of

    folder, _ = converted(file_of("smollm2"))
    with quietly():
        return transformers.AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


def pairs_of(n: int, mixed: bool) -> mc.Contrast:
    """Return indirect-object pairs, padded on the left, so that every prompt is read in the last column."""
    texts = ioi_texts(n, templates=TEMPLATES if mixed else TEMPLATES[:1])
    clean, corrupt, answer, foil, _ = map(list, zip(*texts, strict=True))
    return mc.Contrast.from_text(ours(), clean, corrupt, answer=answer, foil=foil, factor="name", side="left")


class Bench:
    """One case with its prompts, and the peers on them."""

    def __init__(self, case: Case, n_pairs: int, peer_cells: int) -> None:
        self.case, self.pairs = case, pairs_of(n_pairs, case.mixed)
        side = self.pairs.corrupt
        self.tokens, self.mask, self.starts = side.tokens, side.mask, side.starts
        self.padded = not bool(self.mask.all())
        self.n_layers, self.size = 30, 64
        other = 9 if case.sweep == "z" else int(side.lengths.max())
        self.cells = [(layer, unit) for layer in range(self.n_layers) for unit in range(other)]
        index = np.linspace(0, len(self.cells) - 1, min(peer_cells, len(self.cells))).round().astype(int)
        self.checked = [self.cells[number] for number in index]
        self.source: dict[int, Tensor] = {}
        self.peer_values: dict[str, dict[Cell, np.ndarray]] = {}

    def ours(self) -> Any:  # noqa: ANN401
        """Run the whole sweep through the public function."""
        at = "all" if self.case.sweep == "z" else "each"
        return mc.patch(ours(), self.pairs, sites=self.case.sweep, at=at)

    def put(self, value: Tensor, cell: Cell) -> Tensor:
        """Return the activation with the clean one in a cell; rows that are too short for a position stay."""
        layer, unit = cell
        source = self.source[layer].reshape(value.shape)
        value = value.clone()
        if self.case.sweep == "z":
            shape = (*value.shape[:2], -1, self.size)
            value.view(shape)[:, :, unit] = source.view(shape)[:, :, unit]
        else:
            columns = self.starts + unit
            rows = (columns < value.shape[1]).nonzero().flatten()
            value[rows, columns[rows]] = source[rows, columns[rows]]
        return value

    def keep(self, peer: str, cell: Cell, logits: Tensor) -> None:
        """Keep the metric of every example."""
        side, rows = self.pairs.clean, torch.arange(len(logits))
        values = (logits[rows, side.answer] - logits[rows, side.foil]).numpy().astype(float)
        if self.case.sweep != "z":
            values[(self.starts + cell[1] >= self.tokens.shape[1]).numpy()] = np.nan
        self.peer_values.setdefault(peer, {})[cell] = values

    def options(self) -> dict[str, Any]:
        """Return what padding asks of transformers."""
        if not self.padded:
            return {}
        places = (self.mask.long().cumsum(1) - 1).clamp(min=0)
        return {"attention_mask": self.mask.long(), "position_ids": places}

    def plain_run(self, tokens: Tensor) -> Tensor:
        """Run plain transformers, the logits at the last column alone."""
        return plain()(tokens, use_cache=False, logits_to_keep=1, **self.options()).logits[:, -1]

    def place(self, model: Any, layer: int) -> tuple[Any, bool]:  # noqa: ANN401
        """Return the module at which the activation is, and whether it is its input."""
        block = model.model.layers[layer]
        sweep = self.case.sweep
        return (block, True) if sweep == "resid_pre" else (block.self_attn.o_proj, sweep == "z")

    def plain_hook(self, layer: int, act: Callable[[Tensor], Tensor | None]) -> Any:  # noqa: ANN401
        """Let a function see, and perhaps replace, the activation of a layer."""
        module, is_input = self.place(plain(), layer)
        if is_input:

            def before(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:  # noqa: ANN401
                new = act(args[0])
                return None if new is None else (new, *args[1:])

            return module.register_forward_pre_hook(before)
        return module.register_forward_hook(lambda _, args, out: act(out))

    def plain_unedited(self) -> None:
        """Run both sides, and keep the activations of the clean one."""
        handles = [
            self.plain_hook(layer, lambda value, layer=layer: self.source.__setitem__(layer, value))
            for layer in range(self.n_layers)
        ]
        self.plain_run(self.pairs.clean.tokens)
        for handle in handles:
            handle.remove()
        self.plain_run(self.tokens)

    def plain_loop(self) -> None:
        """Run plain transformers for each checked cell."""
        for cell in self.checked:
            handle = self.plain_hook(cell[0], lambda value, cell=cell: self.put(value, cell))
            self.keep("plain", cell, self.plain_run(self.tokens))
            handle.remove()

    def lens_run(self, tokens: Tensor, hooks: list[Any]) -> Tensor:
        """Run the bridge of transformer-lens under its own hooks."""
        extra = {"attention_mask": self.mask.long()} if self.padded else {}
        return ours().run_with_hooks(tokens, fwd_hooks=hooks, return_type="logits", **extra)[:, -1]

    def lens_unedited(self) -> None:
        """Run both sides, and keep the activations of the clean one."""
        name = HOOKS[self.case.sweep]
        hooks = [
            (name.format(layer), lambda value, hook, layer=layer: self.source.__setitem__(layer, value.clone()))
            for layer in range(self.n_layers)
        ]
        self.lens_run(self.pairs.clean.tokens, hooks)
        self.lens_run(self.tokens, [])

    def lens_loop(self) -> None:
        """Run transformer-lens for each checked cell."""
        for cell in self.checked:
            hook = (HOOKS[self.case.sweep].format(cell[0]), lambda value, hook, cell=cell: self.put(value, cell))
            self.keep("transformer_lens", cell, self.lens_run(self.tokens, [hook]))

    def nnsight_loop(self) -> None:
        """Run nnsight for each checked cell, with activations that it is handed."""
        from nnsight import NNsight

        traced = NNsight(plain())
        for cell in self.checked:
            module, is_input = self.place(traced, cell[0])
            with traced.trace(self.tokens, use_cache=False, logits_to_keep=1, **self.options()):
                if is_input:
                    module.input = self.put(module.input, cell)
                else:
                    module.output = self.put(module.output, cell)
                logits = traced.lm_head.output.save()
            self.keep("nnsight", cell, logits[:, -1])

    def peers(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """Return each peer's unedited runs, and its loop over the checked cells."""
        peers = {
            "plain": (self.plain_unedited, self.plain_loop),
            "transformer_lens": (self.lens_unedited, self.lens_loop),
        }
        if importlib.util.find_spec("nnsight") is not None:
            peers["nnsight"] = (self.plain_unedited, self.nnsight_loop)
        return peers


def in_turns(runs: int, functions: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Return the CPU seconds of each function, called one after the other, again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.process_time()
            function()
            seconds[name].append(time.process_time() - start)
    return seconds


def median_ratio(peer: list[float], mine: list[float]) -> float:
    """Return the median of the ratios within each repetition."""
    return round(statistics.median(b / a for a, b in zip(mine, peer, strict=True)), 2)


@torch.no_grad()
def measure(case: Case, n_pairs: int, runs: int, peer_cells: int) -> dict[str, Any]:
    """Run one case."""
    bench = Bench(case, n_pairs, peer_cells)
    start = time.process_time()
    result = bench.ours()
    first = time.process_time() - start
    peers = bench.peers()
    turns: dict[str, Callable[[], Any]] = {"ours": bench.ours}
    for name, (unedited, loop) in peers.items():
        turns |= {f"{name} unedited": unedited, name: loop}
    seconds = in_turns(runs, turns)
    scale = len(bench.cells) / len(bench.checked)
    peer_seconds = {
        name: [a + scale * b for a, b in zip(seconds[f"{name} unedited"], seconds[name], strict=True)] for name in peers
    }
    fastest = [min(each) for each in zip(*peer_seconds.values(), strict=True)]
    axis = "head" if case.sweep == "z" else "position"
    keys = zip(result.frame["layer"].astype(int), result.frame[axis].astype(int), strict=True)
    values = dict(zip(keys, result.examples, strict=True))
    gaps = [
        np.nanmax(np.abs(values[cell] - peer_values))
        for loop in bench.peer_values.values()
        for cell, peer_values in loop.items()
    ]
    return {
        "case": case.name,
        "ratio": median_ratio(fastest, seconds["ours"]),
        "floor": case.floor,
        "max_diff": float(np.max(gaps) / np.ptp(result.examples[np.isfinite(result.examples)])),
        "peers": {name: median_ratio(each, seconds["ours"]) for name, each in peer_seconds.items()},
        "seconds": round(statistics.median(seconds["ours"]), 3),
        "first_seconds": round(first, 3),
        "engine": result.provenance.compute["engine"],
        "pairs": n_pairs,
        "lengths": sorted(set(bench.pairs.clean.lengths.tolist())),
        "cells": len(bench.cells),
        "peer_cells": len(bench.checked),
        "threads": torch.get_num_threads(),
        "runs": runs,
    }


def caching(runs: int) -> dict[str, Any]:
    """Cache the stream before every layer: ours, hooks on plain transformers, and transformer-lens's cache."""
    prompts = pairs_of(32, mixed=False).clean
    sites = [Site("resid_pre", layer) for layer in range(30)]
    kept: dict[str, Any] = {}

    def by_hooks() -> None:
        values: dict[int, Tensor] = {}
        handles = [
            block.register_forward_pre_hook(lambda _, args, layer=layer: values.__setitem__(layer, args[0]))
            for layer, block in enumerate(plain().model.layers)
        ]
        with torch.no_grad():
            plain()(prompts.tokens, use_cache=False, logits_to_keep=1)
        for handle in handles:
            handle.remove()
        kept["plain"] = values[17]

    def by_lens() -> None:
        names = {HOOKS["resid_pre"].format(layer) for layer in range(30)}
        with torch.no_grad():
            cached = ours().run_with_cache(prompts.tokens, names_filter=lambda name: name in names)[1]
        kept["transformer_lens"] = cached[HOOKS["resid_pre"].format(17)]

    def by_us() -> None:
        kept["ours"] = readings(ours(), prompts, sites)[sites[17]]

    return compared("the stream before all layers cached, 32 prompts", runs, kept, by_us, by_hooks, by_lens)


def gradients(runs: int, n: int) -> dict[str, Any]:
    """Take the gradient of the metric at the output of attention in all layers: ours, and by hooks."""
    pairs = pairs_of(n, mixed=False)
    rows = torch.arange(n)
    kept: dict[str, Any] = {}

    def by_hooks() -> None:
        values: dict[int, Tensor] = {}

        def keep(out: Tensor, layer: int) -> Tensor:
            values[layer] = out if out.requires_grad else out.detach().requires_grad_(True)
            return values[layer]

        def run(tokens: Tensor) -> Tensor:
            handles = [
                block.self_attn.o_proj.register_forward_hook(lambda _, args, out, layer=layer: keep(out, layer))
                for layer, block in enumerate(plain().model.layers)
            ]
            logits = plain()(tokens, use_cache=False, logits_to_keep=1).logits[:, -1]
            for handle in handles:
                handle.remove()
            return logits

        with torch.no_grad():
            run(pairs.clean.tokens)
        clean = dict(values)
        with torch.enable_grad():
            logits = run(pairs.corrupt.tokens)
            metric = logits[rows, pairs.clean.answer] - logits[rows, pairs.clean.foil]
            slopes = torch.autograd.grad(metric.sum(), list(values.values()))
        estimates = [
            ((clean[layer] - values[layer]) * slope).sum((1, 2)) for layer, slope in zip(values, slopes, strict=True)
        ]
        kept["plain"] = torch.stack(estimates).detach()

    def by_us() -> None:
        table = mc.attribute(ours(), pairs, sites="attn_out", at="all")
        kept["ours"] = torch.as_tensor(table.examples - table.baselines["corrupt"])

    return compared(f"gradients at attn_out of all layers, {n} pairs", runs, kept, by_us, by_hooks)


def generation(runs: int, n: int) -> dict[str, Any]:
    """Continue prompts by 32 tokens, the likeliest each time: ours, and transformers."""
    prompts = pairs_of(n, mixed=False).clean
    kept: dict[str, Any] = {}

    def by_transformers() -> None:
        with torch.no_grad():
            out = plain().generate(
                prompts.tokens, attention_mask=prompts.mask.long(), max_new_tokens=32, do_sample=False
            )
        kept["plain"] = out[:, prompts.tokens.shape[1] :].float()

    def by_us() -> None:
        table = mc.generate(ours(), prompts, tokens=32).frame
        longest, filler = int(table["n_tokens"].max()), plain().generation_config.pad_token_id
        rows = [[*tokens, *[filler] * (longest - len(tokens))] for tokens in table["tokens"]]
        kept["ours"] = torch.as_tensor(np.array(rows)).float()

    return compared(f"generation of 32 tokens, {n} prompts", runs, kept, by_us, by_transformers)


def tuned(runs: int) -> dict[str, Any]:
    """Fit a tuned lens on 48 prompts and read 8 others in the last column: ours, and the same by hooks."""
    layers, prompts = list(range(4, 30, 5)), pairs_of(56, mixed=False).clean
    train, test = prompts.take(slice(48)), prompts.take(slice(48, None))
    kept: dict[str, Any] = {}
    inner = [torch.as_tensor(rows) for rows in split(units(train), 0.75, [0, 17])]

    def streams(tokens: Tensor) -> dict[int, Tensor]:
        values: dict[int, Tensor] = {}
        blocks = plain().model.layers
        handles = [
            blocks[layer].register_forward_hook(lambda _, args, out, layer=layer: values.__setitem__(layer, out))
            for layer in layers
        ]
        plain()(tokens, use_cache=False, logits_to_keep=1)
        for handle in handles:
            handle.remove()
        return values

    def read(stream: Tensor) -> Tensor:
        return plain().lm_head(plain().model.norm(stream)).log_softmax(-1)

    def divergence(new: Tensor, old: Tensor) -> float:
        return float((old.exp() * (old - new)).sum(-1).mean())

    @torch.no_grad()
    def by_hooks() -> None:
        fitted, shown = streams(train.tokens), streams(test.tokens)
        learn, judge = (fitted[layers[-1]][rows].flatten(0, 1) for rows in inner)
        few = torch.randperm(len(judge), generator=torch.Generator().manual_seed(0))[:192]
        target, outputs = read(judge[few]), read(shown[layers[-1]])
        values, table = [], []
        for layer in layers:
            here, there = (fitted[layer][rows].flatten(0, 1) for rows in inner)
            candidates = [(torch.zeros(576, 576), torch.zeros(576))]
            candidates += ridge(here, learn) if layer != layers[-1] else []
            losses = [divergence(read(there[few] + there[few] @ a + b), target) for a, b in candidates]
            matrix, shift = candidates[int(np.argmin(losses))]
            lens = read(shown[layer] + shown[layer] @ matrix + shift)
            table.append((divergence(read(shown[layer]), outputs), divergence(lens, outputs)))
            last = lens[:, -1]
            table.append((last.topk(5), (last > last.gather(1, test.answer[:, None])).sum(1), last.argmax(-1)))
            values.append(last.gather(1, test.answer[:, None]) - last.gather(1, test.foil[:, None]))
        kept["plain"] = torch.stack(values)[..., 0]

    def by_us() -> None:
        sites = [f"L{layer}.resid_post" for layer in layers]
        kept["ours"] = torch.as_tensor(
            mc.lens(ours(), test, kind="tuned", sites=sites, at="@-1", train=train).examples
        ).float()

    return compared("a tuned lens of 6 layers, fitted on 48 prompts", runs, kept, by_us, by_hooks)


def ridge(stream: Tensor, last: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the maps from a stream to the last one under four penalties, each from its normal equations."""
    x, y = stream.double(), (last - stream).double()
    weight = 1 / last.double().square().mean(-1, keepdim=True)
    weight = weight / weight.sum()
    middle, target = (weight * x).sum(0), (weight * y).sum(0)
    around, aim = x - middle, y - target
    spread = around.T @ (weight * around)
    maps = []
    for penalty in (1e-3, 1e-2, 1e-1, 1.0):
        ridged = spread + penalty * spread.diagonal().mean() * torch.eye(len(spread), dtype=torch.double)
        matrix = torch.linalg.solve(ridged, around.T @ (weight * aim))
        maps.append((matrix.float(), (target - middle @ matrix).float()))
    return maps


def compared(
    name: str, runs: int, kept: dict[str, Any], by_us: Callable[[], None], *peers: Callable[[], None]
) -> dict[str, Any]:
    """Return the line of a case that is no sweep; the first call of each is not timed."""
    named = dict(zip(("plain", "transformer_lens"), peers, strict=False))
    for function in (by_us, *peers):
        function()
    gaps = [float((kept["ours"] - kept[peer]).abs().max() / kept["ours"].abs().max()) for peer in named]
    seconds = in_turns(runs, {"ours": by_us, **named})
    fastest = [min(each) for each in zip(*(seconds[peer] for peer in named), strict=True)]
    return {
        "case": name,
        "ratio": median_ratio(fastest, seconds["ours"]),
        "floor": 0.9,
        "max_diff": max(gaps),
        "peers": {peer: median_ratio(seconds[peer], seconds["ours"]) for peer in named},
        "seconds": round(statistics.median(seconds["ours"]), 3),
        "threads": torch.get_num_threads(),
        "runs": runs,
    }


def main() -> None:
    """Print one line for each case; fail where the numbers differ, and in a full run where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, fewer peer cells, 12 mixed pairs")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    runs, peer_cells = (2, 3) if arguments.quick else (3, 8)
    jobs: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    for case in CASES:
        n_pairs = min(12, case.pairs) if arguments.quick else case.pairs
        jobs.append((case.name, lambda case=case, n=n_pairs: measure(case, n, runs, peer_cells)))
    jobs.append(("cached", lambda: caching(2 * runs)))
    jobs += [(f"gradients of {n} pairs", lambda n=n: gradients(runs if n > 8 else 3 * runs, n)) for n in (64, 16, 2)]
    jobs += [(f"generation of {n} texts", lambda n=n: generation(2 * runs, n)) for n in (1, 8)]
    jobs.append(("tuned lens", lambda: tuned(runs)))
    missed = []
    for name, job in jobs:
        if arguments.only not in name:
            continue
        line = job()
        print(json.dumps(line), flush=True)
        assert line["max_diff"] <= TOLERANCE, line["case"]
        missed += [name] * (line["ratio"] < line["floor"])
    if missed and not arguments.quick:
        sys.exit("below the floor: " + "; ".join(missed))


if __name__ == "__main__":
    main()
