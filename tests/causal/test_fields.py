"""Causal methods as data: what goes into a file and comes back equal, and what is refused in one sentence."""

import tomllib

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Place, Site
from mechcausal.causal.alignment.das import Aligning
from mechcausal.causal.alignment.interchange import InterchangeSweeping, Interchanging
from mechcausal.causal.alignment.masks import Masking
from mechcausal.causal.fields import hypothesis_about, read_numbers, read_places, read_question
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.mediation.arrows import Arrow
from mechcausal.causal.mediation.controlled import Controlling
from mechcausal.causal.mediation.mediate import Mediating
from mechcausal.causal.mediation.paths import PathEffecting
from mechcausal.causal.scrubbing.scrub import Laddering, Scrubbing
from mechcausal.causal.scrubbing.tree import Node, tree_of
from mechcausal.causal.training.train import Training
from mechcausal.data.scm import SCM
from mechcausal.errors import ArgumentError
from mechcausal.method import read

BASIS = Place.parse({"site": "L1.resid_post", "at": "end", "basis": [[1.0, 0.25, 1e-7], [0.0, 1.0, -2.5]]})
OWN = SCM("own", noise={"u": 2}, mechanisms={"answer": lambda u: u}, values={"answer": (3, 5)})


def hypothesis():
    places = {"merit": ["L1.z.H0@decision", BASIS], "score": "L2.mlp_out@decision"}
    return Hypothesis(mc.task("hiring").scm, places, edges={("merit", "score"): "direct"}, given=("hobby",))


@pytest.mark.parametrize(
    "spec",
    [
        Scrubbing(hypothesis(), seeds=7, unimportant="together", lonely="keep"),
        Scrubbing(tree_of(hypothesis()).changed("merit", feature=("degree", "experience")), report=False),
        Scrubbing(Node("answer", children=[Node("who", "mask", "name"), Node("head", ["L0.z.H1", BASIS], "name")])),
        Laddering(hypothesis(), n=20),
        Interchanging(hypothesis(), variables=["merit", ("merit", "score")], placebo=2),
        InterchangeSweeping("hiring", "merit", sites="z", at="@decision"),
        InterchangeSweeping(mc.task("hiring").scm, "merit", at=["@decision", 3]),
        Aligning(hypothesis(), "merit", "L1.z.H0@decision", k=2, controls=["labels"], unseen=[3]),
        Masking("hiring", "merit", sites=["z", "mlp_out"], at="decision", over="directions"),
        Mediating(hypothesis()),
        Mediating({"both": ["L1.z.H0@decision", BASIS], "one": Place.parse("L1.resid_post")}, at="@decision"),
        Mediating([Site("z", 1, head=0), BASIS, ["L1.z.H1", "L1.z.H2"]]),
        PathEffecting([Arrow(Place.parse("L0.z.H0@end"), BASIS, "all"), (BASIS, "logits")]),
        PathEffecting({"short": "L0.z.H0@end -> logits", "long": [("L0.z.H1@end", "logits", "all")]}),
        PathEffecting(hypothesis(), metric="logprob"),
        Controlling(BASIS, values=[0.5, np.float64(2.0), "mean", torch.tensor([0.5, 1.0])], points=3),
        Training(steps=3, rate=1e-4, lora={"r": 4, "targets": ["q", "v"]}, checkpoint="it.safetensors"),
    ],
    ids=lambda spec: spec.word,
)
def test_a_specification_goes_into_a_file_and_comes_back_equal(spec):
    assert read(tomllib.loads(spec.to_toml())) == spec
    assert read(spec.to_json()) == spec


def test_what_differs_is_not_equal():
    first = hypothesis()
    assert hash(first) == hash(hypothesis())
    for other in (first.without("score"), first.moved("merit", "L0.z.H0"), first.replaced(edges={}), None):
        assert first != other


def test_a_hypothesis_is_read_from_its_plain_form_where_one_is_asked_for():
    plain = {"task": "hiring", "alignment": {"score": "L2.mlp_out@decision"}}
    expected = Hypothesis(mc.task("hiring").scm, plain["alignment"])
    assert Scrubbing(plain).hypothesis == Interchanging(plain).hypothesis == read_question(plain) == expected
    assert Mediating(plain).mediators == expected


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scrubbing("hiring"), "this is not a hypothesis .got 'hiring'"),
        (lambda: Scrubbing({"alignment": {}}), "this is not a hypothesis"),
        (lambda: Scrubbing({"task": "hirng", "alignment": {}}), "did you mean 'hiring'"),
        (lambda: Scrubbing({"task": "hiring", "alignment": {}, "edge": []}), "this is not a hypothesis"),
        (
            lambda: Scrubbing({"task": "hiring", "alignment": {"merit": "L1.z"}, "edges": [["merit"]]}),
            "edges as .parent",
        ),
        (lambda: Scrubbing({"name": "answer", "parts": ["L0.z"], "kids": []}), "this is not a node"),
        (lambda: Interchanging(mc.task("hiring")), "this is not a hypothesis .got a Task"),
        (lambda: Aligning("hirng", "merit", "L1.z.H0"), "did you mean 'hiring'"),
        (lambda: Aligning("hiring", "merit", 3), "not a place in a network"),
    ],
)
def test_what_is_none_of_it_is_refused_in_one_sentence(make, said):
    with pytest.raises(mc.MechcausalError, match=said) as told:
        make()
    assert len(str(told.value)) < 400
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Scrubbing(Hypothesis(OWN, {"u": "L0.z.H0"})), "causal model 'own' cannot be written"),
        (
            Scrubbing(Node("answer", children=[Node("head", "L0.z", lambda prompts: prompts.lengths)])),
            "'head' holds a function",
        ),
        (InterchangeSweeping(OWN, "u"), "'own' cannot be written"),
        (Mediating("z", metric=lambda logits, batch: logits.sum()), "'metric' of mediate cannot be written"),
    ],
)
def test_what_has_no_plain_form_works_from_python_alone(spec, said):
    with pytest.raises(ArgumentError, match=said) as told:
        spec.to_json()
    assert len(str(told.value)) < 400


def test_places_are_written_out_and_numbers_made_plain():
    assert read_places([Place.parse("L1.resid_post"), Site("z", 0, head=1)]) == ("L1.resid_post@all", "L0.z.H1")
    assert read_numbers([torch.tensor(0.5), np.arange(2), "mean"]) == (0.5, (0, 1), "mean")


def test_a_question_about_one_variable():
    part = Place.parse("L1.z.H0@decision")
    for question in (mc.task("hiring"), mc.task("hiring").scm, hypothesis()):
        about = hypothesis_about(question, "merit", part)
        assert about.alignment == {"merit": (part,)}
        assert about.outcome == "decision"


def test_costs_are_what_is_run(by_hand):
    """In forwards of one prompt; a batch holds all of them here, so that a forward of a batch is one of each prompt."""
    prompts = mc.task("by_hand").prompts(by_hand, 16)
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    truth = Hypothesis.of("by_hand")
    places = {"at": "@end", "sites": "z", "n": 16}
    for call, data, arguments in (
        (mc.causal.interchange, prompts, {"hypothesis": truth, "n": 16}),
        (mc.causal.interchange_sweep, prompts, {"task": "by_hand", "variable": "gender", **places}),
        (mc.causal.mediate, pairs, {"mediators": ["z", "L1.mlp_out@end"]}),
        (mc.causal.controlled, pairs, {"mediator": "L1.mlp_out@end", "values": ["mean", "zero", 1.0]}),
    ):
        cost, result = call.cost(by_hand, data, **arguments), call(by_hand, data, **arguments)
        assert cost.forwards == result.provenance.compute["forwards"] * cost.examples
        assert cost.forwards <= cost.naive_forwards
    along = {"edges": {"one": "L0.z.H0@end -> L1.mlp_out@end -> logits", "other": "L0.z.H1@end => logits"}}
    cost, result = mc.causal.path_effects.cost(by_hand, pairs, **along), mc.causal.path_effects(by_hand, pairs, **along)
    assert result.provenance.compute["forwards"] * 8 == cost.forwards <= cost.naive_forwards
