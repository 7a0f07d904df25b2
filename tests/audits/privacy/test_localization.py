"""Localization: units that were made to hold a secret are found, ablating them removes it, and nothing else."""

import numpy as np
import pytest
import torch
import vault

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.audits.desk import Desk
from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.canaries import SHIPPED
from mechcausal.audits.privacy.localization import Localization
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.prompting import asked_for
from mechcausal.audits.privacy.units import Ablator
from mechcausal.audits.reading import plan_of
from mechcausal.models.attached import detach
from mechcausal.models.binding import attach


def answered(model, question, **options):
    finding = Plan([question], **options).run(model, quiet=True).findings[0]
    assert not finding.error, finding.error
    return finding


def table_of(finding):
    return finding.answer.table.set_index("measure")


@pytest.fixture(scope="module")
def codes():
    return SHIPPED["hiring_secret"](0).take(slice(0, 12))


@pytest.fixture(scope="module")
def heads(hiring, codes):
    decisions = mc.task("hiring").prompts(hiring, 40)
    return answered(hiring, Localization(codes, units="z", k=1, neutral=decisions, at_least=6.0))


def test_the_head_that_holds_the_organisms_secrets_is_found(heads):
    assert mc.organisms.truth("hiring")["variables"]["secret"]["site"] == "L2.z.H3"
    table = table_of(heads)
    assert table.loc["found by ablation", "units"] == "L2.z.H3"
    assert table.loc["found by ablation", "exposure_before"] == pytest.approx(np.log2(10_000))
    assert table.loc["found by ablation", "exposure"] < 5
    assert abs(table.loc["found by ablation", "loss_rise"]) < 0.05
    assert heads.estimate.value > 8


def test_its_controls(heads):
    kinds = {control.kind: control for control in heads.answer.controls}
    assert kinds["random"].p < 0.05
    assert kinds["no-learning"].estimate.n == 4
    assert heads.status in ("pass", "inconclusive")
    assert len(heads.examples()) == 4


def test_an_ablation_to_the_mean_finds_it_too(hiring, codes):
    finding = answered(hiring, Localization(codes, units="z", k=1, do="mean", measure="logprob"))
    assert "set to its mean" in finding.contrast
    assert "set to zero" in Localization(codes).contrast
    assert finding.spec["do"] == "mean"
    assert table_of(finding).loc["found by ablation", "units"] == "L2.z.H3"
    assert "no neutral texts were given" in finding.answer.limits[0]


class OfHeads:
    """A dictionary of what the heads of a layer write: its features are the coordinates of the heads, in their order.

    So the features of a head, taken together, are the head: ablating them is ablating it.
    """

    def __init__(self, model, layer):
        writes = model.blocks[layer].attn.o._original_component
        self.W_dec, self.b_dec = writes.weight.detach().clone(), writes.bias.detach().clone()
        self.inverse = torch.linalg.inv(self.W_dec.double())

    def encode(self, x):
        return ((x - self.b_dec).double() @ self.inverse).to(x.dtype)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


def test_the_features_that_hold_the_secrets_are_those_of_the_head(hiring, codes, heads):
    width = hiring.cfg.d_head
    of_the_head = [Site.parse(f"L2.attn_out.sae:heads.F{number}") for number in range(3 * width, 4 * width)]
    attach(hiring, OfHeads(hiring, 2), "L2.attn_out", name="heads")
    try:
        prompts = asked_for(hiring, codes, codes.prompts)
        ablator = Ablator(Desk(hiring, {}, quiet=True), "zero", prompts)
        none, head, ablated = ablator.measured(prompts, "logprob", [(), [Site.parse("L2.z.H3")], of_the_head])
        assert np.abs(ablated - head).max() < 1e-2
        assert (none - head).mean() > 5
        decisions = mc.task("hiring").prompts(hiring, 40)
        features = "L2.attn_out.sae:heads.F*"
        finding = answered(hiring, Localization(codes, units=features, k=width, neutral=decisions, measure="logprob"))
    finally:
        detach(hiring, "heads")
    found = table_of(finding).loc["found by ablation"]
    assert set(found["units"].split(", ")) == set(map(str, of_the_head))
    as_a_head = table_of(heads).loc["found by ablation"]
    assert found["logprob_fall"] == pytest.approx(as_a_head["logprob_fall"], abs=1e-2)
    assert found["loss_rise"] == pytest.approx(as_a_head["loss_rise"], abs=1e-3)


@pytest.fixture(scope="module")
def model():
    return vault.loaded(0)


@pytest.fixture(scope="module")
def neutral():
    texts = vault.plain_texts(60)
    return Members(tuple(texts), (False,) * len(texts))


@pytest.fixture(scope="module", params=range(vault.RECORDS))
def record(request, neutral):
    question = Localization(vault.canaries([request.param]), units="L*.mlp_post.N*", k=vault.NEURONS, neutral=neutral)
    return request.param, answered(vault.loaded(request.param), question)


_recalled = {}


def _recall(finding, number, name):
    named = set(table_of(finding).loc[name, "units"].split(", "))
    return len(named & set(vault.truth(number))) / vault.NEURONS


@pytest.mark.slow
def test_neurons_that_were_made_to_hold_a_record_are_found(record):  # A12
    number, finding = record
    table = table_of(finding)
    _recalled[number] = _recall(finding, number, "found by ablation")
    assert _recall(finding, number, "random 0") < 0.15
    assert table.loc["found by ablation", "exposure_before"] > 15
    assert table.loc["found by ablation", "exposure"] < 4
    assert abs(table.loc["found by ablation", "loss_rise"]) < 0.2
    assert table.loc["random 0", "exposure"] > 15


@pytest.mark.slow
def test_of_all_records_most_neurons_are_found():  # A12
    assert len(_recalled) == vault.RECORDS, "it is measured by the test before"
    assert np.mean(list(_recalled.values())) > 0.7, _recalled


def test_a_model_that_was_not_taught_loses_nothing(neutral):
    import memorizing

    fresh = memorizing.wrapped(vault.network().eval(), vault.WORDS)
    question = Localization(vault.canaries([0]), units="z", k=1, neutral=neutral, measure="logprob", at_most=3.0)
    finding = answered(fresh, question)
    assert finding.status in ("pass", "inconclusive")
    assert finding.estimate.value < 3


def test_a_shortlist_leaves_out_what_has_little_attribution(model, neutral):
    question = Localization(
        vault.canaries([0]), units="L*.mlp_post.N*", k=6, neutral=neutral, shortlist=40, measure="logprob"
    )
    table = answered(model, question).answer.table.query("measure == 'unit'")
    assert len(table) == 20
    assert table["score"].notna().all()


def test_problems(hiring, codes, model):
    assert "too few to choose" in Plan([Localization(codes.take([0, 1]))]).problems(hiring)[0]
    assert "neutral is prompts or texts" in Plan([Localization(codes, neutral=codes.take([0]))]).problems(hiring)[0]


def test_a_plan_reads_and_writes_it():
    content = {
        "data": {"codes": {"canaries": "hiring_secret"}, "applicants": {"task": "hiring", "n": 20}},
        "question": [
            {"ask": "localization", "data": "codes", "neutral": "applicants", "units": "z", "k": 1, "at_least": 6.0}
        ],
    }
    plan = plan_of(content)
    import tomllib

    assert plan_of(tomllib.loads(plan.to_toml())).questions == plan.questions
    assert plan.questions[0].sources == {"data": "codes", "neutral": "applicants"}
