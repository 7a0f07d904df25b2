"""What is refused before anything is computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from written import ANSWERS, FOILS, odds, several, stream
from zoo import bare, loaded, make_pairs

from mechcausal.causal import controlled, mediate, path_effects
from mechcausal.causal.mediation.worlds import Worlds
from mechcausal.errors import ArgumentError, DataError, MechcausalError, SiteError
from mechcausal.models import hooked
from mechcausal.models.abilities import abilities
from mechcausal.results.multiplicity import benjamini_hochberg


@pytest.fixture
def idle(monkeypatch):
    """Let a test fail as soon as the model is run."""
    abilities(loaded("gpt2"))

    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(hooked.bridge, "run", refuse)


def read_at(pairs, position):
    sides = {
        name: replace(getattr(pairs, name), read_at=torch.full((len(pairs),), position))
        for name in ("clean", "corrupt")
    }
    return replace(pairs, **sides)


@pytest.mark.parametrize(
    ("mediators", "options", "error", "said"),
    [
        ([], {}, SiteError, "the list of mediators is empty"),
        ([[]], {}, SiteError, "no part"),
        ("logits", {}, SiteError, "the logits are the outcome"),
        ("L9.z.H0", {}, SiteError, "not in this model"),
        ("L1.z.H0@subject", {}, SiteError, "no position called 'subject'"),
        ("L1.z.H0@40", {}, SiteError, "no prompt has the position"),
        ([["L1.z.H0@40"]], {}, SiteError, "no prompt has the position"),
        ("z", {"metric": "logit_dif"}, MechcausalError, "did you mean"),
        ({"site": "L0.z.H0", "basis": [[0.0] * 8]}, {}, SiteError, "not independent"),
        ({"site": "L0.z.H0", "basis": [[1.0] * 7]}, {}, SiteError, "the subspace of .* does not fit .got 7 features"),
    ],
)
def test_what_is_no_mediator(idle, pairs, mediators, options, error, said):
    with pytest.raises(error, match=said):
        mediate(loaded("gpt2"), pairs, mediators, **options)


def test_pairs_that_are_none(idle, pairs):
    with pytest.raises(ArgumentError, match=r"mediate cannot take this 'pairs'.*got a PromptSet; expected a Contrast"):
        mediate(loaded("gpt2"), pairs.clean)
    with pytest.raises(DataError, match="different answers"):
        replace(pairs, corrupt=replace(pairs.corrupt, answer=pairs.corrupt.answer + 1))
    bare = replace(pairs, clean=replace(pairs.clean, foil=None), corrupt=replace(pairs.corrupt, foil=None))
    with pytest.raises(MechcausalError, match="needs the foil"):
        mediate(loaded("gpt2"), bare)


def test_a_mediator_after_the_read_position(pairs):
    early = read_at(pairs, 3)
    for method in (mediate, controlled):
        with pytest.raises(SiteError, match=r"L1\.resid_pre@5 stands after the position that logit_diff is read at"):
            method(loaded("gpt2"), early, "L1.resid_pre@5")
    mediate(loaded("gpt2"), early, "L1.resid_pre@3")
    mediate(loaded("gpt2"), early, "L1.resid_pre@5", metric="loss")  # which is read everywhere


def test_an_encoder_sees_what_comes_after():
    early = read_at(make_pairs(changed=(1, 5)), 3)
    assert not Worlds.of(loaded("gpt2"), early, "logit_diff").looks_ahead
    assert Worlds.of(loaded("bert"), early, "logit_diff").looks_ahead
    found = mediate(loaded("bert"), early, "L1.resid_pre@5")
    assert abs(found.frame["nie_total"][0]) > 1e-3


def test_rounding_is_no_finding(pairs):
    """The same difference in the last digits in every example has no spread, and would be significant beyond measure."""
    worlds = Worlds.of(loaded("gpt2"), pairs, "logit_diff")
    outcomes = [np.full(6, 3.0), np.full(6, -1.0)]
    effects = np.array([np.full(6, 4e-7), np.full(6, 0.1), np.linspace(0.5, 0.6, 6), np.full(6, np.nan)])
    found = worlds.tested(effects, outcomes, seed=0)
    assert [values[0] for values in found.values()] == [1, 1, 1]
    assert found["p"][1] == 0
    assert found["p"][2] < 1e-4
    assert all(np.isnan(values[3]) for values in found.values())
    np.testing.assert_allclose(found["q"][:3], benjamini_hochberg(found["p"][:3]))
    assert found["p_max"][1:3] == pytest.approx(2 / 64)  # of the 64 flips of six signs these two are as extreme


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_answers_of_several_tokens_are_written_behind_both_worlds(name):
    """The stream at one position from the other world: hooks on the plain model, one answer token after another."""
    pairs, model, loop = several("left" if name == "gpt2" else "right"), loaded(name), bare(name)
    rows = list(zip(pairs.clean.real_tokens, pairs.corrupt.real_tokens, ANSWERS, FOILS, strict=True))

    def crossed(at, layer, *, swapped):
        values = []
        for high, low, answers, foils in rows:
            base, source = (high, low) if swapped else (low, high)
            put = {at: stream(loop, name, source, layer)[at]}
            values.append(odds(loop, name, base, answers, foils, layer, put))
        return pytest.approx(values, abs=1e-4)

    found = mediate(model, pairs, ["L1.resid_pre@1", "L2.resid_pre@2"], batch_size=2)
    for number, (at, layer) in enumerate(((1, 1), (2, 2))):
        assert found.examples[number] == crossed(at, layer, swapped=False)
        assert found.baselines["reversed"][number] == crossed(at, layer, swapped=True)
    assert found.baselines["clean"] == pytest.approx([odds(loop, name, row[0], *row[2:]) for row in rows], abs=1e-4)

    held = controlled(model, pairs, "L1.resid_pre@1", ["high", "low", "mean"])
    assert held.examples[1] == crossed(1, 1, swapped=True)
    assert held.baselines["base"][0] == crossed(1, 1, swapped=False)
    assert held.examples[0] == pytest.approx(found.baselines["clean"], abs=1e-5)

    passed = path_effects(model, pairs, {"at one": [("embed@1", "logits", "all")]})
    assert passed.examples[0] == crossed(1, 0, swapped=False)
    assert mediate.cost(model, pairs, "L1.resid_pre@1").forwards == 4 * 8  # texts of three answers and foils


def test_there_is_no_mean_over_the_tokens_of_answers():
    with pytest.raises(DataError, match="at all positions includes those of answers of several tokens"):
        controlled(loaded("llama"), several(lengths=(5, 5, 5)), "L1.resid_pre", "mean")
