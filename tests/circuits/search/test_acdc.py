"""ACDC in batches is the algorithm as it is written, run by run."""

import numpy as np
import pytest
from small_circuit import BY_HAND
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.search.acdc import acdc, stages
from mechcausal.circuits.search.damage import damage, whole
from mechcausal.errors import ArgumentError


def written_down(masked, threshold):
    """Remove edges one after the other, each by a whole run of the circuit without it."""
    kept = np.broadcast_to(masked.wiring.possible[..., None], masked.shape).copy()
    loss = damage(masked, masked.metric(kept)[None])[0]
    for _, receivers in stages(masked.wiring):
        for receiver in receivers:
            for sender in reversed(range(len(masked.wiring.senders))):
                for place in range(masked.shape[2]):
                    if not kept[sender, receiver, place]:
                        continue
                    kept[sender, receiver, place] = False
                    without = damage(masked, masked.metric(kept)[None])[0]
                    if without - loss < threshold:
                        loss = without
                    else:
                        kept[sender, receiver, place] = True
    return kept


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [("gpt2", "kl"), ("llama", "logit_diff"), ("neox", "kl")])
def test_batches_give_what_the_algorithm_gives(name, metric):
    masked = Masked(loaded(name), make_pairs(lengths=(4, 3)), metric)
    total = whole(masked)
    thresholds = [share * total for share in (0.01, 0.05, 0.2)]
    found = acdc(masked, thresholds)
    if name == "llama":
        assert np.array_equal(found.kept[1], written_down(masked, thresholds[1]))
    else:
        assert np.array_equal(found.kept[2], acdc(masked, thresholds[2:], most=1).kept[0])
    for kept, loss in zip(found.kept, found.damage, strict=True):
        assert loss == pytest.approx(damage(masked, masked.metric(kept)[None])[0], abs=1e-4)
    assert found.kept[0].sum() > found.kept[1].sum() > found.kept[2].sum() > 0


@pytest.fixture(scope="module")
def of_organism(by_hand):
    return Masked(by_hand, mc.contrast("by_hand/gender", by_hand, n=16))


def test_the_circuit_of_the_organism_is_found(of_organism):
    found = acdc(of_organism, [0.02, 0.2])
    wiring = of_organism.wiring
    for kept in found.kept:
        listed = {(str(wiring.senders[s]), str(wiring.receivers[r])) for s, r, _ in np.argwhere(kept)}
        assert listed == set(BY_HAND)
    assert np.array_equal(found.kept[0], written_down(of_organism, 0.02))


def test_scores_rank_what_stays_above_what_goes(of_organism):
    found = acdc(of_organism, [0.01, 0.1, 1.0])
    scores = found.scores
    assert scores[found.kept[0]].min() >= 0.01 > scores[~found.kept[0]].max()
    assert scores[found.kept[2]].min() >= 1.0


def test_thresholds_share_their_runs(of_organism):
    found = acdc(of_organism, [0.01, 0.02, 0.04, 0.08])
    assert found.runs < found.tried / 2
    one_by_one = acdc(of_organism, [0.01], most=1)
    assert one_by_one.runs == one_by_one.tried


def test_receivers_that_nothing_reads_are_not_run(of_organism):
    found = acdc(of_organism, [0.05], most=1)
    assert found.runs < of_organism.wiring.count / 2


def test_a_threshold_of_zero_is_refused(of_organism):
    with pytest.raises(ArgumentError, match="above 0"):
        acdc(of_organism, [0.0])


def test_positions_are_told_apart(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=4)
    at = [mc.address.Selection.parse(each) for each in ("@0", "@3")]
    masked = Masked(by_hand, pairs, positions=at)
    found = acdc(masked, [0.05])
    assert np.array_equal(found.kept[0], written_down(masked, 0.05))
    assert found.kept[0].sum() < found.kept[0].any(-1).sum() * 4


def test_discover_takes_it_by_name(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    kept = mc.circuits.discover(by_hand, pairs, method="acdc", threshold=0.1)
    assert {(str(s.site), str(r.site)) for s, r in kept.edges} == set(BY_HAND)
    ranked = mc.circuits.discover(by_hand, pairs, method="acdc", edges=4, search="top")
    assert ranked.kept.sum() == 4
    assert np.array_equal(ranked.kept, kept.kept)
