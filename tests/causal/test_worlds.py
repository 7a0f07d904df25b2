"""What is refused before anything is computed, and what a mediator may be written as."""

from dataclasses import replace

import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.causal import Part, controlled, mediate
from mechcausal.causal.mediators import joint, mediators_of
from mechcausal.causal.worlds import Worlds
from mechcausal.errors import DataError, MechcausalError, SiteError
from mechcausal.models import hooked
from mechcausal.models.abilities import abilities


@pytest.fixture
def idle(monkeypatch):
    """Let a test fail as soon as the model is run."""
    abilities(loaded("gpt2"))

    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(hooked.bridge, "run", refuse)


def read_at(pairs, position):
    sides = {
        name: replace(getattr(pairs, name), read=torch.full((len(pairs),), position)) for name in ("clean", "corrupt")
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
    with pytest.raises(DataError, match="effects need pairs"):
        mediate(loaded("gpt2"), pairs.clean)
    other = replace(pairs, corrupt=replace(pairs.corrupt, answer=pairs.corrupt.answer + 1))
    with pytest.raises(DataError, match="another answer"):
        mediate(loaded("gpt2"), other)
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


def test_ways_to_write_mediators(by_hand):
    able, prompts = abilities(by_hand), mc.contrast("by_hand/gender", by_hand, n=4).clean

    def names(spec, positions=None):
        return [mediator.name for mediator in mediators_of(spec, positions, able, prompts)]

    assert names("L0.z.H*@end") == [f"L0.z.H{head}@end" for head in range(4)]
    assert names("L0.mlp_out") == [f"L0.mlp_out@{i}" for i in range(4)]
    assert names(["L0.mlp_out@end", "L0.z.H1"], positions="each") == [
        "L0.mlp_out@end",
        *(f"L0.z.H1@{i}" for i in range(4)),
    ]
    assert names(Part.parse("L0.z.H1@end")) == ["L0.z.H1@end"]
    assert names([["L0.z.H1", "L1.z.H0@end"], "L0.z.H1@end"]) == ["L0.z.H1 + L1.z.H0@end", "L0.z.H1@end"]
    assert names({"both": ["L0.z.H1", "L1.z.H0@end"], "one": "embed"}) == ["both", "one"]
    assert names({"site": "L0.z.H1", "at": "end", "basis": [[1.0, 0, 0]]}) == ["L0.z.H1@end[1d]"]
    assert len(joint("z", able)) == 8
    row = mediators_of([["L0.z.H1", "L0.z.H2@end"]], None, able, prompts)[0].row()
    assert (row["component"], row["layer"], row["head"], row["at"]) == ("z", 0, None, "several")
