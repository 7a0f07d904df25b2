"""One request to scrub."""

import numpy as np
import pytest
from scrubbing_trees import SHAPES, both, clean_logprob, make_prompts, plain

import mechcausal as mc
from mechcausal.causal.scrubbing.job import Job
from mechcausal.causal.scrubbing.sampling import Sampler
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.metrics import metric


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


def job(prompts, root, **options):
    arguments = {
        "n": None, "seeds": 2, "seed": 0, "unimportant": "joint", "size": None, "lonely": "keep", "batch_size": 8, "exact": "replay",
    }  # fmt: skip
    return Job(both()[0], root, prompts, metric("logprob"), **(arguments | options))


def test_controls_permute_the_features_shuffle_the_sites_and_drop_each_node():
    prompts = make_prompts(n=12)
    root = Node("output", children=SHAPES["one component on two paths"])
    asked = job(prompts, root)
    prepared = asked.controls()
    assert [control.label for control in prepared] == [
        "features permuted", "sites shuffled", "mlp dropped", "head > mlp dropped", "head > output dropped",
    ]  # fmt: skip
    named = {part.site for node in root.walk() for part in node.sites}
    shuffled = {part.site for node in prepared[1].tree.root.walk() for part in node.sites}
    assert not named & shuffled
    assert {site.component for site in shuffled} == {site.component for site in named}
    for control in prepared[2:]:
        names = {node.name for node in control.tree.root.walk()}
        assert control.label.removesuffix(" dropped") not in names


def test_each_variant_and_seed_is_a_draw_of_its_own():
    prompts = make_prompts(n=12)
    root = Node("output", children=SHAPES["chain"])
    variants = {("hypothesis", ""): frozenset(), ("head", "claim"): frozenset({("head", "claim")})}
    prepared = job(prompts, root, n=5).prepare(root, variants)
    drawn = [
        Sampler(root, prompts).draw(np.arange(5), seed, exact=spared) for spared in variants.values() for seed in (0, 1)
    ]
    for name, draw in prepared.samples.items():
        np.testing.assert_array_equal(draw.x, np.concatenate([draws[name].x for draws in drawn]))
    hits = np.concatenate([draws["mlp"].x == draws["output"].x for draws in drawn[:2]]).mean()
    assert 0 < prepared.self_hits < 1
    assert hits <= 3 * prepared.self_hits  # one of the three nodes it is a mean over


def test_the_references_are_some_of_the_prompts():
    root = Node("output", children=SHAPES["chain"])
    for count in (1, 13):
        with pytest.raises(mc.MechcausalError, match=f"the references are some of the prompts .got {count}"):
            job(make_prompts(n=12), root, n=count)
