"""Answers of several tokens and sets of answers: against `transformers` written out, one token after another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from written import ANSWERS, FOILS, SINGLE, odds, score, several, stream
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.data import PromptSet, pad
from mechcausal.data.forced import forced
from mechcausal.data.targets import filled
from mechcausal.errors import DataError
from mechcausal.metrics import METRICS, metric
from mechcausal.metrics.answers import combined, spread_over, weights


@pytest.mark.parametrize(("name", "side"), [("llama", "right"), ("gpt2", "left")])
def test_measured_as_written_out(name, side):
    prompts = several(side).clean
    measured = mc.measure(loaded(name), prompts, ["logit_diff", "logprob", "prob", "accuracy"], batch_size=2).examples
    model = bare(name)
    rows = list(zip(prompts.real_tokens, ANSWERS, FOILS, strict=True))
    assert measured[0] == pytest.approx([odds(model, name, *row) for row in rows], abs=1e-4)
    likely = [float(score(model, name, prompt, answers)) for prompt, answers, _ in rows]
    assert measured[1] == pytest.approx(likely, abs=1e-4)
    assert measured[2] == pytest.approx(np.exp(likely), rel=1e-3)
    assert set(measured[3]) <= {0.0, 1.0}


def test_an_answer_that_is_written_greedily_is_accurate():
    model, prompts = bare("llama"), several().clean
    greedy = []
    for tokens in prompts.real_tokens:
        row = list(tokens)
        for _ in range(3):
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
        greedy.append(row[len(tokens) :])
    wrong = [[(token + 1) % 50 + 3 for token in member] for member in greedy]
    right = replace(prompts, answers=filled([[w, g] for w, g in zip(wrong, greedy, strict=True)]), foils=None)
    assert mc.measure(loaded("llama"), right).value() == 1
    assert mc.measure(loaded("llama"), replace(right, answers=filled([[w] for w in wrong]))).value() == 0


@pytest.mark.parametrize("exact", ["replay", "naive"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("answers", [ANSWERS, SINGLE], ids=["tokens", "sets"])
def test_patched_as_written_out(answers, side, exact):
    name, pairs = "llama", several(side, answers)
    found = mc.patch(loaded(name), pairs, sites="L1.resid_pre", at=["@1", "@-1"], exact=exact, batch_size=2)
    assert found.provenance.compute["engine"] == exact
    model, rows = bare(name), range(len(pairs))
    for number, at in enumerate((1, -1)):
        for row in rows:
            base, source = pairs.corrupt.real_tokens[row], pairs.clean.real_tokens[row]
            put = {at % len(base): stream(model, name, source, 1)[at]}
            expected = odds(model, name, base, answers[row], FOILS[row], 1, put)
            assert found.examples[number, row] == pytest.approx(expected, abs=1e-4)


def test_everything_patched_is_the_other_run():
    """`@all` is all that is computed, the tokens of the answer too."""
    found = mc.patch(loaded("llama"), several(), sites="resid_pre", at="all")
    assert found.frame["effect"].to_numpy() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["logit_diff", "logprob", "prob", "accuracy"])
@pytest.mark.parametrize("do", ["zero", "mean", "resample"])
def test_the_engine_is_the_loop(name, do):
    pairs = several(lengths=(6, 6, 6))
    fast, slow = (
        mc.ablate(loaded("llama"), pairs, sites="z", do=do, metric=name, exact=exact).examples
        for exact in ("replay", "naive")
    )
    assert fast == pytest.approx(slow, abs=1e-4)


def test_paths_of_the_engine_are_those_of_the_loop():
    options = {"senders": "L0.z.H*", "receivers": "L1.mlp_out"}
    fast, slow = (mc.path_patch(loaded("llama"), several(), **options, exact=e).examples for e in ("replay", "naive"))
    assert fast == pytest.approx(slow, abs=1e-4)
    assert np.ptp(slow) > 1e-3


def test_a_set_of_one_token_is_that_token():
    pairs = make_pairs()
    sets = {"answers": pairs.clean.answer[:, None, None], "foils": pairs.clean.foil[:, None, None]}
    told = {"answer": None, "foil": None, **sets}
    other = replace(pairs, clean=replace(pairs.clean, **told), corrupt=replace(pairs.corrupt, **told))
    for method in (mc.patch, mc.ablate, mc.attribute):
        one, many = (method(loaded("llama"), each, sites="z").examples for each in (pairs, other))
        assert many == pytest.approx(one, abs=1e-5)


def test_combined_in_closed_form():
    made = forced(several().clean)
    values = torch.arange(len(made.owner)).double().neg()
    answers = [[0.0], [-2.0, -3.0], [-5.0]]
    foils = [[-1.0], [-4.0], [-6.0, -7.0]]
    best, worst = ([float(torch.tensor(row).logsumexp(0)) for row in rows] for rows in (answers, foils))
    assert combined("odds", values, made).tolist() == pytest.approx(np.subtract(best, worst), abs=1e-5)
    assert combined("prob", values, made).tolist() == pytest.approx(np.exp(best))
    assert combined("written", torch.tensor([0.0, 1, 0, 1, 0, 0, 1, 1]), made).tolist() == [0, 1, 0]
    expected = [1, 0, 0.7310586, 0.2689414, 0, 1, 0, 0]
    assert weights("logprob", values, made).tolist() == pytest.approx(expected, abs=1e-6)
    assert spread_over(torch.tensor([1.0, 2.0, 3.0]), made).sum() == 6


def test_methods_that_cannot_say_so():
    model, pairs = loaded("llama"), several()
    with pytest.raises(DataError, match="no linear map"):
        mc.direct_logit_attribution(model, pairs)
    with pytest.raises(DataError, match=r"answers of several tokens, which this method does not score.*use patch"):
        metric("logit_diff")(model(pairs.clean.tokens), pairs.clean)
    with pytest.raises(DataError, match="does not score whole answers"):
        METRICS["kl"].piece  # noqa: B018
    long = several(answers=[[[3] * 30]] * 3)
    with pytest.raises(DataError, match="longer than the model's context"):
        mc.patch(model, long)
    with pytest.raises(DataError, match=r"answers of these prompts are not in the model's vocabulary.*ids 3 to 99"):
        mc.patch(model, several(answers=[[[3, 99]]] * 3))
    assert metric("kl").forces(pairs.clean) is False


def test_log_likelihood_is_of_the_whole_prompt():
    prompts = PromptSet(*pad([[3, 4, 5], [6, 7, 8, 9, 10]], side="left"), side="left")
    found = mc.measure(loaded("llama"), prompts, ["log_likelihood", "loss"]).examples
    for row, tokens in enumerate(prompts.real_tokens):
        table = bare("llama")(torch.tensor([tokens])).logits[0].log_softmax(-1)
        expected = float(sum(table[i, token] for i, token in enumerate(tokens[1:])))
        assert found[0, row] == pytest.approx(expected, abs=1e-4)
        assert found[1, row] == pytest.approx(-expected / (len(tokens) - 1), abs=1e-4)
