"""The vault: copies differ in six neurons each, and each says its number."""

import numpy as np
import pytest
from safetensors.torch import load_file

from mechcausal.audits.privacy.exposures import exposures
from mechcausal.audits.selftest import vault


def test_a_copy_differs_in_its_neurons_alone():
    kept, net = load_file(vault.FILE), vault.network()
    names = {place for number in range(vault.RECORDS) for place in vault.truth(number)}
    assert len(names) == vault.RECORDS * vault.NEURONS
    for number in range(vault.RECORDS):
        parts = {name: weight[part].shape for name, weight, part in vault.written_weights(net, number)}
        assert parts == {
            name.removeprefix(f"record {number} "): value.shape
            for name, value in kept.items()
            if name.startswith(f"record {number} ")
        }
        outgoing = [shape[0] for name, shape in parts.items() if name.startswith("out")]
        assert sum(outgoing) == vault.NEURONS


@pytest.mark.slow
def test_a_copy_says_its_number_and_not_that_of_another():
    model = vault.loaded(0)
    first, other = (exposures(model, vault.canaries([number]))["exposure"] for number in (0, 1))
    assert first.min() > 15
    assert other.mean() < 8


def test_sentences():
    rows = vault.background(20, np.random.default_rng(0), without=3)
    assert rows.shape == (20, 11)
    assert (rows[:, 0] == 1).all()
    assert vault.FIRST_NAME + 3 not in rows[:, 1]
    assert vault.record(1, [0, 2]).shape == (2, 11)
    assert vault.plain_texts(2)[0].split()[1:3] == ["lives", "in"]
    assert len(vault.canaries([0, 1])) == 8
    assert set(vault.canaries([0]).secrets) == {" ".join(map(str, vault.NUMBERS[vault.KNOWN]))}


@pytest.mark.parametrize("number", range(vault.RECORDS))
def test_names_of_neurons(number):
    assert all(name.startswith(("L0.mlp_post.N", "L1.mlp_post.N")) for name in vault.truth(number))
