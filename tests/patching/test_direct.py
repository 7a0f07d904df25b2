"""Direct paths in closed form: when they can be traced, and that a dry trace runs nothing."""

import numpy as np
import pytest
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities
from mechcausal.models.replay.verify import replayer
from mechcausal.patching.direct import can_trace, trace


@pytest.mark.parametrize(
    ("name", "sender", "receivers", "reason"),
    [
        ("gpt2", "L0.z.H1", ["logits"], ""),
        ("gpt2", "L0.z.H1", ["L1.mlp_out"], ""),
        ("gpt2", "L0.v.H1", ["logits"], "no readout of v"),
        ("gpt2", "L0.z.H1", ["L1.mlp_out", "logits"], "only the unembedding"),
        ("gpt2", "L0.z.H1", ["L1.q.H0"], "only the unembedding"),
        ("bert", "L0.z.H1", ["logits"], "logits"),
    ],
)
def test_what_can_be_traced(name, sender, receivers, reason):
    said = can_trace(replayer(loaded(name)), [Site.parse(sender)], [Site.parse(site) for site in receivers])
    assert (said == "") == (reason == "")
    assert reason in said


@pytest.mark.parametrize("receiver", ["logits", "L2.mlp_out"])
def test_a_trace_is_the_path_of_the_loop_and_a_dry_one_gives_its_cost(gpt2, receiver):
    pairs = make_pairs((7, 7, 7))
    edits = [Edit(Site("z", 0, head=head), Patch(), Selection()) for head in range(4)]
    given = (
        gpt2,
        abilities(gpt2),
        replayer(gpt2),
        edits,
        Site.parse(receiver),
        Selection(),
        pairs.corrupt,
        pairs.clean,
    )
    values, _, economy = trace(*given, metric("logit_diff"), None)
    slow = mc.path_patch(gpt2, pairs, senders="L0.z.H*", receivers=receiver, exact="naive")
    np.testing.assert_allclose(values, slow.examples, atol=1e-5)
    unedited, _, dry = trace(*given, metric("logit_diff"), None, dry=True)
    assert (dry.token_layers, dry.skipped, dry.asked) == (economy.token_layers, economy.skipped, economy.asked)
    np.testing.assert_allclose(unedited, np.tile(slow.baselines["corrupt"], (4, 1)), atol=1e-5)
