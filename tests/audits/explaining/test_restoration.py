"""Restoration: the layer whose weights training changed is found, and with its old weights the model is the old one."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.journal import Rows
from mechcausal.audits.perturbed import written
from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.canaries import SHIPPED, Canaries
from mechcausal.audits.privacy.candidates import candidates
from mechcausal.audits.privacy.exposures import exposures
from mechcausal.audits.reading import plan_of
from mechcausal.catalog import ORGANISMS

WIDTH = 12


def with_a_head_scaled(scale, layer, head):
    """Return organism:hiring with one head that computes `scale` times what it did."""
    folder = ORGANISMS["hiring"] / "weights"
    module = AutoModelForCausalLM.from_pretrained(folder)
    joint = module.transformer.h[layer].attn.c_attn
    values = slice(2 * joint.weight.shape[0] + head * WIDTH, 2 * joint.weight.shape[0] + (head + 1) * WIDTH)
    with torch.no_grad():
        joint.weight[:, values] *= scale
        joint.bias[values] *= scale
    return mc.load(module, tokenizer=AutoTokenizer.from_pretrained(folder), copy=False)


def effects(model, pairs):
    """Return the effect of each pair on the log-odds, by plain forwards."""
    sides = []
    for side in (pairs.clean, pairs.corrupt):
        with torch.no_grad():
            last = model(side.tokens)[range(len(side)), side.read_columns]
        sides.append(last.gather(1, side.answer[:, None]) - last.gather(1, side.foil[:, None]))
    return (sides[0] - sides[1])[:, 0].tolist()


def answered(model, question, **options):
    finding = Plan([question], **options).run(model, quiet=True).findings[0]
    assert not finding.error, finding.error
    return finding


@pytest.fixture(scope="module")
def before():
    """The organism before it was taught secrets: the head that holds them, L2.z.H3, computes nothing."""
    return with_a_head_scaled(0, 2, 3)


@pytest.fixture(scope="module")
def codes():
    """The first two digits of what the organism was taught, and of six random codes that nobody was shown."""
    four = SHIPPED["hiring_secret"](0).take(slice(0, 14))
    two = tuple(secret[:3] for secret in four.secrets)
    return Canaries(four.prefixes, two, four.counts, candidates("digits:2", " "), names=four.names)


@pytest.fixture(scope="module")
def secrets(hiring, before, codes):
    neutral = mc.task("hiring").prompts(hiring, 24)
    return answered(hiring, audit.Restoration(codes, base=before, by="sublayer", neutral=neutral))


def test_the_sublayer_that_holds_the_secrets_is_named(secrets):
    parts = secrets.answer.table.query("measure == 'part'")
    assert parts["parts"].tolist() == ["L2.attn_out"]
    assert parts["chosen"].tolist() == [True]
    assert "1 of 9 parts have other weights" in secrets.answer.says
    assert "with L2.attn_out restored" in secrets.answer.says


def test_without_it_the_exposure_is_that_of_the_model_before(secrets, hiring, before, codes):
    examples = secrets.examples().set_index("name")
    assert len(examples) == 4
    chosen = codes.take([name in examples.index for name in codes.names])
    for column, model in (("exposure", hiring), ("exposure_restored", before)):
        by_name = exposures(model, chosen).set_index("name")["exposure"]
        assert examples[column].to_dict() == pytest.approx(by_name[examples.index].to_dict(), abs=1e-6)
    falls = examples["exposure"] - examples["exposure_restored"]
    assert secrets.estimate.value == pytest.approx(falls.mean())
    assert list(secrets.answer.units) == pytest.approx(falls.tolist())
    assert secrets.estimate.value > 2
    assert abs(secrets.answer.table["loss_rise"].max()) < 0.05
    assert (examples["restored"] == examples["in_the_base"]).all()


def test_its_controls(secrets):
    kinds = {control.kind: control for control in secrets.answer.controls}
    assert kinds["random"].estimate.value == 0  # of weights that are alike
    assert kinds["random"].holds
    assert "secrets that were never shown lose" in kinds["no-learning"].says
    assert kinds["no-learning"].estimate.value == pytest.approx(secrets.examples()["in_the_base"].mean())
    assert "has a chance of" in kinds["no-learning"].says
    assert kinds["trivial-input"].holds


def test_the_layer_that_a_bias_was_put_into_is_named_and_carries_all_of_it(hiring):
    pairs, base = mc.contrast("hiring/gender", hiring, n=48), with_a_head_scaled(0.2, 1, 2)
    weights = [weight.clone() for weight in hiring.original_model.parameters()]
    finding = answered(hiring, audit.Restoration(pairs, base=base))
    assert finding.answer.table.query("chosen == True")["parts"].tolist() == ["L1"]
    examples = finding.examples()
    for column, model in (("as_it_is", hiring), ("restored", base), ("in_the_base", base)):
        by_text = dict(zip(zip(*(written(side, model) for side in (pairs.clean, pairs.corrupt)), strict=True),
                           effects(model, pairs), strict=True))  # fmt: skip
        by_hand = [by_text[row["clean"], row["corrupt"]] for _, row in examples.iterrows()]
        assert examples[column].to_list() == pytest.approx(by_hand, abs=1e-4)
    assert 12 < len(examples) < 36
    assert finding.estimate.value == pytest.approx((examples["as_it_is"] - examples["restored"]).mean())
    assert "the loss on neutral text was not measured" in finding.answer.limits[0]
    assert all(map(torch.equal, weights, hiring.original_model.parameters()))


def test_what_is_read_back_costs_what_it_costs(hiring, before, codes):
    rows, question = Rows(), audit.Restoration(codes, base=before)
    whole = Desk(hiring, {"data": codes}, rows=rows, quiet=True)
    first = question.answer(whole)
    again = Desk(hiring, {"data": codes}, rows=Rows(done=rows.done, took=rows.took), quiet=True)
    assert question.answer(again).says == first.says
    assert whole.counter["forwards"] == again.counter["forwards"] > len(codes)


def test_of_the_same_model_there_is_nothing_to_name(hiring, codes):
    finding = answered(hiring, audit.Restoration(codes, base=hiring, measure="log_odds"))
    assert finding.estimate.value == 0
    assert finding.p == 1
    assert "no weights differ from those of" in finding.answer.says
    assert "part" not in set(finding.answer.table["measure"])


def test_problems_are_found_before_anything_is_run(hiring, codes):
    few = audit.Restoration(codes.take(slice(0, 5)), base=hiring)
    other = audit.Restoration(codes, base="organism:by_hand")
    none = audit.Restoration(codes)
    found = Plan([few, other, none]).problems(hiring)
    assert [what for what in found if "5 secrets are too few" in what]
    assert [what for what in found if "other weights than the model" in what]
    assert [what for what in found if "it needs base=" in what]
    assert len(found) == 3


def test_a_plan_reads_and_writes_it(tmp_path):
    content = {
        "model": "organism:hiring", "data": {"codes": {"canaries": "hiring_secret"}},
        "question": [{"ask": "restoration", "data": "codes", "base": "./before", "by": "sublayer"}],
    }  # fmt: skip
    plan = plan_of(content, tmp_path)
    assert plan.to_json()["question"][0]["base"] == "./before"
    assert any("there is no file or folder" in what and "base" in what for what in plan.problems())
