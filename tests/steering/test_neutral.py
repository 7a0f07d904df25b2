"""What neutral text says about an edit, and about a request."""

import numpy as np
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.interventions import Add, Edit
from mechcausal.steering.neutral import SENTENCES, cost_of, cost_of_asking, neutral_prompts


def test_nothing_costs_nothing():
    prompts = make_pairs(lengths=(6, 4, 5)).clean
    cells = [(Edit.of("L1.resid_post", Add(1.0, scale)),) for scale in (0.0, 5.0)]
    divergence, rise = cost_of(loaded("llama"), prompts, cells, 2)
    assert np.allclose(divergence[0], 0, atol=1e-6)
    assert np.allclose(rise[0], 0, atol=1e-6)
    assert (divergence[1] > 0.001).all()


def test_a_request_is_compared_token_by_token():
    model = mc.load("organism:induction")
    neutral = mc.PromptSet.from_text(model, ["red blue gold", "white"])
    divergence, rise = cost_of_asking(model, neutral, "gray ")
    assert divergence[0] > 0
    assert np.isfinite(rise[0])
    assert np.isnan(divergence[1])  # one word is too few


def test_sentences_are_for_models_that_know_them():
    prompts, reason = neutral_prompts(mc.load("organism:induction"), None)
    assert prompts is None
    assert "does not know" in reason
    given = make_pairs().clean
    assert neutral_prompts(loaded("llama"), given) == (given, "")
    assert len(set(SENTENCES)) == 16
