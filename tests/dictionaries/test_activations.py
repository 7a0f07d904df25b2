"""Activations: every token once, in an order of their own, and never of something else."""

from itertools import islice

import pytest
import torch
from limited import small_files
from zoo import make_pairs

import mechcausal as mc
from mechcausal.data import PromptSet
from mechcausal.dictionaries import activations
from mechcausal.dictionaries.activations import Activations, harvest
from mechcausal.errors import DataError, NumericsError, ResultError, SiteError
from mechcausal.models.hooked import forward


@pytest.fixture
def prompts():
    return make_pairs(lengths=(7, 5, 6, 7, 4, 7, 5)).clean


@pytest.mark.parametrize("site", ["L1.resid_post", "L1.z", "L1.resid_mid", "L0.mlp_post"])
def test_every_real_token_is_read(gpt2, prompts, site):
    from mechcausal.address import Site

    found = harvest(gpt2, prompts, site, batch_size=3)
    whole = forward(gpt2, prompts, read=[Site.parse(site)]).read[Site.parse(site)]
    torch.testing.assert_close(found.shard(0), whole[prompts.mask].flatten(1))
    assert len(found) == int(prompts.mask.sum()) == sum(found.sizes)
    assert found.facts["site"] == site


def test_both_sides_of_pairs_and_two_sites(gpt2):
    pairs = make_pairs()
    found = harvest(gpt2, pairs, "L1.resid_mid", site_out="L1.mlp_out")
    assert found.width == 64
    assert found.width_in == 32
    assert len(found) == 2 * 6 * 7
    (alone,) = harvest(gpt2, pairs, "L1.mlp_out").shards
    torch.testing.assert_close(found.shard(0)[:, 32:], alone)


def test_the_first_token_is_left_out_where_it_says_nothing(hiring):
    prompts = mc.task("hiring").prompts(hiring, n=8)
    every, some = (harvest(hiring, prompts, "L1.resid_post", skip_first=skip) for skip in (False, None))
    assert len(every) == int(prompts.mask.sum())
    assert len(some) == len(every) - 8
    assert some.facts["skip_first"]
    left = prompts.padded(10, "left")
    torch.testing.assert_close(harvest(hiring, left, "L1.resid_post").shard(0), some.shard(0), atol=1e-5, rtol=1e-5)


def test_on_disk_it_goes_on_where_it_stopped(gpt2, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(activations, "TOKENS", 14)
    whole = harvest(gpt2, prompts, "L1.resid_post", out=tmp_path / "whole")
    assert whole.sizes == (12, 13, 11, 5)
    read, calls = activations._read, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(activations, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        harvest(gpt2, prompts, "L1.resid_post", out=tmp_path / "cut")
    with pytest.raises(DataError, match=r"not complete.*goes on where it stopped"):
        Activations.open(tmp_path / "cut")
    harvest(gpt2, prompts, "L1.resid_post", out=tmp_path / "cut")
    assert len(calls) == 3 + 2
    again = Activations.open(tmp_path / "cut")
    assert again.sizes == whole.sizes
    assert all(torch.equal(again.shard(i), whole.shard(i)) for i in range(4))
    harvest(gpt2, prompts, "L1.resid_post", out=tmp_path / "cut")
    assert len(calls) == 5


def test_a_folder_of_something_else_is_not_mixed_in(gpt2, llama, prompts, tmp_path):
    harvest(gpt2, prompts, "L1.resid_post", out=tmp_path)
    with pytest.raises(DataError, match=r"something else \(got site L1.resid_post; expected L0.resid_post\)"):
        harvest(gpt2, prompts, "L0.resid_post", out=tmp_path)
    with pytest.raises(DataError, match="something else"):
        harvest(llama, prompts, "L1.resid_post", out=tmp_path)
    with pytest.raises(DataError, match="holds no activations"):
        Activations.open(tmp_path / "nowhere")


def numbered(sizes):
    first = iter(range(sum(sizes)))
    shards = tuple(torch.tensor([[float(next(first))] for _ in range(size)]) for size in sizes)
    return Activations(shards, {}, tuple(sizes))


@pytest.mark.parametrize("sizes", [(20,), (7, 7, 6), (1, 18, 1), (3, 3, 3, 3, 8)])
@pytest.mark.parametrize("size", [1, 4, 6, 20])
def test_every_token_is_dealt_once_an_epoch(sizes, size):
    found = numbered(sizes)
    batches = list(islice(found.batches(size, seed=1), 60 // size))
    assert all(batch.shape == (size, 1) for batch in batches)
    dealt = torch.cat(batches)[:60, 0].tolist()
    for epoch in range(len(dealt) // 20):
        assert sorted(dealt[20 * epoch : 20 * epoch + 20]) == list(range(20))
    assert dealt[:20] != sorted(dealt[:20])
    for start in range(len(batches)):
        rest = list(islice(found.batches(size, seed=1, start=start), len(batches) - start))
        assert all(torch.equal(a, b) for a, b in zip(rest, batches[start:], strict=True))
    assert not torch.equal(next(found.batches(20, seed=2)), next(found.batches(20, seed=1)))


def test_moments():
    found = Activations.of(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    mean, lengths = found.moments()
    assert mean.tolist() == [1.5, 2.0]
    assert lengths == (2.5, 0.0)


def test_joined(gpt2, prompts):
    one, two = harvest(gpt2, prompts, "L1.resid_post"), harvest(gpt2, prompts.take([0, 1]), "L1.resid_post")
    both = Activations.joined([one, two])
    assert len(both) == len(one) + len(two)
    assert both.facts["n_prompts"] == len(prompts) + 2
    with pytest.raises(DataError, match="different places"):
        Activations.joined([one, harvest(gpt2, prompts, "L0.resid_post")])


def test_what_is_no_set_of_activations(gpt2, prompts):
    with pytest.raises(DataError, match="one row a token"):
        Activations.of(torch.zeros(2, 3, 4))
    with pytest.raises(NumericsError, match="NaN"):
        Activations.of(torch.full((2, 3), float("nan")))
    with pytest.raises(DataError, match="more tokens than there are"):
        next(Activations.of(torch.zeros(2, 3)).batches(3, seed=0))
    with pytest.raises(SiteError, match="not in this model"):
        harvest(gpt2, prompts, "L9.resid_post")
    alone = PromptSet(tokens=torch.tensor([[5]]), mask=torch.tensor([[True]]))
    with pytest.raises(DataError, match="leave no token"):
        harvest(gpt2, alone, "L1.resid_post", skip_first=True)


@pytest.mark.parametrize("place", ["/proc/nothing/x", "file", "file/x", "full"])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_read(gpt2, prompts, place, monkeypatch, tmp_path):
    monkeypatch.setattr(activations, "readings", None)
    (tmp_path / "file").write_text("")
    words = "File too large" if place == "full" else "nothing can be written to"
    with small_files(4096 if place == "full" else 10**8), pytest.raises(ResultError, match=words):
        harvest(gpt2, prompts.take(torch.arange(len(prompts)).repeat(10)), "L1.z", out=tmp_path / place)
