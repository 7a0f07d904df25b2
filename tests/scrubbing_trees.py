"""Random scrubbing trees on one small network, and the same network written out: benchmarks/plain_scrubbing.py."""

import importlib.util
import itertools
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from zoo import VOCAB, build

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.scrubbing.evaluation import Tree
from mechcausal.causal.scrubbing.sampling import Sampler
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.data import PromptSet, pad
from mechcausal.models import bridge


def _plain():
    spec = importlib.util.spec_from_file_location(
        "plain_scrubbing", Path(__file__).parents[1] / "benchmarks" / "plain_scrubbing.py"
    )
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


plain = _plain()
N_LAYERS, N_HEADS, D_MODEL, D_HEAD, D_MLP = 3, 4, 32, 8, 128


@cache
def both():
    """Return one small random GPT-2 in double precision: as a bridge, and written out."""
    network = build("gpt2").double()
    model = mc.load(network)
    mc.scrub.cost(
        model, make_prompts(), one(), controls=False
    )  # the engine is compared with the loop once for each model
    return model, plain.PlainGPT2(network)


def make_prompts(n=14, lengths=(7,), side="right", seed=0):
    """Return random prompts with three variables and two named positions; some have the same tokens as another."""
    draw = np.random.default_rng(seed)
    rows = [draw.integers(3, VOCAB, draw.choice(lengths)).tolist() for _ in range(n)]
    rows[-n // 4 :] = rows[: len(rows[-n // 4 :])]
    return PromptSet(
        *pad(rows, side=side),
        side=side,
        answer=torch.tensor([int(draw.integers(3, VOCAB)) for _ in rows]),
        positions={
            "subject": torch.tensor([int(draw.integers(0, len(row) - 1)) for row in rows]),
            "late": torch.tensor([len(row) - 1 - int(draw.integers(0, 2)) for row in rows]),
        },
        variables={
            "a": torch.tensor([row[0] % 2 for row in rows]),
            "b": torch.tensor([row[-1] % 2 for row in rows]),
            "c": torch.tensor([(row[0] + row[-1]) % 3 for row in rows]),
        },
    )


def engine(root, prompts, rows, seed=0, unimportant="joint", batch_size=5):
    """Return the logits of every reference as the package computes them, its draws and its schedule."""
    model, _ = both()
    tree = Tree(model, root, prompts, batch_size=batch_size)
    draws = Sampler(root, prompts, unimportant=unimportant).draw(rows, seed, components=tree.components)
    schedule = tree.schedule(draws)
    return tree.run(schedule, draws, lambda logits, which: logits.double().T.numpy()).T, draws, schedule


def agree(root, prompts, rows=None, **options):
    """Assert that engine and plain recursion give the same logits; return the draws and the schedule."""
    rows = np.arange(6) if rows is None else rows
    found, draws, schedule = engine(root, prompts, rows, **options)
    masked = any(node.is_mask for node in root.walk())  # the mask of another prompt is laid over the end
    aligned = prompts.padded(prompts.tokens.shape[1], "left") if masked else prompts
    expected = plain.evaluate(both()[1], root, aligned, draws, rows)
    np.testing.assert_allclose(found, expected.logits.numpy(), atol=1e-6, rtol=1e-6, err_msg=str(root))
    return draws, schedule, expected


FEATURES = ("a", "b", "c", ("a", "b"), "exact")
DIRECT = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "z")


def random_part(draw, before, equal, direct):
    """Return a part that is computed before a point, with a subspace now and then."""
    for _ in range(100):
        component = draw.choice(DIRECT if direct else (*DIRECT, "q", "k", "v", *(["pattern"] * equal)))
        text = component if component == "embed" else f"L{draw.integers(N_LAYERS)}.{component}"
        if component in ("q", "k", "v", "z", "pattern") and draw.random() < 0.8:
            text += f".H{draw.integers(N_HEADS)}"
        elif component == "mlp_post" and draw.random() < 0.5:
            text += f".N{draw.integers(D_MLP)}"
        at = draw.choice(["@subject", "@late", "@-1", *(["@all", "@2", "@1:3"] if equal else [])])
        basis = ()
        if component not in ("pattern", "embed") and "N" not in text and draw.random() < 0.25:
            width = {"mlp_post": D_MLP}.get(component, D_HEAD if component in "qkvz" else D_MODEL)
            basis = draw.normal(size=(draw.integers(1, 4), width)).tolist()
        part = Place.parse({"site": text, "at": at, "basis": basis})
        if part.depth < before:
            return part
    return Place.parse("embed@-1")


def overlap(first, second):
    """Say whether two sites share numbers; the stream after attention is written through `attn_out`."""
    mid = ("attn_out", "resid_mid")
    if first.layer == second.layer and first.component in mid and second.component in mid:
        return True
    units = (first.head, first.neuron), (second.head, second.neuron)
    return first.whole == second.whole and (units[0] == units[1] or (None, None) in units)


def entry_depth(part):
    """Return when the stream is complete that a part reads."""
    if part.site.component in ("mlp_post", "mlp_out"):
        return Place.parse(f"L{part.site.layer}.resid_mid").depth
    if part.site.component in ("resid_mid", "resid_post"):
        return part.depth
    return (part.site.layer, 0.0) if part.site.layer is not None else (-1, 0.0)


def random_tree(draw, equal, masks):
    """Return a tree of up to four levels: chains, forks, direct and all paths, several parts, masks, estimates."""
    count = iter(range(1000))

    def below(parts, level):
        before = min((part.depth for part in parts), default=(99, 0.0))
        arrives = min((entry_depth(part) for part in parts), default=(99, 0.0))
        children, taken = [], []
        for _ in range(draw.integers(1, 4 if level < 2 else 2)):
            direct = bool(draw.random() < 0.4) and arrives > (0, 0.0)
            own = [
                random_part(draw, arrives if direct else before, equal, direct)
                for _ in range(1 + (draw.random() < 0.2))
            ]
            sites = [part.site for part in own]
            if any(overlap(a, b) for a, b in itertools.combinations([*taken, *sites], 2)):
                continue
            taken += sites
            children.append(node(own, "direct" if direct else "all", level + 1))
        if masks and draw.random() < 0.3:
            children.append(Node(f"mask {next(count)}", "mask", feature=FEATURES[draw.integers(len(FEATURES))]))
        return children

    def node(parts, edge, level):
        feature = FEATURES[draw.integers(len(FEATURES))]
        early = min(part.depth for part in parts)
        deeper = level < 4 and early > (0, 0.0) and draw.random() < 0.55
        children = below(parts, level) if deeper else []
        estimate = None
        if not children and len(parts) == 1 and parts[0].site.component not in ("pattern",) and draw.random() < 0.2:
            estimate = random_estimate(draw, parts[0])
        given = ("b",) if children and draw.random() < 0.3 else ()
        return Node(f"n{next(count)}", parts, feature, edge, children, given, estimate)

    while not (children := below([], 1)):
        pass
    return Node("output", children=children)


def random_estimate(draw, part):
    """Return a formula of the input in place of an activation."""
    site = part.site
    per_head = (N_HEADS, D_HEAD) if site.head is None else (D_HEAD,)
    shape = {"mlp_post": (D_MLP,)}.get(site.component, per_head if site.component in "qkvz" else (D_MODEL,))
    table = torch.tensor(draw.normal(size=(3, 10, *(() if site.neuron is not None else shape))))

    def estimate(prompts):
        count = int(prompts.select(part.at)[0].sum())
        return table[prompts.variables["c"]][:, :count]

    return estimate


@torch.no_grad()
def clean_logits(prompts, rows):
    model, _ = both()
    return bridge.run(model, prompts.tokens, prompts.mask)[torch.arange(len(prompts)), prompts.read_columns][rows]


def clean_logprob(prompts):
    logits = clean_logits(prompts, slice(None))
    return logits.log_softmax(-1).gather(1, prompts.answer[:, None])[:, 0].numpy()


HEAD, MLP = "L1.z.H2", "L2.mlp_out@-1"
SHAPES = {
    "chain": [Node("mlp", MLP, "a", "direct", [Node("head", HEAD + "@-1", "a", "all", [Node("in", "embed@subject")])])],
    "one component on two paths": [
        Node("mlp", MLP, "a", "direct", [Node("head > mlp", HEAD + "@-1", "b")]),
        Node("head > output", HEAD + "@-1", "b", "direct"),
    ],
    "positions as nodes": [
        Node("attention", "L2.attn_out@-1", "a", children=[Node(f"at {i}", f"L2.resid_pre@{i}", "ab"[i % 2]) for i in range(7)])
    ],
    "two subspaces of one activation": [
        Node("first", {"site": "L1.resid_post", "at": "@-1", "basis": torch.eye(D_MODEL)[:2].tolist()}, "a"),
        Node("second", {"site": "L1.resid_post", "at": "@-1", "basis": torch.eye(D_MODEL)[2:5].tolist()}, "b"),
    ],
    "a subspace along the direct path": [
        Node("mlp", MLP, "a", children=[
            Node("part", {"site": HEAD, "at": "@-1", "basis": [[1.0, 2.0] + [0.0] * 6]}, "b", "direct"),
            Node("rest", "L0.attn_out@all", "c"),
        ])
    ],
    "several parts, each with its own stream": [
        Node("both", ["L1.z.H0@-1", MLP], "a", children=[Node("early", "L0.mlp_post@all", "b", "direct")])
    ],
}  # fmt: skip


def one(**changes):
    return Node("output", children=[Node("head", **({"parts": HEAD + "@-1", "feature": "a"} | changes))])
