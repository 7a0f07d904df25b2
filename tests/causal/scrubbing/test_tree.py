import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.tree import Node, check_tree, classes, tree_of
from mechcausal.data import PromptSet
from mechcausal.data.scm import SCM
from mechcausal.errors import DataError, MechcausalError, SiteError
from mechcausal.models.abilities import abilities


def example():
    return Node(
        "answer",
        children=[
            Node("count", "L2.z.H0@-1", "balance", "direct", [Node("early", ["L0.z.H1@1", "L0.mlp_out@1"])]),
            Node("horizon", {"site": "L2.z", "at": "@-1", "basis": [[1, 0], [0, 1]]}, ("low", "high")),
            Node("mask", "mask", lambda prompts: prompts.lengths),
        ],
    )


def prompts(**variables):
    tokens = torch.arange(24).reshape(6, 4)
    told = {name: torch.as_tensor(column) for name, column in variables.items()}
    return PromptSet(tokens, torch.ones_like(tokens, dtype=torch.bool), variables=told)


# Nodes


def test_a_tree_prints_what_it_says_one_node_a_line():
    assert str(example()).splitlines() == [
        "answer: output, by exact",
        "  count: L2.z.H0@-1, by balance (direct)",
        "    early: L0.z.H1@1 + L0.mlp_out@1, by exact",
        "  horizon: L2.z@-1[2d], by low, high",
        "  mask: mask, by <lambda>",
    ]


def test_nodes_are_walked_parents_first_and_found_by_name():
    root = example()
    assert [node.name for node in root.walk()] == ["answer", "count", "early", "horizon", "mask"]
    assert root.find("early").parts == (Place.parse("L0.z.H1@1"), Place.parse("L0.mlp_out@1"))
    assert root.find("mask").is_mask
    assert root.find("mask").sites == ()
    assert not root.find("count").is_mask
    with pytest.raises(DataError, match="did you mean 'horizon'"):
        root.find("horzon")


def test_changing_one_node_leaves_the_tree_and_all_others_as_they_were():
    root = example()
    changed = root.changed("early", feature="other")
    assert changed.find("early").feature == "other"
    assert root.find("early").feature == "exact"
    assert changed.find("horizon") is root.find("horizon")
    pruned = root.changed("count", children=())
    assert [node.name for node in pruned.walk()] == ["answer", "count", "horizon", "mask"]
    assert pruned.find("count").edge == "direct"
    assert root.changed("answer", given=("x",)).given == ("x",)
    with pytest.raises(DataError, match="no node"):
        root.changed("nobody", feature="x")


def test_dropping_a_node_drops_what_is_below_it():
    root = example()
    assert [node.name for node in root.dropped("count").walk()] == ["answer", "horizon", "mask"]
    assert [node.name for node in root.dropped("early").walk()] == ["answer", "count", "horizon", "mask"]
    assert len(list(root.walk())) == 5
    with pytest.raises(DataError, match="no node"):
        root.dropped("nobody")


def test_every_node_can_be_changed_and_every_part_moved():
    root = example()
    assert all(node.given == ("x",) for node in root.each(given=("x",)).walk())
    assert root.changed("mask", feature="exact").find("mask").is_mask
    moved = root.placed(lambda part: Place(part.site, part.at))
    assert str(moved.find("horizon")) == "horizon: L2.z@-1, by low, high"
    assert moved.find("mask").is_mask
    assert [node.name for node in moved.walk()] == [node.name for node in root.walk()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Node("a", "L0.z", edge="straight"), "'all' or 'direct', not 'straight'"),
        (lambda: Node("a", children=[Node("b", "L0.z"), Node("b", "L1.z")]), "two nodes are called 'b'"),
        (lambda: Node("a", children=[Node("b", "L1.z", children=[Node("a", "L0.z")])]), "two nodes are called 'a'"),
        (lambda: Node("a", "mask", edge="direct"), "attention mask"),
        (lambda: Node("a", "mask", children=[Node("b", "L0.z")]), "attention mask"),
        (lambda: Node("a", ["L0.z", "L1.z"], estimate=lambda prompts: prompts), "is one of one part"),
        (lambda: Node("a", "L1.z", children=[Node("b", "L0.z")], estimate=lambda prompts: prompts), "has no children"),
        (lambda: Node("a", "L0.z", feature=()), "'a' is said to depend on nothing"),
        (lambda: Node("a", "L0.zz"), "did you mean"),
        (lambda: Node("a", "L0.z@1-2"), "not a selection"),
    ],
)
def test_a_node_that_says_nothing_sensible_is_refused_when_it_is_made(make, message):
    with pytest.raises(MechcausalError, match=message):
        make()


# Classes


def test_classes_are_the_same_exactly_where_the_feature_is():
    told = prompts(a=[0, 0, 1, 1, 2, 2], b=[0, 1, 0, 1, 0, 0], rows=[[0, 1], [0, 1], [1, 0], [0, 0], [1, 0], [0, 1]])
    same = {
        "a": [0, 0, 1, 1, 2, 2],
        ("a", "b"): [0, 1, 2, 3, 4, 4],
        "rows": [0, 0, 1, 2, 1, 0],
        "exact": range(6),
    }
    for feature, expected in same.items():
        of = classes(feature, told)
        assert sorted(set(of)) == list(range(len(set(of))))  # numbered without gaps
        one, other = np.asarray(list(expected)), np.asarray(of)
        np.testing.assert_array_equal(one[:, None] == one, other[:, None] == other)


def test_a_feature_may_be_a_function_of_the_prompts():
    told = prompts(a=[0, 0, 1, 1, 2, 2])
    tensor = classes(lambda p: p.tokens[:, 0] > 8, told)
    array = classes(lambda p: p.variables["a"].numpy() > 1, told)
    assert tensor.tolist() == [0, 0, 0, 1, 1, 1]
    assert array.tolist() == [0, 0, 0, 0, 1, 1]

    def short(p):
        return p.tokens[:3, 0]

    with pytest.raises(DataError, match="'short' must give one value per prompt"):
        classes(short, told)
    with pytest.raises(DataError, match="what 'merit' is"):
        classes("merit", told)


# Trees of hypotheses


def test_the_tree_of_hiring():
    root = tree_of(Hypothesis.of("hiring"))
    assert str(root).splitlines() == [
        "decision: output, by exact",
        "  score: L2.mlp_out@decision, by score",
        "    merit: L1.z.H0@decision, by merit",
        "    proxy: L1.z.H1@decision, by proxy",
        "    bias: L1.z.H2@decision, by bias",
    ]
    assert not any(node.given for node in root.walk())


def test_inputs_read_from_elsewhere_are_kept_where_they_are_read():
    root = tree_of(Hypothesis.of("hiring", "hiring_secret"))
    assert {node.name: node.given for node in root.walk()} == {"digit": (), "recalled": ("place",), "secret": ()}
    root = tree_of(Hypothesis.of("reverse"))
    assert {node.name: node.given for node in root.walk() if node.given} == {
        "fetched": ("text",), "said": ("index",)
    }  # fmt: skip


def test_a_variable_that_two_others_read_becomes_two_nodes():
    root = tree_of(Hypothesis.of("by_hand"))
    assert {node.name: [child.name for child in node.children] for node in root.walk()} == {
        "answer": ["gender > answer", "level > answer", "joint"],
        "gender > answer": [],
        "level > answer": [],
        "joint": ["gender > joint", "level > joint"],
        "gender > joint": [],
        "level > joint": [],
    }
    assert root.find("gender > joint").parts == root.find("gender > answer").parts
    assert root.find("gender > joint").feature == "gender"


def diamond(**options):
    """Return x -> m -> (left, right) -> end, and m -> end."""
    scm = SCM(
        "diamond",
        noise={"u": 4},
        mechanisms={
            "x": lambda u: u,
            "m": lambda x: x % 2,
            "left": lambda m: m,
            "right": lambda m: 1 - m,
            "end": lambda left, right, m: left + right + m - 1,
        },
        values={"end": ("no", "yes")},
    )
    places = {"x": "embed", "m": "L0.mlp_out", "left": "L1.z.H0", "right": "L1.z.H1"}
    return Hypothesis(scm, places, **options)


def test_what_is_below_a_shared_variable_is_repeated_under_names_of_its_own():
    edges = {("m", "end"): "direct", ("x", "m"): "direct"}
    root = tree_of(diamond(edges=edges))
    assert [node.name for node in root.walk()] == [
        "end", "left", "m > left", "x > left", "right", "m > right", "x > right", "m > end", "x > end",
    ]  # fmt: skip
    kinds = {node.name: node.edge for node in root.walk()}
    assert kinds["m > end"] == "direct"
    assert kinds["m > left"] == kinds["m > right"] == "all"
    assert kinds["x > left"] == kinds["x > right"] == kinds["x > end"] == "direct"


def test_a_variable_without_a_place_is_passed_through():
    root = tree_of(diamond().without("m"))
    assert {node.name: [child.name for child in node.children] for node in root.walk()} == {
        "end": ["left", "right", "x > end"],
        "left": ["x > left"], "right": ["x > right"], "x > end": [], "x > left": [], "x > right": [],
    }  # fmt: skip


# Trees and models


def test_trees_of_the_shipped_hypotheses_fit_their_models(hiring, by_hand):
    for model, organism, name in (
        (hiring, "hiring", None),
        (hiring, "hiring", "hiring_secret"),
        (by_hand, "by_hand", None),
    ):
        hypothesis = Hypothesis.of(organism, name)
        told = mc.task(name or organism).prompts(model, 32)
        check_tree(abilities(model), tree_of(hypothesis), told)
        for node in tree_of(hypothesis).walk():
            classes(node.feature, told)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (Node("answer", "L2.z"), "the root of a tree is the output"),
        (Node("answer"), "the root of a tree is the output"),
        (Node("answer", children=[Node("a")]), "'a' stands for no part"),
        (Node("answer", children=[Node("a", "L9.z.H0")]), "layer 9"),
        (Node("answer", children=[Node("a", "L1.z.H0@who")]), "no position called 'who'"),
        (Node("answer", children=[Node("a", "L1.z.H0", children=[Node("b", "L1.mlp_out")])]), "'b' at L1.mlp_out is not"),
        (Node("answer", children=[Node("a", "L1.z.H0"), Node("b", "L1.z.H0", "b")]), "the same place along all paths"),
    ],
)  # fmt: skip
def test_a_tree_that_does_not_fit_is_refused(gpt2, root, message):
    with pytest.raises(MechcausalError, match=message):
        check_tree(abilities(gpt2), root, prompts())


def test_the_same_place_may_be_named_twice_where_nothing_is_overwritten(gpt2):
    halves = [{"site": "L1.resid_post", "basis": torch.eye(32)[i : i + 4].tolist()} for i in (0, 4)]
    check_tree(abilities(gpt2), Node("answer", children=[Node("a", halves[0]), Node("b", halves[1])]), prompts())
    both = [Node("a", "L1.z.H0", edge="direct"), Node("b", "L1.z.H0")]
    check_tree(abilities(gpt2), Node("answer", children=both), prompts())
    apart = [Node("a", "L1.z.H0@1"), Node("b", "L1.z.H0@2")]
    check_tree(abilities(gpt2), Node("answer", children=apart), prompts())


def test_ranges_of_which_some_prompts_have_a_part_are_refused(gpt2):
    tokens = torch.arange(24).reshape(6, 4)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[2, 3] = False
    uneven = PromptSet(tokens, mask)
    for at in ("@all", "@2:", "@1:"):
        with pytest.raises(SiteError, match="different numbers of positions"):
            check_tree(abilities(gpt2), Node("answer", children=[Node("a", f"L1.z.H0{at}")]), uneven)
    check_tree(abilities(gpt2), Node("answer", children=[Node("a", "L1.z.H0@-1")]), uneven)


@pytest.mark.parametrize("at", ["@9", "@4:7", "@-5"])
def test_a_position_that_no_prompt_has_is_named(gpt2, at):
    tokens = torch.arange(24).reshape(6, 4)
    short = PromptSet(tokens, torch.ones_like(tokens, dtype=torch.bool))
    tree = Node("answer", children=[Node("a", f"L1.z.H0{at}")])
    with pytest.raises(
        SiteError, match=rf"no prompt has the position of 'a' at L1\.z\.H0{at} .got prompts of at most 4"
    ):
        check_tree(abilities(gpt2), tree, short)
