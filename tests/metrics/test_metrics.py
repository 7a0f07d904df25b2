"""Metrics against torch's own losses, on both padding sides."""

import pytest
import torch
import torch.nn.functional as F

from mechcausal.data import PromptSet, pad
from mechcausal.errors import DataError, MechcausalError
from mechcausal.metrics import METRICS, metric

ROWS = [[5, 6, 7], [8, 9, 4, 2, 3]]
ANSWER, FOIL = torch.tensor([1, 6]), torch.tensor([0, 2])


@pytest.fixture(params=["left", "right"])
def case(request):
    prompts = PromptSet(*pad(ROWS, side=request.param), side=request.param, answer=ANSWER, foil=FOIL)
    logits = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0))
    return prompts, logits, logits[torch.arange(2), prompts.read_columns]


def test_values(case):
    prompts, logits, last = case
    rows = torch.arange(2)
    torch.testing.assert_close(metric("logit_diff")(logits, prompts), last[rows, ANSWER] - last[rows, FOIL])
    torch.testing.assert_close(metric("logprob")(logits, prompts), -F.cross_entropy(last, ANSWER, reduction="none"))
    torch.testing.assert_close(metric("prob")(logits, prompts), last.softmax(-1)[rows, ANSWER])
    assert metric("accuracy")(logits, prompts).tolist() == [
        float(a == b) for a, b in zip(last.argmax(-1), ANSWER, strict=True)
    ]


def test_kl(case):
    prompts, logits, last = case
    other = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    new = other[torch.arange(2), prompts.read_columns]
    expected = F.kl_div(new.log_softmax(-1), last.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(metric("kl")(other, prompts, logits), expected)
    torch.testing.assert_close(metric("kl")(logits, prompts, logits), torch.zeros(2))


def test_loss_counts_real_next_tokens_only(case):
    prompts, logits, _ = case
    for row, tokens in enumerate(ROWS):
        start = int(prompts.starts[row])
        own = logits[row, start : start + len(tokens) - 1]
        expected = F.cross_entropy(own, torch.tensor(tokens[1:]))
        torch.testing.assert_close(metric("loss")(logits, prompts)[row], expected)


def test_a_function_of_ones_own(case):
    prompts, logits, _ = case

    def entropy(logits, batch):
        p = logits[torch.arange(len(batch)), batch.read_columns].softmax(-1)
        return -(p * p.log()).sum(-1)

    assert metric(entropy).name == "entropy"
    assert metric(metric(entropy))(logits, prompts).shape == (2,)


def test_what_is_missing_is_said():
    bare = PromptSet(*pad(ROWS))
    assert set(METRICS) == {"logit_diff", "logprob", "prob", "accuracy", "kl", "loss", "log_likelihood"}
    for name in ("logit_diff", "logprob", "prob", "accuracy"):
        with pytest.raises(MechcausalError, match="needs the answer"):
            metric(name).check(bare)
    metric("loss").check(bare)
    with pytest.raises(MechcausalError, match="did you mean 'logprob'"):
        metric("logprb")


def test_what_a_metric_says_of_its_gradient_is_true(case):
    """Whether there is a gradient, and whether it vanishes at the compared run, against autograd."""
    prompts, logits, _ = case
    logits = logits.double().requires_grad_()
    for name in METRICS:
        chosen = metric(name)
        values = chosen(logits, prompts, logits.detach())
        assert chosen.differentiable == values.requires_grad, name
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), logits)
            assert chosen.flat_at_reference == bool(slope.abs().max() < 1e-12), name
            outside = slope.clone()
            outside[torch.arange(2), prompts.read_columns] = 0
            assert chosen.reads_one_position == bool((outside == 0).all()), name


def test_a_gradient_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match=r"'accuracy' has no gradient.*mc\.patch"):
        metric("accuracy").require_gradient()
    metric("kl").require_gradient()
    with pytest.raises(DataError, match="'kl' has no slope at the clean run"):
        metric("kl").require_gradient(at_reference=True)
    assert [name for name in METRICS if metric(name).log_odds] == ["logit_diff"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["logit_diff", "logprob", "prob", "kl", "loss"])
def test_half_precision_is_accumulated_in_float32(case, name, dtype):
    """The numbers are those of the same logits in float32; sums in half precision would be wrong in the third digit."""
    prompts = case[0]
    many = torch.randn(2, 5, 5000, generator=torch.Generator().manual_seed(2))
    low, other = ((scale * many).to(dtype) for scale in (3.0, 2.9))
    values = metric(name)(low, prompts, other)
    assert values.dtype == torch.float32
    assert torch.equal(values, metric(name)(low.float(), prompts, other.float()))


def likeliest(logits, batch):
    return logits.argmax(-1).sum(-1)  # of all positions, and whole numbers


@pytest.mark.parametrize("spec", ["accuracy", likeliest], ids=["accuracy", "own"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_read_off_no_numbers_is_no_number(case, spec, wrong):
    """The likeliest of NaN is a token like any other, which would be counted as an answer."""
    prompts, logits, _ = case
    row, pad_column = 0, int((~prompts.mask[0]).nonzero()[0])
    logits[row, pad_column] = wrong  # padding is not read
    logits[row, prompts.read_columns[row], 9] = -float("inf")  # a token that is ruled out
    before = metric(spec)(logits, prompts)
    assert before.isfinite().all()
    logits[row, prompts.read_columns[row], 3] = wrong
    after = metric(spec)(logits, prompts)
    assert after[row].isnan()
    assert after[1] == before[1]
