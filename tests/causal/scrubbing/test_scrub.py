"""The engine against an implementation that shares nothing with it: benchmarks/plain_scrubbing.py."""

import importlib.util
import itertools
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from zoo import VOCAB, build

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.evaluation import Tree
from mechcausal.causal.scrubbing.sampling import Sampler
from mechcausal.causal.scrubbing.tree import Node, classes
from mechcausal.data import PromptSet, pad
from mechcausal.data.scm import SCM
from mechcausal.models import bridge
from mechcausal.models.replay.twin import Twin


def _plain():
    spec = importlib.util.spec_from_file_location(
        "plain_scrubbing", Path(__file__).parents[3] / "benchmarks" / "plain_scrubbing.py"
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


# Random trees


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


@pytest.fixture
def token_layers(monkeypatch):
    """Count the tokens that layers compute (the unit vectors by which readouts are measured are no prompts)."""
    both()  # before anything is counted
    counted = []
    run, record, layer = bridge.run, Twin.record, Twin.layer

    def whole(model, tokens, mask):
        counted.append(tokens.numel() * N_LAYERS)
        return run(model, tokens, mask)

    def unedited(twin, batch, read=None):
        counted.append(batch.tokens.numel() * N_LAYERS)
        return record(twin, batch, read)

    def suffix(twin, base, number, hidden, rows, start):
        counted.append(hidden.shape[0] * hidden.shape[1])
        return layer(twin, base, number, hidden, rows, start)

    monkeypatch.setattr(bridge, "run", whole)
    monkeypatch.setattr(Twin, "record", unedited)
    monkeypatch.setattr(Twin, "layer", suffix)
    return counted


@pytest.mark.parametrize("unimportant", ["joint", "together"])
@pytest.mark.parametrize(
    ("lengths", "side", "masks"),
    [
        ((7,), "right", False),
        ((5, 6, 8), "right", False),
        ((5, 6, 8), "left", False),
        ((5, 6, 8), "right", True),
        ((5, 6, 8), "left", True),
    ],
)
def test_random_trees_give_the_same_logits_as_the_plain_recursion(lengths, side, masks, unimportant):
    draw = np.random.default_rng([len(lengths), len(side), masks, len(unimportant)])
    prompts = make_prompts(lengths=lengths, side=side, seed=len(lengths))
    for seed in range(8):
        root = random_tree(draw, equal=len(lengths) == 1, masks=masks)
        agree(root, prompts, seed=seed, unimportant=unimportant)


def test_every_component_drawn_on_its_own_gives_the_same_logits_too():
    draw = np.random.default_rng(1)
    prompts = make_prompts()
    for seed in range(8):
        root = random_tree(draw, equal=True, masks=False)
        agree(root, prompts, rows=np.arange(3), seed=seed, unimportant="independent")


def test_what_is_run_is_what_was_announced_and_no_more_than_there_are_distinct_inputs(token_layers):
    draw = np.random.default_rng(2)
    prompts = make_prompts(n=8)
    rows = np.tile(np.arange(8), 4)
    model, written_out = both()
    fast = 0
    for seed in range(12):
        root = random_tree(draw, equal=True, masks=False)
        tree = Tree(model, root, prompts, batch_size=5)
        unimportant = ("joint", "together", "independent")[seed % 3]
        draws = Sampler(root, prompts, unimportant=unimportant).draw(rows, seed, components=tree.components)
        schedule = tree.schedule(draws)
        tree.run(schedule, draws, lambda logits, which: logits.double().T.numpy())  # what is measured once, is measured
        token_layers.clear()
        before = tree.executed
        tree.run(schedule, draws, lambda logits, which: logits.double().T.numpy())
        assert tree.executed - before == schedule.token_layers == sum(token_layers), str(root)
        assert schedule.forwards <= plain.distinct_inputs(root, draws), str(root)
        fast += schedule.keep
        # What it is compared with is never made dearer than it is.
        assert schedule.plain <= plain.evaluate_batched(written_out, root, prompts, draws, rows).forwards, str(root)
    assert 0 < fast < 12


@pytest.mark.parametrize(("lengths", "side"), [((7,), "right"), ((5, 6, 8), "left")])
def test_the_plain_forward_is_the_model_and_its_batches_are_its_single_examples(lengths, side):
    model, written_out = both()
    prompts = make_prompts(lengths=lengths, side=side)
    with torch.no_grad():
        expected = bridge.run(model, prompts.tokens, prompts.mask)[prompts.mask]
    found = written_out(prompts.tokens, prompts.mask)["logits"][prompts.mask]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    draw = np.random.default_rng(3)
    for seed in range(6):
        root = random_tree(draw, equal=len(lengths) == 1, masks=len(lengths) > 1)
        draws = Sampler(root, prompts).draw(np.arange(5), seed)
        single, batched = (
            run(written_out, root, prompts, draws, range(5)) for run in (plain.evaluate, plain.evaluate_batched)
        )
        torch.testing.assert_close(single.logits, batched.logits, atol=1e-9, rtol=1e-9)
        assert single.forwards == batched.forwards


# Trees whose outcome is known in closed form


@torch.no_grad()
def clean_logits(prompts, rows):
    model, _ = both()
    return bridge.run(model, prompts.tokens, prompts.mask)[torch.arange(len(prompts)), prompts.read_columns][rows]


@pytest.mark.parametrize("edge", ["all", "direct"])
def test_the_last_stream_alone_decides_the_output(edge):
    prompts = make_prompts(lengths=(5, 6, 8))
    rows = np.arange(len(prompts))
    root = Node("output", children=[Node("stream", "L2.resid_post@-1", "a", edge)])
    found, draws, _ = engine(root, prompts, rows)
    np.testing.assert_allclose(found, clean_logits(prompts, draws["stream"].x), atol=2e-6)
    assert (draws["stream"].x != rows).any()


def test_all_direct_contributions_together_are_the_stream():
    """The stream is the sum of what was written to it, so moving every contribution moves all of it."""
    prompts = make_prompts()
    rows = np.arange(6)
    writers = ["L0.resid_pre", *(f"L{layer}.z.H{head}" for layer in range(3) for head in range(4))]
    writers += [f"L{layer}.mlp_out" for layer in range(3)]
    children = [Node(site, f"{site}@-1", edge="direct") for site in writers]
    found, draws, _ = engine(Node("output", children=children), prompts, rows)
    np.testing.assert_allclose(found, clean_logits(prompts, rows), atol=2e-6)
    assert (draws["output"].o != rows).any()


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_mask_of_a_shorter_prompt_hides_the_first_tokens_and_that_of_a_longer_one_shows_padding(side):
    prompts = make_prompts(n=20, lengths=(5, 8), side=side)
    rows = np.arange(len(prompts))
    root = Node("output", children=[Node("mask", "mask", "a")], given=())
    found, draws, _ = engine(root, prompts, rows)
    cut = padded = 0
    for row in rows:
        own, other = int(draws["output"].o[row]), int(draws["mask"].x[row])
        tokens, length = prompts.real_tokens_of(own), int(prompts.lengths[other])
        seen = tokens[-length:] if length <= len(tokens) else [tokens[0]] * (length - len(tokens)) + tokens
        alone = torch.tensor([seen])
        expected = bridge.run(both()[0], alone, torch.ones_like(alone, dtype=torch.bool))[0, -1]
        np.testing.assert_allclose(found[row], expected, atol=2e-6)
        cut, padded = cut + (length < len(tokens)), padded + (length > len(tokens))
    assert cut
    assert padded


@pytest.mark.parametrize("unimportant", ["joint", "together"])
def test_positions_that_some_prompts_lack_are_exchanged_among_those_that_have_them(unimportant):
    prompts = make_prompts(n=24, lengths=(4, 6, 8))
    rows = np.arange(len(prompts))
    late = [Node(f"at {i}", f"L2.resid_pre@{i}", "ab"[i % 2]) for i in range(2, 8)]
    root = Node("output", children=[*late, Node("deep", "L2.mlp_out@5", "c", children=[Node("in", "L0.z.H1@4", "a")])])
    draws, _, _ = agree(root, prompts, rows, unimportant=unimportant)
    lengths = prompts.lengths.numpy()
    for name, first in (("at 2", 3), ("at 4", 5), ("at 7", 8), ("deep", 6)):
        assert ((lengths[draws[name].x] >= first) == (lengths >= first)).all()
        assert (draws[name].x != rows).any()
    assert (lengths[draws["output"].o] == lengths).all()  # the node below covers every length
    direct = Node("output", children=[Node("late", "L1.mlp_out@5", "a", "direct")])
    agree(direct, prompts, rows, unimportant=unimportant)


def test_places_of_one_variable_share_a_draw_or_have_one_each():
    scm = SCM("both", noise={"u": 2, "v": 3}, mechanisms={"answer": lambda u: u}, values={"answer": (3, 5)})
    hypothesis = Hypothesis(scm, {"u": ["L1.z.H0@-1", "L2.mlp_out@-1"]})
    prompts = make_prompts(n=40)
    prompts.variables["u"], prompts.variables["answer"] = prompts.variables["a"], prompts.variables["a"]
    options = {"seeds": 4, "report": False, "controls": False}
    together = mc.scrub(both()[0], prompts, hypothesis, **options)
    apart = mc.scrub(both()[0], prompts, hypothesis, places="apart", **options)
    by_hand = {
        "together": Node("answer", children=[Node("u", ["L1.z.H0@-1", "L2.mlp_out@-1"], "u")]),
        "apart": Node(
            "answer",
            children=[Node("u at L1.z.H0@-1", "L1.z.H0@-1", "u"), Node("u at L2.mlp_out@-1", "L2.mlp_out@-1", "u")],
        ),
    }
    for result, tree in ((together, by_hand["together"]), (apart, by_hand["apart"])):
        np.testing.assert_allclose(result.examples, mc.scrub(both()[0], prompts, tree, **options).examples)
    assert np.abs(together.examples - apart.examples).max() > 1e-4


def test_an_output_that_nothing_explains_is_that_of_another_prompt():
    prompts = make_prompts()
    rows = np.arange(len(prompts))
    root = Node("output", children=[Node("early", "embed@subject", "a")])
    found, draws, _ = engine(root, prompts, rows)
    unmoved = draws["early"].x == draws["output"].o
    np.testing.assert_allclose(found[unmoved], clean_logits(prompts, draws["output"].o[unmoved]), atol=2e-6)
    assert np.abs(found - clean_logits(prompts, draws["output"].o).numpy())[~unmoved].max() > 1e-3


# Shapes of trees worth a name


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


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("unimportant", ["joint", "together", "independent"])
def test_every_shape_of_tree_agrees_with_the_plain_recursion(name, unimportant):
    prompts = make_prompts()
    draws, schedule, _ = agree(Node("output", children=SHAPES[name]), prompts, unimportant=unimportant)
    if name == "one component on two paths":  # it is two nodes, with draws of their own
        assert (draws["head > mlp"].x != draws["head > output"].x).any()
    if name == "chain" and unimportant == "joint":
        # Output: two runs each (what the MLP wrote there, and the result), MLP and head one each, the embedding one.
        assert schedule.plain == 6 * (2 + 1 + 1 + 1)


def test_direct_and_all_paths_are_told_apart():
    prompts = make_prompts()
    rows = np.arange(6)
    direct, everything = (
        engine(Node("output", children=[Node("head", HEAD + "@-1", "a", edge)]), prompts, rows)[0]
        for edge in ("direct", "all")
    )
    assert np.abs(direct - everything).max() > 1e-2


# What is drawn


def test_what_is_drawn_agrees_on_what_is_said_to_matter():
    prompts = make_prompts(n=60)
    draw = np.random.default_rng(4)
    rows = np.tile(np.arange(60), 3)
    for seed in range(10):
        root = random_tree(draw, equal=True, masks=True)
        draws = Sampler(root, prompts).draw(rows, seed)
        assert (draws["output"].x == rows).all()
        for node in root.walk():
            given = classes(node.given, prompts) if node.given else np.zeros(60)
            if node.children:
                assert (given[draws[node.name].o] == given[draws[node.name].x]).all()
            for child in node.children:
                of = classes(child.feature, prompts)
                assert (of[draws[child.name].x] == of[draws[node.name].x]).all()


def test_draws_are_uniform_and_independent_of_each_other():
    prompts = make_prompts(n=24)
    of = classes("a", prompts)
    members = np.flatnonzero(of == of[0])
    root = Node("output", children=[Node("first", "L0.z.H0", "a"), Node("second", "L0.z.H1", "a")])
    for unimportant in ("joint", "together"):
        draws = Sampler(root, prompts, unimportant=unimportant).draw(np.zeros(20_000, dtype=int), 0)
        first, second, other = draws["first"].x, draws["second"].x, draws["output"].o
        assert set(first) == set(members)  # the prompt itself included
        assert chisquare(np.bincount(first)[members]).pvalue > 1e-3
        assert chisquare(np.bincount(other, minlength=24)).pvalue > 1e-3
        for one, another, size in ((first, second, len(members) ** 2), (first, other, len(members) * 24)):
            counts = np.bincount(one * 24 + another, minlength=24 * 24)
            counts = counts.reshape(24, 24)[members][:, np.unique(another)].flatten()
            assert len(counts) == size
            assert chisquare(counts).pvalue > 1e-3


def test_unimportant_inputs_are_one_draw_each_one_draw_together_or_one_for_each_component():
    prompts = make_prompts(n=30)
    rows = np.arange(30)
    root = Node("output", children=[Node("mlp", MLP, "a", children=[Node("head", HEAD + "@-1", "b")])])
    tree = Tree(both()[0], root, prompts)
    draws = {
        word: Sampler(root, prompts, unimportant=word).draw(rows, 0, components=tree.components)
        for word in ("joint", "together", "independent")
    }
    assert (draws["together"]["output"].o == draws["together"]["mlp"].o).all()
    assert (draws["joint"]["output"].o != draws["joint"]["mlp"].o).any()
    lone = draws["independent"]["mlp"].components
    upstream = {f"L{layer}.z.H{head}" for layer in range(3) for head in range(4)} | {"L0.mlp_out", "L1.mlp_out"}
    assert {str(site) for site in lone} == upstream - {"L1.z.H2"}
    assert len({tuple(drawn) for drawn in lone.values()}) == len(lone)
    assert not draws["joint"]["mlp"].components


def test_a_new_node_does_not_change_what_the_others_draw():
    prompts = make_prompts(n=30)
    first = Node("first", MLP, "a", children=[Node("below", HEAD + "@-1", "b")])
    small = Node("output", children=[first])
    large = Node("output", children=[Node("new", "L2.z.H3", "c"), first])
    before, after = (Sampler(root, prompts).draw(np.arange(30), 5) for root in (small, large))
    for name, own in before.items():
        np.testing.assert_array_equal(own.x, after[name].x)
        if own.o is not None:
            np.testing.assert_array_equal(own.o, after[name].o)
    other_seed = Sampler(small, prompts).draw(np.arange(30), 6)
    assert (other_seed["first"].x != before["first"].x).any()


def test_a_small_pool_offers_few_inputs_of_each_class():
    prompts = make_prompts(n=40)
    root = Node("output", children=[Node("head", HEAD, "a")])
    draws = Sampler(root, prompts, size=3).draw(np.tile(np.arange(40), 5), 0)
    of = classes("a", prompts)
    assert all(len(set(draws["head"].x[of[draws["head"].x] == kind])) == 3 for kind in (0, 1))
    assert len(set(draws["output"].o)) == 3


# The whole method


def test_the_scrubbed_performance_is_the_expectation_over_everything_that_could_be_drawn():
    prompts = make_prompts(n=8)
    of = classes("a", prompts)
    root = Node("output", children=[Node("head", HEAD + "@-1", "a")])
    cells = [(x, o, k) for x in range(8) for o in range(8) for k in np.flatnonzero(of == of[x])]
    rows, others, drawn = np.array(cells).T
    draws = {"output": _Drawn(rows, others), "head": _Drawn(drawn)}
    every = plain.evaluate_batched(both()[1], root, prompts, draws, rows).logprob(prompts.take(rows))
    expected = np.mean([every[rows == row].mean() for row in range(8)])
    spread = np.mean([every[rows == row].var() for row in range(8)])
    found = mc.scrub(both()[0], prompts, root, seeds=60, report=False, controls=False)
    error = np.sqrt(spread / (8 * 60))
    assert abs(found.frame["value"][0] - expected) < 4 * error
    assert 4 * error < np.abs(clean_logprob(prompts).mean() - expected) / 2  # so that the test can fail


class _Drawn:
    def __init__(self, x, o=None):
        self.x, self.o, self.components = x, o, {}


def clean_logprob(prompts):
    logits = clean_logits(prompts, slice(None))
    return logits.log_softmax(-1).gather(1, prompts.answer[:, None])[:, 0].numpy()


def test_every_number_of_the_result_is_that_of_the_plain_recursion():
    prompts = make_prompts(n=12)
    root = Node("output", children=SHAPES["chain"])
    found = mc.scrub(both()[0], prompts, root, seeds=2, seed=7, n=9, lonely="keep", report=False, controls=False)
    expected = []
    for seed in (7, 8):
        draws = Sampler(root, prompts).draw(np.arange(9), seed)
        logits = plain.evaluate(both()[1], root, prompts, draws, range(9))
        expected.append(logits.logprob(prompts.take(range(9))))
    np.testing.assert_allclose(found.examples[0], np.concatenate(expected), atol=5e-6)
    np.testing.assert_allclose(found.baselines["clean"], np.tile(clean_logprob(prompts)[:9], 2), atol=5e-6)
    share = (np.mean(expected) - found.baselines["corrupt"].mean()) / (
        found.baselines["clean"].mean() - found.baselines["corrupt"].mean()
    )
    assert found.recovered.estimate == pytest.approx(share, abs=1e-5)


# Refusals, each one sentence and before any compute


def one(**changes):
    return Node("output", children=[Node("head", **({"parts": HEAD + "@-1", "feature": "a"} | changes))])


REFUSED = {
    "never varied": (one(feature="same"), {}, "never vary what 'head' depends on"),
    "values that one prompt has": (one(feature="own"), {}, "occur in one prompt only|no two prompts agree"),
    "some values that one prompt has": (one(feature="rare"), {}, "1 of 3 values of 'head' occur in one prompt only"),
    "child downstream": (
        one(children=[Node("late", "L1.mlp_out@-1", "b")]), {}, "'late' at L1.mlp_out@-1 is not computed before 'head'"
    ),
    "child beside its parent": (
        one(children=[Node("beside", "L1.z.H3@-1", "b")]), {}, "'beside' at L1.z.H3@-1 is not computed before 'head'"
    ),
    "direct child behind the stream its parent reads": (
        one(parts="L1.attn_out@-1", children=[Node("late", "L1.z.H0@-1", "b", "direct")]), {}, "no direct path leads from L1.z.H0@-1"
    ),
    "unknown variable": (one(feature="merit"), {}, "what 'merit' is"),
    "unknown given": (Node("output", given=("merit",), children=[Node("head", HEAD, "a")]), {}, "what 'merit' is"),
    "unknown position": (one(parts=HEAD + "@subjet"), {}, "did you mean 'subject'"),
    "unknown site": (one(parts="L7.z.H0@-1"), {}, "layer 7"),
    "unequal counts of positions": (one(parts=HEAD), {"lengths": (5, 6)}, "different numbers of positions"),
    "parts of a range": (one(parts=HEAD + "@4:7"), {"lengths": (5, 6, 7)}, "got 1 to 3 positions"),
    "no such position": (one(parts=HEAD + "@20"), {}, "positions"),
    "twice the same place": (
        Node("output", children=[Node("head", HEAD, "a"), Node("again", HEAD, "b")]), {}, "same place"
    ),
    "queries have no direct path": (one(parts="L1.q.H0@-1", edge="direct"), {}, "no direct path"),
    "nothing below the root": (Node("output"), {}, "root"),
    "a node without a place": (Node("output", children=[Node("head", feature="a")]), {}, "no part of the network"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_tested_is_refused_before_any_compute(case, token_layers):
    root, options, message = REFUSED[case]
    prompts = make_prompts(n=16, **options)
    told = {"same": torch.zeros(16), "own": torch.arange(16), "rare": torch.tensor([0] * 8 + [1] * 7 + [2])}
    prompts.variables.update(told)
    with pytest.raises(mc.MechcausalError, match=message) as caught:
        mc.scrub(both()[0], prompts, root)
    assert not token_layers
    assert "\n" not in str(caught.value)


def test_components_resampled_one_by_one_need_prompts_of_one_length(token_layers):
    with pytest.raises(mc.MechcausalError, match="all prompts must have one length"):
        mc.scrub(both()[0], make_prompts(n=16, lengths=(5, 6)), one(), unimportant="independent")
    assert not token_layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unimportant": "separate"}, "'joint' or 'together' or 'independent'"),
        ({"seeds": 0}, "cannot take this 'seeds' .got 0; expected a whole number of at least 1"),
        ({"pool": 0}, "cannot take this 'pool'"),
        ({"metric": "logit_diff"}, "foil"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(options, message, token_layers):
    with pytest.raises(mc.MechcausalError, match=message):
        mc.scrub(both()[0], make_prompts(n=16), one(), **options)
    assert not token_layers


@pytest.mark.parametrize("report", [False, True])
def test_the_cost_is_known_before_and_runs_nothing(token_layers, report):
    root = Node("output", children=[Node("head", HEAD, "a", children=[Node("stream", "L0.resid_post@-1", "b")])])
    model, prompts = both()[0], make_prompts(n=12)
    options = {"n": 10, "seeds": 2, "seed": 5, "lonely": "keep", "report": report, "controls": report}
    mc.scrub.cost(model, prompts, root, **options)  # the engine is compared with the loop once for each kind of place
    token_layers.clear()
    cost = mc.scrub.cost(model, prompts, root, **options)
    assert not token_layers
    scrubbed = mc.scrub(model, prompts, root, **options)
    compute = scrubbed.provenance.compute
    assert (cost.examples, cost.forwards, cost.naive_forwards) == (20, compute["forwards"], compute["naive_forwards"])
    assert cost.cells == len(scrubbed)
    table = cost.nodes.set_index("node")
    assert table["parts"].to_dict() == {"output": "output", "head": HEAD, "stream": "L0.resid_post@-1"}
    sizes = prompts.variables["a"].unique(return_counts=True)[1]
    assert (table.loc["head", "classes"], table.loc["head", "smallest_class"]) == (len(sizes), int(sizes.min()))
    assert str(cost).startswith(f"{cost.cells} cells x 20 examples: {cost.forwards} forwards of one prompt (")


def test_what_was_made_wrong_is_told_apart_and_named(hiring):
    """On the organism, not only through the self-test: every kind is there, fails, and is blamed where it is wrong."""
    hypothesis = Hypothesis.of("hiring")
    prompts = mc.task("hiring").prompts(hiring, 150, environment="broad")
    options = {"seeds": 2, "lonely": "keep"}
    true = mc.scrub(hiring, prompts, hypothesis, **options)
    assert true.recovered.low > 0.97
    assert true.culprit is None
    assert true.controls["effect_high"].max() < 0.9
    wrong = mc.causal.wrong_hypotheses(hiring, hypothesis, prompts)
    assert [one.kind for one in wrong] == [
        "missing variable", "wrong parent", "wrong site", "swapped variables", "over-coarse",
    ]  # fmt: skip
    for one_wrong in wrong:
        found = mc.scrub(hiring, prompts, one_wrong.root, controls=False, **options)
        assert found.recovered.high < 0.9, one_wrong.what
        assert found.culprit in one_wrong.blame, one_wrong.what


def test_the_engine_and_the_loop_say_the_same(hiring):
    prompts = mc.task("hiring").prompts(hiring, 60, environment="broad")
    options = {"seeds": 2, "lonely": "keep", "controls": False}
    fast, slow = (
        mc.scrub(hiring, prompts, Hypothesis.of("hiring"), exact=exact, **options) for exact in ("replay", "naive")
    )
    np.testing.assert_allclose(fast.examples, slow.examples, atol=1e-4)
    told = [found.provenance.compute for found in (fast, slow)]
    assert [one["engine"] for one in told] == ["replay", "naive"]
    assert told[0]["naive_forwards"] == told[1]["naive_forwards"]
    assert told[0]["forwards"] < told[1]["forwards"] / 2
    with pytest.raises(mc.MechcausalError, match="'replay' or 'naive'"):
        mc.scrub(hiring, prompts, Hypothesis.of("hiring"), exact="fast")
