"""Ablating what is outside a circuit by the other prompt, by the mean and by zero: against hooks placed by hand."""

import numpy as np
import pytest
import torch
from random_dictionaries import Bent, Rectified, Remembering, TopK, Turned
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import ALL, Place, Selection
from mechcausal.circuits import Graph
from mechcausal.circuits.features.ablating import ABLATIONS, Ablation
from mechcausal.circuits.features.circuit import circuit
from mechcausal.circuits.features.kept import faithfulness, in_turn, kept, kept_alone
from mechcausal.circuits.features.scores import Scorer
from mechcausal.errors import ArgumentError, DataError, NumericsError, SiteError
from mechcausal.metrics import metric
from mechcausal.models.hooked import forward

LOGIT_DIFF = metric("logit_diff")
LAYERS = (0, 1)


def stream(model, side, layer):
    """Return the stream behind a layer by the model's own cache."""
    with torch.no_grad():
        return model.run_with_cache(side.tokens)[1][f"blocks.{layer}.hook_resid_post"].clone()


def set_to(kind, dictionary, model, pairs, layer):
    """Return what features and error are set to at every token, worked out prompt by prompt."""
    own, other = (stream(model, side, layer) for side in (pairs.clean, pairs.corrupt))
    told = [(f := dictionary.encode(x), x - dictionary.decode(f)) for x in (own, other)]
    if kind == "zero":
        return [torch.zeros_like(part) for part in told[0]]
    if kind == "mean":
        return [torch.cat([told[0][i], told[1][i]]).mean(0).expand_as(told[0][i]) for i in (0, 1)]
    f = dictionary.encode(other)
    dictionary.encode(own)  # some decoders remember how large the run's own activation was
    return [f, other - dictionary.decode(f)]


def nodes_of(*known, at=ALL):
    features = [Place(one.feature(number), at) for one in known for number in range(one.n_features)]
    return [*features, *(Place(one.error, at) for one in known)]


# What is kept, by hooks


@pytest.mark.parametrize("kind", ABLATIONS)
@pytest.mark.parametrize("make", [TopK, Bent])
def test_it_is_what_hooks_do_that_set_all_but_the_circuit(kind, make, bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 5)
    made = [make(32, n=20, seed=layer) for layer in LAYERS]
    known = [bind(model, made[i], f"L{i}.resid_post", f"d{i}") for i in LAYERS]
    draw = np.random.default_rng(1)
    keep = [node for node in nodes_of(*known) if draw.random() < 0.5]
    masks = kept(known, (ALL,), keep)
    how = Ablation.of(model, known, (ALL,), pairs, kind, None, 2)
    found = kept_alone(model, known, (ALL,), masks, pairs.clean, pairs.corrupt, how)

    def hook_of(layer):
        features, error = set_to(kind, made[layer], model, pairs, layer)
        mine = masks[f"d{layer}"][0]

        def hook(x, hook):
            f = made[layer].encode(x)
            own = x - made[layer].decode(f)
            return made[layer].decode(torch.where(mine[:-1], f, features)) + (own if mine[-1] else error)

        return f"blocks.{layer}.hook_resid_post", hook

    with torch.no_grad():
        expected = model.run_with_hooks(pairs.clean.tokens, fwd_hooks=[hook_of(layer) for layer in LAYERS])
    assert (found - expected).abs().max() < 1e-4
    assert (found - forward(model, pairs.clean).logits).abs().max() > 0.1
    whole = kept_alone(model, known, (ALL,), kept(known, (ALL,), nodes_of(*known)), pairs.clean, pairs.corrupt, how)
    assert (whole - forward(model, pairs.clean).logits).abs().max() == 0


def test_with_nothing_kept_by_the_other_prompt_it_is_the_other_prompt_whatever_the_decoder(bind):
    model, pairs = loaded("gpt2"), make_pairs((7, 5, 6))
    kinds = [Bent(32, seed=1), Remembering(32, seed=2)]
    known = [bind(model, made, f"L{i}.resid_post", f"d{i}") for i, made in enumerate(kinds)]
    assert not any(one.linear for one in known)
    nothing = {one.name: torch.zeros(1, one.n_features + 1, dtype=torch.bool) for one in known}
    logits = kept_alone(model, known, (ALL,), nothing, pairs.clean, pairs.corrupt, Ablation())
    assert (logits - forward(model, pairs.corrupt).logits)[pairs.clean.mask].abs().max() < 1e-4


def test_means_are_of_the_position_or_where_prompts_differ_in_length_of_the_place(bind):
    model = loaded("gpt2")
    at = (Selection.parse("@0:2"), Selection.parse("@-1"))
    known = bind(model, TopK(32), "L1.resid_post", "d")
    for lengths, by in (((6,) * 4, "per position"), ((7, 5, 6), "per place")):
        pairs = make_pairs(lengths)
        how = Ablation.of(model, [known], at, pairs, "mean", None, 2)
        assert how.described["mean"] == by
        pool = pairs.pooled
        for number, site in enumerate((known.features, known.error)):
            read = forward(model, pool, read=[site]).read[site].double()
            if by == "per position":
                torch.testing.assert_close(how.means["d"][number], read.mean(0)[None])
            else:
                expected = [read[pool.select(place)].mean(0) for place in at]
                torch.testing.assert_close(how.means["d"][number][:, 0], torch.stack(expected))
    other = make_pairs((9,) * 3, seed=9)  # means of other, longer prompts
    by_other = Ablation.of(model, [known], at, pairs, "mean", other, 2)
    assert by_other.described["reference"] == other.pooled.hash
    assert not torch.allclose(by_other.means["d"][0], how.means["d"][0])


# Scores


@pytest.mark.parametrize("kind", ABLATIONS)
@pytest.mark.parametrize("make", [TopK, Bent, Remembering])
def test_scores_are_integrated_gradients_by_the_nodes_themselves(kind, make, bind):
    """Features and error are points of the graph, taken together along a straight line, by autograd through hooks."""
    model, pairs, steps = loaded("gpt2"), make_pairs((7,) * 4), 3
    made = make(32, n=20, seed=3)
    known = bind(model, made, "L0.resid_post", "d")
    how = Ablation.of(model, [known], (ALL,), pairs, kind, None, 64)
    scores = Scorer(model, [known], LOGIT_DIFF, (ALL,), steps, 64, how).nodes(pairs)["d"][0]
    ends = set_to(kind, made, model, pairs, 0)
    own = stream(model, pairs.clean, 0)
    f = made.encode(own)
    starts = [f, own - made.decode(f)]
    expected = np.zeros(21)
    for step in range(steps):
        part = (step + 0.5) / steps
        nodes = [(a + part * (b - a)).requires_grad_() for a, b in zip(starts, ends, strict=True)]
        hook = lambda x, hook, nodes=nodes: made.decode(nodes[0]) + nodes[1]  # noqa: E731
        with torch.enable_grad():
            logits = model.run_with_hooks(pairs.clean.tokens, fwd_hooks=[("blocks.0.hook_resid_post", hook)])
            slopes = torch.autograd.grad(LOGIT_DIFF(logits, pairs.clean).sum(), nodes)
        each = [(slope * (b - a)) for slope, a, b in zip(slopes, starts, ends, strict=True)]
        expected += torch.cat([each[0].sum((0, 1)), each[1].sum()[None]]).numpy() / steps / len(pairs)
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert np.abs(expected).max() > 0.05


@pytest.mark.parametrize("kind", ABLATIONS)
def test_the_nodes_sum_to_the_exact_effect_of_ablating_them_all(kind, bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 6)
    known = [bind(model, Bent(32, seed=1), "L0.resid_post", "bent"), bind(model, TopK(32), "L1.attn_out", "top")]
    how = Ablation.of(model, known, (ALL,), pairs, kind, None, 64)
    job = Scorer(model, known, LOGIT_DIFF, (ALL,), 48, 64, how)
    scores = job.nodes(pairs)
    for one in known:
        nothing = {one.name: torch.zeros(1, one.n_features + 1, dtype=torch.bool)}
        ablated = kept_alone(model, [one], (ALL,), nothing, pairs.clean, pairs.corrupt, how)
        moved = LOGIT_DIFF(ablated, pairs.clean) - LOGIT_DIFF(forward(model, pairs.clean).logits, pairs.clean)
        exact = float(moved.mean())
        assert job.effects[one.name] == pytest.approx(exact, abs=1e-5)
        assert scores[one.name].sum() == pytest.approx(exact, abs=max(0.01 * abs(exact), 5e-3))


@pytest.mark.parametrize("make", [Bent, pytest.param(Remembering, marks=pytest.mark.slow)])
def test_into_each_node_come_edges_that_sum_to_its_score_whatever_the_decoders(make, bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 4)
    early = bind(model, make(32, n=12, seed=1, bias=2.0), "L0.resid_post", "early")
    late = bind(model, make(32, n=12, seed=2, bias=2.0), "L1.resid_post", "late")
    job = Scorer(model, [early, late], LOGIT_DIFF, (ALL,), 32, 64)
    scores = job.nodes(pairs)["late"][0]
    edges = job.edges(pairs, nodes_of(early, late))
    for number in range(13):
        node = Place(late.error if number == 12 else late.feature(number))
        total = sum(score for (_, receiver), score in edges.items() if receiver == node)
        assert total == pytest.approx(scores[number], abs=0.02 * np.abs(scores).max())
    assert np.abs(scores[:-1]).max() > 0.05


# Closed forms, on organism:by_hand


class Axes:
    """The twelve numbers of the stream of `by_hand`, each as a feature."""

    W_dec = torch.eye(12)
    encode = decode = lambda self, x: x


@pytest.mark.parametrize("kind", ["mean", "zero"])
def test_behind_the_last_layer_scores_and_shares_are_written_down(kind, by_hand, bind):
    """There the answer is linear in each number of the stream: a node counts what it holds more than it is set to."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=64)
    known = bind(by_hand, Axes(), "L1.resid_post", "last")
    read = [forward(by_hand, side, read=[known.features]).read[known.features] for side in (pairs.clean, pairs.corrupt)]
    clean, corrupt = (x[torch.arange(len(x)), -1].double() for x in read)
    unembed = by_hand.W_U.detach().double()
    reads = (unembed[:, pairs.clean.answer] - unembed[:, pairs.clean.foil]).T
    goal = torch.cat([clean, corrupt]).mean(0) if kind == "mean" else torch.zeros(12)
    expected = ((goal - clean) * reads).mean(0)
    some = expected.abs().topk(2).indices.tolist()
    found = circuit(by_hand, pairs, [known], nodes=12, steps=2, ablation=kind, reference=None, random=0)
    graph = Graph.of([str(known.feature(number)) for number in some])
    measured = faithfulness(by_hand, pairs, graph, ablation=kind, random=0)
    assert measured.faithfulness.estimate == pytest.approx(float(expected[some].sum() / expected.sum()), abs=1e-5)
    assert measured.completeness.estimate == pytest.approx(float(1 - expected[some].sum() / expected.sum()), abs=1e-5)
    assert measured.provenance.arguments["ablation"] == found.graph.about["ablation"] == kind
    assert ("reference" in measured.provenance.arguments) == (kind == "mean")
    how = Ablation.of(by_hand, [known], (ALL,), pairs, kind, None, 64)
    scores = Scorer(by_hand, [known], LOGIT_DIFF, (ALL,), 1, 64, how).nodes(pairs)["last"][0]
    np.testing.assert_allclose(scores[:-1], expected.numpy(), atol=1e-5)
    assert scores[-1] == pytest.approx(0, abs=1e-6)


def test_what_all_prompts_share_is_no_part_of_a_difference_and_is_lost_by_zero(by_hand, bind):
    """By the other prompt the gender's own axis is the whole circuit; by zero the same circuit loses the rest."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=64)
    known = bind(by_hand, Axes(), "L0.resid_post", "first")
    graph = Graph.of([str(known.feature(5))])
    shares = {
        kind: faithfulness(by_hand, pairs, graph, ablation=kind, random=0).faithfulness.estimate for kind in ABLATIONS
    }
    assert shares["counterfactual"] == pytest.approx(1, abs=1e-5)
    assert abs(shares["zero"] - 1) > 0.1


# Wrong input


class Detached(Bent):
    def decode(self, f):
        return super().decode(f).detach()


def test_bad_input(bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 16)
    one = bind(model, Turned(32), "L1.resid_post", "one")
    with pytest.raises(ArgumentError, match="'counterfactual' or 'mean' or 'zero'"):
        circuit(model, pairs, [one], ablation="resample")
    with pytest.raises(DataError, match="zero ablation takes no means"):
        faithfulness(model, pairs, Graph.of([str(one.feature(1))]), ablation="zero", reference=pairs)
    with pytest.raises(SiteError, match="would move it twice"):
        in_turn(model, [one, bind(model, Turned(32), "L2.resid_pre", "two")])
    graph = Graph.of([f"{one.feature(1)}@6"])
    with pytest.raises(DataError, match="no reference prompt has these positions"):
        faithfulness(model, pairs, graph, ablation="mean", reference=make_pairs((5,)))
    stuck = bind(model, Detached(32), "L0.resid_post", "stuck")
    with pytest.raises(NumericsError, match="no gradient by its features"):
        circuit(model, pairs, [stuck])
    fine = bind(model, Rectified(32), "L0.resid_mid", "fine")
    assert [known.name for known in in_turn(model, [one, fine])] == ["fine", "one"]
