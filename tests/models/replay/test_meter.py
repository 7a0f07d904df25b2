"""The metric of final hidden states is the metric of the logits, wherever it reads."""

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.metrics import metric
from mechcausal.models.hooked import forward
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import replayer

METRICS = ["logit_diff", "logprob", "prob", "kl", "loss"]


def own(logits, batch):
    return (logits[:, 2:4].softmax(-1) ** 2).sum((1, 2))


@pytest.fixture(params=[*METRICS, "own"])
def chosen(request):
    return metric(own if request.param == "own" else request.param)


def meter_of(name, batch, chosen):
    model = loaded(name)
    twin = replayer(model).twin
    reference = forward(model, make_pairs((7, 5, 6)).corrupt).logits if chosen.compares else None
    hidden = twin.record(batch).hidden[-1]
    return Meter(twin, batch, chosen, reference, hidden), hidden, forward(model, batch).logits, reference


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_the_unedited_run(chosen, name):
    batch = make_pairs((7, 5, 6)).clean
    meter, _, logits, reference = meter_of(name, batch, chosen)
    expected = chosen(logits, batch, reference)
    np.testing.assert_allclose(meter.base(), expected.detach().float(), atol=1e-4, rtol=1e-4)


def test_entries_of_changed_states(chosen):
    batch = make_pairs((7, 5, 6)).clean
    meter, hidden, logits, reference = meter_of("gpt2", batch, chosen)
    rows, start = torch.tensor([2, 0, 2, 1]), 3
    noise = torch.randn(4, *hidden.shape[1:], generator=torch.Generator().manual_seed(0))
    changed = hidden[rows].clone()
    changed[:, start:] += noise[:, start:]
    said = logits[rows].clone()
    said[:, start:] = meter.twin.logits(changed[:, start:])
    expected = chosen(said, batch.take(rows), None if reference is None else reference[rows])
    read = changed[:, start:] if meter.read is None else changed[torch.arange(4), meter.read[rows]]
    np.testing.assert_allclose(meter.of(read, rows, start), expected.detach().float(), atol=1e-4, rtol=1e-4)


def test_only_what_is_read_is_read():
    batch = make_pairs((7, 5, 6)).clean
    answers, _, _, _ = meter_of("gpt2", batch, metric("logit_diff"))
    assert answers.columns.tolist() == torch.stack([batch.answer, batch.foil], 1).tolist()
    assert answers.last.equal(batch.read_columns)
    everywhere, _, _, _ = meter_of("gpt2", batch, metric("loss"))
    assert everywhere.read is None
    assert everywhere.last == 6
