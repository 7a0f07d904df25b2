"""The edges a model has: their numbers are those that the literature counts."""

import numpy as np
import pytest
import zoo

from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.errors import SiteError, UnsupportedError
from mechcausal.models.abilities import abilities


def test_the_counts_of_published_models():
    gpt2 = Wiring(12, 12, 12)
    assert (len(gpt2.senders), len(gpt2.receivers), gpt2.count) == (
        157,
        445,
        32_491,
    )  # Syed et al. 2023, Hanna et al. 2024
    smollm2 = Wiring(30, 9, 3)
    assert smollm2.count == 70_651
    assert Wiring(30, 9, 3, split=True).count > smollm2.count


def test_who_reaches_whom():
    wiring = Wiring(2, 2, 1)

    def reaches(sender, receiver):
        return bool(wiring.possible[wiring.sender(sender), wiring.receiver(receiver)])

    pairs = [("embed", "L0.q.H0"), ("L0.z.H1", "L0.mlp_out"), ("L1.mlp_out", "logits")]
    assert all(reaches(*pair) for pair in pairs)
    pairs = [("L0.z.H0", "L0.k.H0"), ("L0.mlp_out", "L0.mlp_out"), ("L1.z.H0", "L0.mlp_out")]
    assert not any(reaches(*pair) for pair in pairs)
    parallel = Wiring(2, 2, 2, parallel=True)
    assert not parallel.possible[parallel.sender("L0.z.H1"), parallel.receiver("L0.mlp_out")]
    assert parallel.possible[parallel.sender("L0.z.H1"), parallel.receiver("L1.mlp_out")]


def test_slices_of_layers_hold_the_sites_of_layers():
    for wiring in (Wiring(3, 4, 2), Wiring(2, 2, 2, mlps=False), Wiring(2, 4, 2, split=True)):
        for layer in range(wiring.n_layers):
            assert {site.layer for site in wiring.senders[wiring.senders_of(layer)]} == {layer}
            assert {site.layer for site in wiring.receivers[wiring.receivers_of(layer)]} == {layer}
        assert [str(site) for site in wiring.receivers[wiring.receivers_of(wiring.n_layers)]] == ["logits"]


def test_shared_keys_belong_to_all_heads_that_read_them():
    wiring = Wiring(1, 4, 2)
    owners = [str(wiring.senders[number]) for number in wiring.owners(wiring.receivers[wiring.receiver("L0.k.H1")])]
    assert owners == ["L0.z.H2", "L0.z.H3"]
    split = Wiring(1, 4, 2, split=True)
    assert [str(split.senders[n]) for n in split.owners(split.receivers[split.receiver("L0.k.H1")])] == ["L0.z.H1"]
    assert wiring.owners(wiring.receivers[-1]) == ()
    assert np.array_equal(wiring.readers.sum(0), [1, 1, 1, 1, 2, 2, 2, 2, 1, 0])


def test_json_gives_the_wiring_back():
    wiring = Wiring(3, 4, 2, mlps=False, split=True)
    assert Wiring.from_json(wiring.to_json()) == wiring


def test_what_is_no_sender_and_what_has_no_edges_is_refused():
    with pytest.raises(SiteError, match=r"L0\.q\.H0 is nothing that writes to the stream"):
        Wiring(1, 2, 2).sender("L0.q.H0")
    with pytest.raises(SiteError, match=r"L7\.mlp_out is nothing that reads the stream"):
        Wiring(1, 2, 2).receiver("L7.mlp_out")
    with pytest.raises(UnsupportedError, match="has no edges"):
        Wiring.of(abilities(zoo.loaded("bert")))


@pytest.mark.parametrize(("name", "parallel"), [("gpt2", False), ("neox", True), ("llama", False)])
def test_the_wiring_of_a_model(name, parallel):
    wiring = Wiring.of(abilities(zoo.loaded(name)), split=True)
    assert (wiring.n_layers, wiring.n_heads, wiring.parallel) == (3, 4, parallel)
    assert wiring.split == (name == "llama")
