"""What each unit does for a secret: ablations are those of a whole forward, attributions add up to the exact effect."""

import numpy as np
import pytest

from mechcausal.address import Site, expand
from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.canaries import SHIPPED
from mechcausal.audits.privacy.prompting import asked_for
from mechcausal.audits.privacy.units import Ablator, attributed, listed
from mechcausal.data import PromptSet
from mechcausal.interventions.specs import Edit, Zero
from mechcausal.models.abilities import abilities
from mechcausal.models.hooked import forward


@pytest.fixture(scope="module")
def canaries():
    return SHIPPED["hiring_secret"](0).take(slice(0, 3))


def by_hand(model, canaries, edits=()):
    rows = PromptSet.from_text(model, list(canaries.texts))
    logprobs = forward(model, rows, edits).logits[:, 3:-1].double().log_softmax(-1)
    return logprobs.gather(2, rows.tokens[:, 4:, None])[..., 0].sum(1).numpy()


def test_ablations_are_those_of_a_whole_forward(hiring, canaries):
    desk, prompts = Desk(hiring, {}, quiet=True), asked_for(hiring, canaries, canaries.prompts)
    cells = [(), [Site.parse("L2.z.H3")], [Site.parse("L3.mlp_post.N5"), Site.parse("L2.z.H0")]]
    found = Ablator(desk, "zero", prompts).measured(prompts, "logprob", cells)
    for values, units in zip(found, cells, strict=True):
        # The last digit is predicted, never read, so its own activations do not matter.
        assert np.abs(values - by_hand(hiring, canaries, [Edit(unit, Zero()) for unit in units])).max() < 1e-3


def test_attributions_of_a_site_add_up_to_what_it_does(hiring, canaries):
    desk, prompts = Desk(hiring, {}, quiet=True), asked_for(hiring, canaries, canaries.prompts)
    units = expand("L3.mlp_post.N*", abilities(hiring).shape)
    credit, active = attributed(desk, prompts, units, steps=60)
    whole = Ablator(desk, "zero", prompts).measured(prompts, "logprob", [(), units])
    effect = float((whole[0] - whole[1]).mean())
    assert credit.sum() == pytest.approx(effect, abs=0.03 * abs(effect))
    assert (active >= 0).all()


def test_units_by_their_numbers():
    units = [Site("z", 0, head=head) for head in range(4)]
    assert listed(units, np.array([2, 0])) == [units[2], units[0]]
