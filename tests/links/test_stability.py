"""A link finds the companions of a dictionary in its folder, and says of each claim whether it is there again."""

from __future__ import annotations

import json

import linear
import planted
import pytest
import torch

import mechcausal as mc
from mechcausal.dictionaries import folder
from mechcausal.errors import ModelError
from mechcausal.links import Links
from mechcausal.links.verdict import CAUSAL
from mechcausal.models.attached import attached
from mechcausal.models.binding import attach
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward
from mechcausal.report.links import write_links
from mechcausal.results.storage import read_json, write_json

QUICK = {"redrawn": 0, "random": 4, "details": 200}
RECIPE = {"kind": "standard", "width": 96, "k": 1, "price": 0.0, "tokens": 1, "batch_size": 1, "rate": 1.0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def pairs(network):
    return planted.pairs(network)


def kept(path, made, network, **facts):
    """Write a dictionary of `planted` as a folder."""
    weights = {"W_dec": made.W_dec, "W_enc": made.W_dec.T, "b_dec": made.b_dec, "b_enc": torch.zeros(len(made.W_dec))}
    config = {"architecture": "standard", "d_in": 48, "d_sae": 96, "apply_b_dec_to_input": True}
    told = {"site": str(planted.SITE), "site_out": None, "model_digest": weights_fingerprint(network), "name": "own"}
    told |= {"recipe": RECIPE | {"seed": facts.pop("seed", 0)}, "data": {"digest": "same"}, **facts}
    return folder.write(path, config, weights, told)


@pytest.fixture(scope="module")
def home(network, pairs, tmp_path_factory):
    """Return the folder of a dictionary with one faithful companion of each kind, and one that lost what is used."""
    sides = (pairs.clean, pairs.corrupt)
    x = torch.cat([forward(network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in sides])
    path = tmp_path_factory.mktemp("home") / "own"
    own = planted.Split(x)
    kept(path, own, network)
    kept(path / "companions" / "seed-1", planted.Split(x, 1), network, seed=1)
    lost = planted.Split(x, 2)
    noise = torch.randn(2, 48, generator=torch.Generator().manual_seed(5))
    away = noise - noise @ planted.A[:, None] @ planted.A[None]  # no part of the direction that is used
    lost.W_dec[sorted(lost.used)] = away / away.norm(dim=1, keepdim=True)
    kept(path / "companions" / "seed-2", lost, network, seed=2)
    kept(path / "companions" / "half-1", planted.Split(x, 3), network, data={"digest": "half"})
    (path / "companions" / "half-2" / "checkpoint").mkdir(parents=True)
    return path, own


@pytest.fixture(scope="module")
def links(network, pairs, home):
    bound = mc.features.load(network, home[0], name="own")
    before = set(attached(network))
    found = mc.link(network, pairs, bound, "high", **QUICK)
    assert set(attached(network)) == before  # companions are there for the moment only
    return found


def test_a_claim_is_there_again_or_not(links, home):
    rows = links.frame.set_index("feature")
    for number in home[1].used:
        assert rows.loc[number, ["seed_in", "seed_used", "half_in", "half_used"]].tolist() == [2, 1, 1, 1]
        assert rows.loc[number, ["matched_in", "matched_used", "other_in"]].tolist() == [3, 2, 0]
        assert rows.loc[number, "verdict"] == CAUSAL
    for number in home[1].idle:  # there again, and as idle as here
        assert rows.loc[number, ["seed_used", "half_used"]].tolist() == [0, 0]
        assert rows.loc[number, "matched_cosine"] == pytest.approx(1, abs=1e-4)
    assert {"own-seed-1", "own-seed-2", "own-half-1"} < set(links.provenance.arguments["dictionaries"])


def test_it_is_said(links, tmp_path):
    text = links.summary()
    assert "replicated in 1 of 2 seeds, 1 of 1 halves" in text
    assert "compared with 2 seeds and 1 halves" in text
    assert "not finished: own-half-2" in text
    data = write_links({"planted": links}, tmp_path / "link.html", title="Links")
    page = (tmp_path / "link.html").read_text()
    assert "1 of 2 seeds, 1 of 1 halves" in page
    assert "Stability: compared with 2 seeds and 1 halves" in page
    assert json.loads(data.read_text())["planted"]["stability"]["seed"] == ["own-seed-1", "own-seed-2"]
    again = Links.load(links.save(tmp_path / "links.parquet"))
    assert again.summary() == text


def test_it_is_said_where_there_was_none(network, pairs, home, tmp_path):
    bare = attach(network, home[1], planted.SITE, name="bare")
    links = mc.link(network, pairs, bare, "high", **QUICK)
    assert "no other dictionary to compare with" in links.summary()
    write_links({"planted": links}, tmp_path / "link.html", title="Links")
    assert "Stability: no other dictionary to compare with" in (tmp_path / "link.html").read_text()
    heads = mc.link(network, pairs, "resid_post", "high", redrawn=0, details=0, random=0)
    assert "stability" not in heads.summary()


def test_a_companion_that_is_named_as_well_counts_once(network, pairs, home):
    own = mc.features.load(network, home[0], name="own")
    other = mc.features.load(network, home[0] / "companions" / "seed-1", name="given")
    links = mc.link(network, pairs, own, "high", others=[other], **QUICK)
    row = links.frame.set_index("feature").loc[min(home[1].used)]
    assert row[["seed_in", "half_in", "other_in", "other_used"]].tolist() == [1, 1, 1, 1]


def test_a_stranger_is_refused_before_any_compute(network, pairs, home, monkeypatch):
    own = mc.features.load(network, home[0], name="own")
    path = home[0] / "companions" / "seed-2" / folder.FACTS
    before = path.read_text()
    write_json(path, read_json(path) | {"site": "L0.mlp_out"})
    monkeypatch.setattr("mechcausal.links.gather.hold", None)
    try:
        with pytest.raises(ModelError, match="seed-2 does not belong"):
            mc.link(network, pairs, own, "high", **QUICK)
    finally:
        path.write_text(before)
