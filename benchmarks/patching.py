"""Patching: the exact engine against the loops of its peers, one full forward for each cell.

    python benchmarks/patching.py [--quick] [--only WORDS]

One JSON line for each case. All are given the same weights, tokens and metric in one process and take turns, A B A B.
What is timed of ours is the whole of `mc.patch` or `mc.ablate`: unedited runs, sweep, intervals and table. What is timed
of a peer is its two unedited runs, which keep the activations it puts in, and its loop. Every step of such a loop costs
the same, one forward, so a loop is timed on cells spread evenly over the sweep (`peer_cells` of `cells`) and scaled.

- `ratio`: seconds of the faster transformer-lens loop over ours; the median over repetitions of the ratio within each.
- `peers`: the same for each peer by itself.
- `max_diff`: largest gap from any example of any peer's cells, relative to the metric's range over the sweep.
- `peak_mb`: the most memory that the tensors of ours took on top of the model.
- `flops_ratio`: floating-point operations of one forward for each cell over those that ours executed, as counted.
- `matmul_share`: what ours executed per second over the best that a plain product of large matrices reached.
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
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pandas as pd
import torch
import transformers
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import mechcausal as mc
from mechcausal.data import Contrast, PromptSet

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import transformer_lens
    from transformer_lens import patching, utils

TOLERANCE = 1e-4  # of the metric's range
Values = dict[
    tuple[int, ...], np.ndarray
]  # the metric of every example, by (layer, position, head) as far as it has them


@dataclass(frozen=True)
class Shape:
    """The sizes of a model and of its prompts."""

    name: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    tokens: int
    batch: int = 8


SMALL = Shape("small", 4, 128, 4, 512, 32)
GPT2 = Shape("GPT-2", 12, 768, 12, 50257, 16)


@dataclass(frozen=True)
class Case:
    """One sweep at one shape.

    Attributes:
        sweep: The component.
        axes: What a cell is: a layer and a position, a head, or both.
        shape: The model and the prompts.
        floor: How many times faster than the faster transformer-lens loop it has to be.
        one_differs: Whether clean and corrupt prompt differ in one token, at 60 % of the prompt, instead of in all.
        every: Every how many-th head.
        ablation: Whether heads are set to their mean instead of patched.
    """

    sweep: str
    axes: tuple[str, ...]
    shape: Shape
    floor: float
    one_differs: bool = False
    every: int = 1
    ablation: bool = False

    @property
    def name(self) -> str:
        """What it is called in the table."""
        what = f"{'mean ablation of ' if self.ablation else ''}{self.sweep}, {' x '.join(self.axes)}"
        part = f" (every {self.every}th cell)" if self.every > 1 else ""
        differs = "one token differs" if self.one_differs else "all differ"
        return f"{what}{part}, {self.shape.name} shape, {differs}, batch {self.shape.batch}"


LAYER_POS, LAYER_HEAD, BOTH = ("layer", "pos"), ("layer", "head"), ("layer", "pos", "head")
CASES = (
    Case("resid_pre", LAYER_POS, SMALL, 5),
    Case("resid_pre", LAYER_POS, SMALL, 18, one_differs=True),
    Case("attn_out", LAYER_POS, SMALL, 5),
    Case("mlp_out", LAYER_POS, SMALL, 5),
    Case("z", LAYER_HEAD, SMALL, 2.5),
    Case("z", BOTH, SMALL, 8),
    Case("resid_pre", LAYER_POS, GPT2, 5),
    Case("resid_pre", LAYER_POS, GPT2, 20, one_differs=True),
    Case("attn_out", LAYER_POS, GPT2, 5),
    Case("z", LAYER_HEAD, GPT2, 3),
    Case("z", BOTH, GPT2, 6, every=4),
    Case("resid_pre", LAYER_POS, replace(GPT2, batch=1), 20, one_differs=True),
    Case("z", LAYER_HEAD, GPT2, 3, ablation=True),
)


@dataclass
class Bench:
    """One case with the models and prompts it needs."""

    case: Case
    pairs: Contrast
    model: Any
    cells: list[tuple[int, ...]]
    checked: list[tuple[int, ...]]
    peer_values: dict[str, Values] = field(default_factory=dict)

    def ours(self) -> mc.results.Result:
        """Run the whole sweep through the public function."""
        case = self.case
        if case.ablation:
            return mc.ablate(self.model, self.pairs, sites=case.sweep)
        sites = (
            [f"L*.z.H{head}" for head in range(0, case.shape.heads, case.every)] if "head" in case.axes else case.sweep
        )
        return mc.patch(self.model, self.pairs, sites=sites, at="each" if "pos" in case.axes else "all")

    def our_values(self, result: mc.results.Result) -> Values:
        """Return what came out, cell by cell."""
        columns = [result.frame[{"pos": "position"}.get(axis, axis)].astype(int) for axis in self.case.axes]
        return dict(zip(zip(*columns, strict=True), result.examples, strict=True))

    def metric(self, logits: Tensor, kept: list[np.ndarray]) -> Tensor:
        """Return the mean logit difference, and keep that of every example."""
        side, rows = self.pairs.clean, torch.arange(len(self.pairs.clean))
        values = logits[rows, -1, side.answer] - logits[rows, -1, side.foil]
        kept.append(values.numpy())
        return values.mean()

    def lens(self, name: str, model: Any, activations: dict[str, Tensor]) -> None:  # noqa: ANN401
        """Run transformer-lens's own loop on the checked cells."""
        kept: list[np.ndarray] = []
        setter = {
            LAYER_POS: patching.layer_pos_patch_setter,
            LAYER_HEAD: patching.layer_head_vector_patch_setter,
            BOTH: patching.layer_pos_head_vector_patch_setter,
        }[self.case.axes]
        tokens = (self.pairs.clean if self.case.ablation else self.pairs.corrupt).tokens
        patching.generic_activation_patch(
            model, tokens, activations, partial(self.metric, kept=kept), setter, self.case.sweep,
            index_df=pd.DataFrame(self.checked, columns=list(self.case.axes)),
        )  # fmt: skip
        self.peer_values[name] = dict(zip(self.checked, kept, strict=True))

    def activations(self, model: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Return what a loop puts in: the clean activations, or the mean over both sides."""
        names = [utils.get_act_name(self.case.sweep, layer) for layer in range(self.case.shape.layers)]
        kept: dict[str, Tensor] = {}
        hooks = [(name, lambda value, hook, name=name: kept.__setitem__(name, value.clone())) for name in names]
        model.run_with_hooks(self.pairs.clean.tokens, fwd_hooks=hooks)
        clean = dict(kept)
        model.run_with_hooks(self.pairs.corrupt.tokens, fwd_hooks=hooks if self.case.ablation else [])
        if self.case.ablation:
            for name in names:
                clean[name] = torch.cat([clean[name], kept[name]]).mean(0, keepdim=True).expand_as(clean[name])
        return clean

    def peers(self) -> dict[str, tuple[Callable[[], Any], Callable[[], None]]]:
        """Return each peer's unedited runs, and its loop over the checked cells."""
        hooked = twin_of(self.case.shape)
        peers: dict[str, tuple[Callable[[], Any], Callable[[], None]]] = {}
        for name, model in (("transformer_lens bridge", self.model), ("HookedTransformer", hooked)):
            peers[name] = partial(self.activations, model), partial(self.lens, name, model, self.activations(model))
        if importlib.util.find_spec("pyvene") is not None and self.case.axes == LAYER_POS:
            model = bare(self.case.shape)
            peers["pyvene"] = partial(self.both_sides, model), partial(self.pyvene, model)
        if importlib.util.find_spec("nnsight") is not None and self.case.axes == LAYER_POS:
            model = bare(self.case.shape)
            peers["nnsight"] = partial(self.both_sides, model), partial(self.nnsight, model)
        return peers

    def both_sides(self, model: Any) -> None:  # noqa: ANN401
        """Run both sides unedited."""
        for side in (self.pairs.clean, self.pairs.corrupt):
            model(side.tokens)

    def pyvene(self, model: Any) -> None:  # noqa: ANN401
        """Run pyvene on the checked cells, one forward for each on top of activations that it is handed."""
        with redirect_stdout(sys.stderr):  # it says what it misses
            import pyvene
        component = {"resid_pre": "block_input", "attn_out": "attention_output", "mlp_out": "mlp_output"}[
            self.case.sweep
        ]
        kept: list[np.ndarray] = []
        inputs = {"input_ids": self.pairs.corrupt.tokens}
        ready: dict[int, Any] = {}
        for layer, position in self.checked:
            if layer not in ready:
                config = {"layer": layer, "component": component, "intervention_type": pyvene.VanillaIntervention}
                ready[layer] = pyvene.IntervenableModel(config, model)
                ready[layer].disable_model_gradients()
            key = next(iter(ready[layer].interventions))
            source = {key: self.handed(model, component, layer)[:, position : position + 1]}
            _, out = ready[layer](inputs, source_representations=source, unit_locations={"base": position})
            self.metric(out.logits, kept)
        self.peer_values["pyvene"] = dict(zip(self.checked, kept, strict=True))

    def nnsight(self, model: Any) -> None:  # noqa: ANN401
        """Run nnsight on the checked cells, one trace for each, with activations that it is handed."""
        from nnsight import NNsight

        component, inside = {
            "resid_pre": ("block_input", None), "attn_out": ("attention_output", "attn"), "mlp_out": ("mlp_output", "mlp"),
        }[self.case.sweep]  # fmt: skip
        kept: list[np.ndarray] = []
        traced, tokens = NNsight(model), self.pairs.corrupt.tokens
        for layer, position in self.checked:
            block, source = traced.transformer.h[layer], self.handed(model, component, layer)
            with traced.trace(tokens):
                place = block.input if inside is None else getattr(block, inside).output
                value = place[0] if isinstance(place, tuple) else place
                value[:, position] = source[:, position]
                logits = traced.lm_head.output.save()
            self.metric(logits, kept)
        self.peer_values["nnsight"] = dict(zip(self.checked, kept, strict=True))

    def handed(self, model: Any, component: str, layer: int) -> Tensor:  # noqa: ANN401
        """Return the clean activation at one layer of the bare model, from memory after the first time."""
        if not hasattr(self, "_handed"):
            self._handed: dict[int, Tensor] = {}
            blocks, handles = model.transformer.h, []
            for number, block in enumerate(blocks):
                module = {"attention_output": block.attn, "mlp_output": block.mlp}.get(component, block)

                def keep(_: Any, args: Any, out: Any, number: int = number) -> None:  # noqa: ANN401
                    value = args[0] if component == "block_input" else out[0] if isinstance(out, tuple) else out
                    self._handed[number] = value.clone()

                handles.append(module.register_forward_hook(keep))
            model(self.pairs.clean.tokens)
            for handle in handles:
                handle.remove()
        return self._handed[layer]


@cache
def bare(shape: Shape) -> Any:  # noqa: ANN401
    """Return a random `transformers` GPT-2 of this shape."""
    if shape.batch != 8:
        return bare(replace(shape, batch=8))
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=shape.vocabulary, n_embd=shape.width, n_layer=shape.layers, n_head=shape.heads,
        n_positions=max(64, shape.tokens), bos_token_id=0, eos_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)


@cache
def bridge_of(shape: Shape) -> Any:  # noqa: ANN401
    """Return it as a bridge."""
    return bridge_of(replace(shape, batch=8)) if shape.batch != 8 else mc.load(bare(shape))


@cache
def twin_of(shape: Shape) -> Any:  # noqa: ANN401
    """Return it as a HookedTransformer, its weights as they are."""
    if shape.batch != 8:
        return twin_of(replace(shape, batch=8))
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = transformer_lens.HookedTransformerConfig(
        n_layers=shape.layers, d_model=shape.width, d_head=shape.width // shape.heads, n_heads=shape.heads,
        d_mlp=4 * shape.width, d_vocab=shape.vocabulary, n_ctx=max(64, shape.tokens), act_fn="gelu_new",
        normalization_type="LN", device="cpu",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = transformer_lens.HookedTransformer(config)
    state = convert_gpt2_weights(bare(shape), config)
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False)


def prompts(case: Case) -> Contrast:
    """Return random pairs that differ in all tokens or in one."""
    draw = torch.Generator().manual_seed(1)
    shape = case.shape
    size = shape.batch, shape.tokens
    clean = torch.randint(1, shape.vocabulary, size, generator=draw)
    corrupt = (clean + torch.randint(1, shape.vocabulary - 1, size, generator=draw)) % shape.vocabulary
    if case.one_differs:
        at = int(0.6 * shape.tokens)
        corrupt = torch.cat([clean[:, :at], corrupt[:, at : at + 1], clean[:, at + 1 :]], dim=1)
    answer, foil = (torch.randint(0, shape.vocabulary, (shape.batch,), generator=draw) for _ in "af")
    mask = torch.ones_like(clean, dtype=torch.bool)
    sides = [PromptSet(tokens=tokens, mask=mask, answer=answer, foil=foil) for tokens in (clean, corrupt)]
    return Contrast(*sides, "one token" if case.one_differs else "all tokens")


def cells_of(case: Case) -> list[tuple[int, ...]]:
    """Return all cells of the sweep, as transformer-lens orders them."""
    ranges = {"layer": range(case.shape.layers), "pos": range(case.shape.tokens)}
    ranges["head"] = range(0, case.shape.heads, case.every)
    grid = pd.MultiIndex.from_product([ranges[axis] for axis in case.axes])
    return [tuple(int(part) for part in cell) for cell in grid]


def spread(cells: Sequence[tuple[int, ...]], wanted: int) -> list[tuple[int, ...]]:
    """Return this many of the cells, evenly spaced, first and last among them."""
    index = np.linspace(0, len(cells) - 1, min(wanted, len(cells))).round().astype(int)
    return [cells[number] for number in index]


def in_turns(runs: int, functions: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Return the seconds of each function, called one after the other, again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


class Untracked:
    """Stands in for the tracker of modules in a counter of operations.

    The tracker hangs hooks on all modules, and a model with hooks of others is left to the loop: it would be the loop
    whose operations are counted.
    """

    parents = ("Global",)

    def __enter__(self) -> None:
        """Track nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing was tracked."""


def flops_and_peak(function: Callable[[], Any]) -> tuple[int, float]:
    """Return the floating-point operations of a call in products of matrices, and the most megabytes its tensors take."""
    cpu, counter = [torch.profiler.ProfilerActivity.CPU], FlopCounterMode(display=False)
    counter.mod_tracker = Untracked()
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile, counter:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    in_use = np.cumsum([event.nbytes() for event in events])
    return counter.get_total_flops(), float(in_use.max(initial=0)) / 2**20


@cache
def products() -> tuple[Tensor, Tensor]:
    """Return two large matrices."""
    return torch.randn(1024, 1024), torch.randn(1024, 1024)


@torch.no_grad()
def measure(case: Case, runs: int, peer_cells: int) -> dict[str, Any]:
    """Run one case."""
    cells = cells_of(case)
    bench = Bench(case, prompts(case), bridge_of(case.shape), cells, spread(cells, peer_cells))
    result = bench.ours()  # first use: what the model can do is measured, and remembered
    peers = bench.peers()
    executed, peak_mb = flops_and_peak(bench.ours)
    one_forward, _ = flops_and_peak(lambda: bare(case.shape)(bench.pairs.clean.tokens))
    left, right = products()
    turns: dict[str, Callable[[], Any]] = {"ours": bench.ours, "product": lambda: left @ right}
    for name, (unedited, loop) in peers.items():
        turns |= {f"{name} unedited": unedited, name: loop}
    seconds = in_turns(runs, turns)
    scale = len(cells) / len(bench.checked)
    peer_seconds = {
        name: [a + scale * b for a, b in zip(seconds[f"{name} unedited"], seconds[name], strict=True)] for name in peers
    }
    faster = [min(pair) for pair in zip(*(peer_seconds[name] for name in list(peers)[:2]), strict=True)]

    def ratio(peer: Sequence[float]) -> float:
        return round(statistics.median(b / a for a, b in zip(seconds["ours"], peer, strict=True)), 2)

    our_values = bench.our_values(result)
    everything = np.stack(list(our_values.values()))
    gaps = [
        np.abs(our_values[cell] - value).max()
        for values in bench.peer_values.values()
        for cell, value in values.items()
    ]
    ours = statistics.median(seconds["ours"])
    machine = 2 * len(left) ** 3 / min(seconds["product"])
    return {
        "case": case.name,
        "ratio": ratio(faster),
        "floor": case.floor,
        "max_diff": float(np.max(gaps) / np.ptp(everything)),
        "peak_mb": round(peak_mb, 1),
        "flops_ratio": round(len(cells) * one_forward / executed, 2),
        "matmul_share": round(executed / ours / machine, 3),
        "peers": {name: ratio(times) for name, times in peer_seconds.items()},
        "seconds": round(ours, 4),
        "cells": len(cells),
        "peer_cells": len(bench.checked),
        "threads": torch.get_num_threads(),
        "runs": runs,
    }


def main() -> None:
    """Print one line for each case; fail where the numbers differ, and in a full run where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, fewer peer cells, smaller batches")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    patching.tqdm = iter  # its bars are not part of what is timed
    missed = []
    for case in chosen(arguments.only, arguments.quick):
        small = case.shape == SMALL
        runs, peer_cells = (5, 12 if small else 6) if not arguments.quick else (3, 6) if small else (2, 4)
        line = measure(case, runs, peer_cells)
        print(json.dumps(line), flush=True)
        assert line["max_diff"] <= TOLERANCE, line["case"]
        missed += [case.name] * (line["ratio"] < case.floor)
    if missed and not arguments.quick:
        sys.exit("below the floor: " + "; ".join(missed))


def chosen(words: str, quick: bool) -> list[Case]:
    """Return the cases asked for; a quick run has one pair at the large shape, fewer heads, and so takes minutes."""
    cases = [case for case in CASES if words in case.name]
    if not quick:
        return cases
    return list(dict.fromkeys(case if case.shape == SMALL else one_pair(case) for case in cases))


def one_pair(case: Case) -> Case:
    """Return the case with one pair of prompts, and at most every twelfth cell by head and position."""
    return replace(case, shape=replace(case.shape, batch=1), every=12 if case.every > 1 else 1)


if __name__ == "__main__":
    main()
