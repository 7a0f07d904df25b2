"""The backup: two heads that say the same, either of which is enough. By plain torch on the bare model."""

import torch
from relatives import DECISION, IDS, N, bare, decided, tokens_of
from swaps import swapped

import mechcausal as mc
from mechcausal.causal import Hypothesis
from mechcausal.causal.alignment.interchange import interchange
from mechcausal.data.tasks import hiring as task


def test_either_head_is_enough_and_without_both_the_bias_is_gone():
    """The same applicants called he and she, name and hobby as they are: what one head does alone, and both together."""
    own, model = mc.task("hiring_backup"), bare("hiring_backup")
    units = own.table(N, seed=3, environment="broad")
    he, she = (own.scm.counterfactual(units, gender=g, name=units["name"], hobby=units["hobby"]) for g in (1, 0))
    sides = {"he": (he, tokens_of(he)), "she": (she, tokens_of(she))}
    heads = ["L1.z.H2", "L1.z.H3"]

    def after(base, source, which):
        taken = [(head, None, DECISION, sides[source][1], DECISION) for head in which]
        return decided(swapped(model, sides[base][1], taken))

    for head in heads:
        assert (after("he", "she", [head]) == he["decision"]).all()
        assert (after("she", "he", [head]) == he["decision"]).all()
    assert (after("he", "she", heads) == she["decision"]).all()
    assert (he["decision"] != she["decision"]).sum() == 182  # as its card says


def test_one_at_a_time_no_head_carries_the_bias():
    """What ablation head by head misses; and a hypothesis that knows of one head is right half of the time."""
    model = mc.load("organism:hiring_backup")
    pairs = mc.contrast("hiring_backup/gender_direct", model, n=100, seed=3)

    def accept(logits, batch):
        return (logits[torch.arange(len(batch)), batch.read_columns][:, IDS].argmax(-1) == 2).float()

    heads = mc.patch(model, pairs, sites="z", at="@decision", direction="noise", metric=accept)
    assert heads.frame["change"].abs().max() == 0
    assert heads.baselines["clean"].mean() - heads.baselines["corrupt"].mean() > 0.1
    known = Hypothesis.of("hiring_backup").alignment["bias_first"]
    merely_one = Hypothesis(task.TASK.scm, {"bias": known}, outcome="decision")
    prompts = mc.task("hiring").prompts(model, 300, environment="broad")
    found = interchange(model, prompts, merely_one, n=300, placebo=False).frame
    assert 0.2 < found["value"][0] < 0.8  # it brings the bias, and does not take it away
