"""What may be named as a mediator, which parts it has, and how its place is told."""

import pandas as pd
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place, Site
from mechcausal.causal import Hypothesis
from mechcausal.causal.mediation.mediators import Mediator, joint, mediators_of
from mechcausal.errors import DataError, SiteError
from mechcausal.models.abilities import abilities


@pytest.fixture
def read(by_hand):
    able, prompts = abilities(by_hand), mc.contrast("by_hand/gender", by_hand, n=4).clean

    def read(spec, at=None):
        return mediators_of(spec, at, able, prompts)

    return read


def names(found):
    return [mediator.name for mediator in found]


def test_sites_and_patterns_are_one_mediator_each(read):
    assert names(read("L0.z.H*@end")) == [f"L0.z.H{head}@end" for head in range(4)]
    assert names(read("z")) == [f"L{layer}.z.H{head}" for layer in range(2) for head in range(4)]
    assert names(read("L0.mlp_out")) == [f"L0.mlp_out@{i}" for i in range(4)]
    assert names(read(Site("z", 0, head=1))) == ["L0.z.H1"]
    assert names(read(Place.parse("L0.z.H1@end"))) == ["L0.z.H1@end"]
    assert names(read(["L0.z.H1@end", "L0.z.H*@end"])) == [f"L0.z.H{head}@end" for head in (1, 0, 2, 3)]


def test_positions_hold_where_a_site_says_none(read):
    assert names(read(["L0.mlp_out@end", "L0.z.H1"], at="each")) == [
        "L0.mlp_out@end",
        *(f"L0.z.H1@{i}" for i in range(4)),
    ]
    assert names(read("L0.mlp_out", at=["end", "all"])) == ["L0.mlp_out@end", "L0.mlp_out"]


def test_parts_that_mediate_together(read, by_hand):
    both = [["L0.z.H1", "L1.z.H0@end"], "L0.z.H1@end"]
    assert names(read(both)) == ["L0.z.H1 + L1.z.H0@end", "L0.z.H1@end"]
    assert [len(mediator.parts) for mediator in read(both)] == [2, 1]
    assert names(read({"both": both[0], "one": "embed", "layer": "L1.z.H*"})) == ["both", "one", "layer"]
    assert [len(mediator.parts) for mediator in read({"layer": "L1.z.H*", "one": Place.parse("embed@end")})] == [4, 1]
    assert len(joint("z", abilities(by_hand))) == 8
    assert [mediator.parts for mediator in read([["L0.z.H1", "L0.z.H1"]])] == [(Place.parse("L0.z.H1"),)]


def test_positions_of_parts_that_mediate_together(read):
    spec = [["L0.z.H1", "L1.z.H0@gender", Site("mlp_out", 1), Place.parse("embed")]]
    assert names(read(spec)) == ["L0.z.H1 + L1.z.H0@gender + L1.mlp_out + embed"]
    assert names(read(spec, at="end")) == ["L0.z.H1@end + L1.z.H0@gender + L1.mlp_out@end + embed"]
    assert read({"own": spec[0]}, at=-1)[0].parts[0] == Place.parse("L0.z.H1@-1")
    for several in ("each", [1, 2]):
        with pytest.raises(SiteError, match=r"one selection of positions.*write it with each part"):
            read(spec, at=several)
    assert names(read([["L0.z.H1@end", "L0.z.H2@end"]], at="each")) == ["L0.z.H1@end + L0.z.H2@end"]


def test_the_variables_of_a_hypothesis(read):
    hypothesis = Hypothesis.of("by_hand")
    assert {mediator.name: mediator.parts for mediator in read(hypothesis)} == hypothesis.alignment


def test_subspaces_of_one_activation_are_joined(read):
    """One after the other, oblique subspaces undo each other; together they are the plane they span."""
    first, second = (
        {"site": "L0.z.H1", "at": "end", "basis": [[1.0, 0, 0]]},
        {"site": "L0.z.H1", "at": "end", "basis": [[1.0, 1, 0]]},
    )
    ((plane,),) = (mediator.parts for mediator in read([[first, second]]))
    assert str(plane) == "L0.z.H1@end[2d]"
    columns = plane.columns(torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(columns @ columns.T, torch.diag(torch.tensor([1.0, 1, 0], dtype=torch.float64)))
    ((whole,),) = (mediator.parts for mediator in read([[first, "L0.z.H1@end"]]))
    assert whole == Place.parse("L0.z.H1@end")
    (apart,) = (mediator.parts for mediator in read([[first, {**second, "at": "gender"}]]))
    assert len(apart) == 2


def test_where_a_mediator_is(read):
    (single,) = read("L1.z.H2@end")
    assert {key: single.row()[key] for key in ("site", "component", "layer", "head", "at", "mediator")} == {
        "site": "L1.z.H2", "component": "z", "layer": 1, "head": 2, "at": "@end", "mediator": "L1.z.H2@end",
    }  # fmt: skip
    row = read([["L0.z.H1", "L0.z.H2@end"]])[0].row()
    assert (row["site"], row["component"], row["layer"], row["head"], row["at"]) == (
        "L0.z.H1 + L0.z.H2",
        "z",
        0,
        None,
        "several",
    )
    row = read({"mixed": ["embed@end", "L1.mlp_out@end"]})[0].row()
    assert (row["component"], row["layer"], row["at"], row["label"]) == ("several", None, "@end", "mixed")
    subspace = read({"site": "L0.z.H1", "at": "end", "basis": [[1.0, 0, 0]]})[0]
    assert (subspace.name, subspace.row()["site"], subspace.row()["label"]) == (
        "L0.z.H1@end[1d]",
        "L0.z.H1",
        "L0.z.H1@end[1d]",
    )
    keys = {tuple(sorted(mediator.row())) for mediator in (single, subspace, Mediator("own", single.parts))}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ([], SiteError, "the list of mediators is empty"),
        ({}, SiteError, "the list of mediators is empty"),
        ([[]], SiteError, "a mediator has no part"),
        (None, SiteError, "this is not a place in a network .got None; expected a form like"),
        ([3], SiteError, "this is not a place in a network .got 3"),
        ([{"basis": [[1.0, 0, 0]]}], SiteError, "this is not a place in a network"),
        ("L5.z.H0", SiteError, "L5.z.H0 is not in this model"),
        (["L0.z.H9@end"], SiteError, "L0.z.H9 is not in this model"),
        ("attention", SiteError, "not a site|no component"),
        ("L0.z.H0@nowhere", (SiteError, DataError), "nowhere"),
    ],
)
def test_what_is_no_mediator(read, spec, error, said):
    with pytest.raises(error, match=said):
        read(spec)


def test_the_frame_of_mixed_mediators():
    found = mc.causal.mediate(
        loaded("gpt2"), make_pairs(), ["L1.z.H0", ["L0.z.H1", "L2.mlp_out@-1"], {"site": "L0.mlp_post.N3", "at": -1}]
    )
    assert found.frame["layer"].tolist()[0] == 1
    assert pd.isna(found.frame["layer"][1])
    assert found.frame["neuron"].tolist()[2] == 3
