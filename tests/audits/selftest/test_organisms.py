"""A4, A5, A6, A8, A16 and A20 hold, and A5 does not where the network reads something else."""

import numpy as np
import pytest
import torch

from mechcausal.audits.selftest import biographies, run_checks
from mechcausal.audits.selftest.organisms import flips_by_formula


def failed(*names):
    found = list(run_checks(names))
    assert found
    return [str(check) for check in found if not check.passed]


def test_what_carries_the_attribute_and_is_used():
    assert failed("A5") == []


def test_a_network_that_reads_the_city_does_not_pass():
    model = biographies.model()
    unembed, words = model.unembed.W_U, biographies.WORDS
    before = unembed.detach().clone()
    with torch.no_grad():
        unembed[biographies.N_END, words["senior"]] = 1.0
        unembed[biographies.N_END, words["junior"]] = -1.0
    try:
        assert any("correlate-only" in line for line in failed("A5"))
    finally:
        with torch.no_grad():
            unembed.copy_(before)


def test_flips_by_the_formula():
    assert flips_by_formula(1.0) == 1.0
    assert flips_by_formula(0.0) == 0.0
    assert 0 < flips_by_formula(0.5) < 1
    people = biographies.population()
    gap = np.abs(biographies.odds(people, 0)).max()
    assert gap < biographies.GENDER  # so the whole of the pronoun decides always


@pytest.mark.slow
def test_ablations_erasures_and_the_trade_off():
    assert failed("A4", "A6", "A20") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A8", "A16"])
def test_the_organism_of_biographies(name):
    assert failed(name) == []
