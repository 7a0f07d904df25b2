"""Networks that learn by heart do, and are the same for the same seed."""

import numpy as np
import torch

from mechcausal.audits.selftest.memorizing import network, taught, texts_of, wrapped


def test_what_is_taught_is_known_by_heart():
    rows = np.c_[np.ones(4, int), np.random.default_rng(0).integers(2, 42, (4, 6))]
    net = taught(network(), rows, steps=80)
    with torch.no_grad():
        written = net(torch.as_tensor(rows)).logits[:, 1:-1].argmax(-1)
    assert (written.numpy() == rows[:, 2:]).all()
    model = wrapped(net)
    assert model.tokenizer(texts_of(rows[:1, 1:])[0])["input_ids"][-6:] == rows[0, 1:].tolist()


def test_the_seed_is_the_network():
    first, again, other = (network(seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
