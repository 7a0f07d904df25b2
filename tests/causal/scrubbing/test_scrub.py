"""The method as a whole: what it expects, refuses and costs, against benchmarks/plain_scrubbing.py."""

import numpy as np
import pytest
import torch
from scrubbing_trees import HEAD, both, clean_logprob, make_prompts, one, plain

import mechcausal as mc
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.tree import Node, classes
from mechcausal.data.scm import SCM


@pytest.mark.slow
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


# Refusals, each one sentence and before any compute


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
