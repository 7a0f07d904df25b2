"""Edges of compiled organisms: replacing a true one changes an answer in some pair, replacing any other changes none."""

import numpy as np
import pytest
from compiled_runs import Compiled

import mechcausal as mc
from mechcausal.circuits.known.compiled import is_compiled, live_edges
from mechcausal.circuits.known.truth import truth
from mechcausal.models.hooked import forward

CONTRASTS = [
    *(("by_hand", f"by_hand/{factor}") for factor in ("gender", "level", "answer")),
    *(("reverse", f"reverse/{factor}") for factor in ("letter_1", "letter_2", "letters", "length", "answer")),
    *(("fraction", f"fraction/{factor}") for factor in ("token_1", "token_4", "hit_2", "letters", "answer")),
    *(("fraction_linear", f"fraction/{factor}") for factor in ("token_1", "letters", "answer")),
]


def effects(name, pairs, wiring):
    """Return the largest change of any logit by each edge, from either prompt of a pair, [sender receiver]."""
    model, out = Compiled(name), np.zeros(wiring.possible.shape)
    for lengths in np.unique(pairs.clean.lengths.numpy()):  # no padding, no mask
        rows = pairs.clean.lengths.numpy() == lengths
        sides = [side.tokens.numpy()[rows][:, :lengths] for side in (pairs.clean, pairs.corrupt)]
        runs = [model.run(tokens) for tokens in sides]
        for base, source in ((0, 1), (1, 0)):
            for sender, receiver in np.argwhere(wiring.possible):
                edge = str(wiring.senders[sender]), str(wiring.receivers[receiver])
                changed = model.run(sides[base], edge, runs[source][1])[0]
                gap = np.abs(changed - runs[base][0])[:, -1].max()
                out[sender, receiver] = max(out[sender, receiver], gap)
    return out


@pytest.mark.parametrize(
    ("name", "task"),
    [("by_hand", "by_hand"), ("reverse", "reverse"), ("fraction", "fraction"), ("fraction_linear", "fraction")],
)
def test_the_plain_forward_is_that_of_the_model(name, task):
    model = mc.load(f"organism:{name}")
    pairs = mc.contrast(f"{task}/answer", model, n=6)
    for row in range(6):
        tokens = pairs.clean.tokens[row : row + 1, : pairs.clean.lengths[row]]
        expected = forward(model, pairs.clean).logits[row, pairs.clean.lengths[row] - 1]
        np.testing.assert_allclose(Compiled(name).run(tokens.numpy())[0][0, -1], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "contrast"), CONTRASTS)
def test_replacing_an_edge_changes_something_where_it_is_true_and_nothing_elsewhere(name, contrast):
    model = mc.load(f"organism:{name}")
    pairs = mc.contrast(contrast, model, n=24, seed=3)
    known = truth(model, pairs)
    size = effects(name, pairs, known.wiring)
    assert known.true.any()
    assert (size[known.true] > 0.1).all()
    assert size[known.wiring.possible & ~known.true].max() < 1e-6


def test_only_models_without_norms_under_these_names_are_compiled():
    weights = Compiled("by_hand").weights
    assert is_compiled(weights)
    assert not is_compiled({**weights, "blocks.0.ln1.w": weights["embed.W_E"]})
    assert not is_compiled({"transformer.wte.weight": weights["embed.W_E"]})


def test_words_that_do_not_differ_carry_nothing():
    model = mc.load("organism:by_hand")
    wiring = truth(model, mc.contrast("by_hand/gender", model, n=4)).wiring
    assert not live_edges(wiring, Compiled("by_hand").weights, np.array([[2, 2], [4, 4]])).any()
