"""Benchmarks as questions: against the plain model, and on the real one the published kind of numbers."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from small_english import tokenizer

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits import plans
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.benchmark_items import items_of
from mechcausal.audits.finding import Threshold, judged, p_of
from mechcausal.audits.reading import plan_of
from mechcausal.models import bridge

REAL = Path(plans.__file__).parent / "real.toml"


@cache
def small_english():
    """Return a small random Llama that reads whole paragraphs, loaded once."""
    torch.manual_seed(0)
    read = tokenizer()
    config = hf.LlamaConfig(
        vocab_size=len(read), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, initializer_range=0.25, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    model = hf.LlamaForCausalLM(config).eval()
    model.set_attn_implementation("eager")
    return mc.load(model, tokenizer=read)


def asked(question, model, networks=0):
    return audit.Plan([question], networks=networks).run(model, quiet=True)["FAIR-1"]


def likelihoods(model, texts_of):
    """Return the log-likelihood of each text after its first token, by the plain model, one text at a time."""
    plain, out = bridge.underlying(model), []
    for tokens in texts_of:
        with torch.no_grad():
            table = plain(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
        out.append(float(sum(table[at, token] for at, token in enumerate(tokens[1:]))))
    return np.array(out)


def test_crows_pairs_by_the_plain_model():
    model = small_english()
    items = items_of("crows_pairs", model, 40)
    finding = asked(audit.Benchmark(items), model)
    more, less = (likelihoods(model, side.real_tokens) for side in (items.pairs.clean, items.pairs.corrupt))
    assert finding.estimate.value == pytest.approx(np.where(more == less, 0.5, more > less).mean())
    assert finding.estimate.n == 40
    shorter = finding.answer.controls[2]
    assert "fewer tokens" in shorter.says
    assert finding.answer.marks.get("at-chance")  # the model is random: a token is no likelier than by a guess
    assert finding.answer.cannot_fail


@pytest.mark.slow
def test_bbq_by_the_plain_model():
    model = small_english()
    items = items_of("bbq/age", model, 24)
    finding = asked(audit.Benchmark(items, context="disambiguated"), model)
    plain = bridge.underlying(model)
    likely = []
    for text, answer in zip(items.prompts.texts, items.prompts.given["answer"], strict=True):
        prompt, whole = (model.tokenizer(t)["input_ids"] for t in (text, text + answer))
        with torch.no_grad():
            table = plain(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        likely.append(float(sum(table[at - 1, whole[at]] for at in range(len(prompt), len(whole)))))
    chosen = np.array(likely).reshape(-1, 3).argmax(1)
    rows = items.facts["group"] == "disambig"
    negative = items.facts["polarity"] == "neg"
    biased = np.where(negative, chosen == 0, chosen == 1)[rows]
    assert finding.estimate.value == pytest.approx(2 * biased.sum() / (chosen[rows] != 2).sum() - 1)
    other = asked(audit.Benchmark(items, context="ambiguous"), model)
    both = finding.answer.table.set_index("measure")["value"]  # of either context the table holds both scores
    assert both["s_amb"] == pytest.approx(other.estimate.value)
    assert other.answer.table.set_index("measure")["value"]["s_dis"] == pytest.approx(finding.estimate.value)
    assert {"unknown, ambiguous contexts", "unknown, disambiguated contexts"} <= set(both.index)


def test_winogender_and_winobias_run_and_say_when_they_say_nothing():
    model = small_english()
    finding = asked(audit.Benchmark(items_of("winogender", model, 60)), model, networks=2)
    assert "pronouns together" in finding.answer.marks["at-chance"]
    assert "flip rate of who the pronoun is of" in finding.answer.table["measure"].tolist()
    assert finding.answer.controls[1].estimate is not None
    pairs = mc.contrast("winobias/type2", model, n=30)
    finding = asked(audit.Benchmark(pairs), model)
    odds = [mc.measure(model, side, "logit_diff").examples[0] for side in (pairs.clean, pairs.corrupt)]
    right = np.concatenate([odds[0] > 0, odds[1] < 0]).mean()
    assert finding.estimate.value == pytest.approx(2 * right - 1)


def test_a_network_with_random_weights_does_not_fail():
    model = small_english()
    items = items_of("winobias/type2", model, 60)
    report = audit.Plan([audit.Benchmark(items, at_most=0.0, at_least=0.0)], networks=4).run(model, quiet=True)
    assert report["FAIR-1"].status != "fail"


def test_what_is_wrong_is_said():
    model = small_english()
    question = audit.Benchmark("p")
    assert "no benchmark" in " ".join(question.problems({"data": mc.contrast("ioi", model, n=4)}))
    assert "holds no benchmark" in " ".join(question.problems({"data": mc.contrast("ioi", model, n=4).clean}))
    assert not list(question.problems({"data": items_of("crows_pairs", model, 4)}))


def test_a_plan_with_it_is_written_and_read_back():
    table = {"ask": "benchmark", "data": "x", "context": "disambiguated", "at_most": 0.1}
    plan = plan_of({"data": {"x": {"benchmark": "bbq/age"}}, "question": [table]})
    assert plan_of(plan.to_json()).questions == plan.questions


@pytest.mark.parametrize(("share", "status"), [(0.5, "pass"), (0.7, "fail"), (0.3, "fail")])
def test_a_share_is_judged_around_a_half(share, status):
    """As `real.toml` judges it: half of 1,200 preferences are none, and 70 % or 30 % are many."""
    [bounds] = [question.threshold for question in audit.read(REAL).questions if question.data == "stereotypes"]
    answer = audit.Answer(Estimate.share(round(1200 * share), 1200), "a share", null=0.5)
    assert judged(answer, bounds, p_of(answer, bounds), 0.05) == status
    assert (p_of(answer, Threshold()) > 0.05) == (share == 0.5)


def test_a_threshold_that_leaves_out_no_preference_is_refused():
    model = small_english()
    items = items_of("crows_pairs", model, 8)
    [problem] = audit.Plan([audit.Benchmark(items, at_most=0.1)]).problems(model)
    assert "a score of 0.5 is no preference in crows_pairs" in problem
    assert audit.Plan([audit.Benchmark(items, at_most=0.6, at_least=0.4)]).problems(model) == []


def test_without_a_threshold_p_is_that_of_no_preference():
    model = small_english()
    finding = asked(audit.Benchmark(items_of("crows_pairs", model, 40)), model)
    assert finding.answer.null == 0.5
    assert finding.p == pytest.approx(finding.estimate.equals(0.5))
