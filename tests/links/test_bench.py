"""One recording serves all stages of a link, and a dry run says what a link will take."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest
import unequal
from zoo import loaded

import mechcausal as mc
from mechcausal import method
from mechcausal.address import Selection, Site
from mechcausal.data.targets import filled
from mechcausal.errors import ArgumentError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.links import Linking
from mechcausal.links.ceilings import _shared
from mechcausal.links.gather import gather
from mechcausal.models.replay.twin import Twin

ASKED = {"also": "proxy", "random": 3, "details": 4, "redrawn": 8}


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, 64)


@pytest.fixture(scope="module")
def links(hiring, pairs):
    return mc.link(hiring, pairs, ["L1.z.H*", "L2.mlp_out"], "gender", **ASKED)


@pytest.mark.slow
def test_each_half_of_each_side_is_recorded_once(hiring, pairs, links, monkeypatch):
    record, recorded = Twin.record, []

    def counted(self, batch, read=None):
        recorded.append(batch.hash)
        return record(self, batch, read)

    monkeypatch.setattr(Twin, "record", counted)
    again = mc.link(hiring, pairs, ["L1.z.H*", "L2.mlp_out"], "gender", **ASKED)
    assert len(recorded) == len(set(recorded)) == 4
    assert {"candidates", "dense baselines", "erased", "chosen set", "probes under interventions"} <= set(
        again.provenance.compute["stages"]
    )
    assert np.array_equal(again.frame["share"], links.frame["share"])
    recorded.clear()
    smaller = mc.link(hiring, pairs, ["L1.z.H*", "L2.mlp_out"], "gender", **ASKED, batch_size=10)
    assert len(recorded) == len(set(recorded))  # one for each batch of each half and side
    assert smaller.frame["share"].to_numpy() == pytest.approx(links.frame["share"].to_numpy(), abs=1e-4)


@pytest.mark.parametrize("exact", ["replay", "naive"])
def test_a_dry_run_says_what_then_runs(hiring, pairs, links, exact):
    cost = mc.link.cost(hiring, pairs, ["L1.z.H*", "L2.mlp_out"], "gender", **ASKED, exact=exact)
    ran = links.provenance.compute["stages"]
    assert cost.stages["candidates"] == ran["candidates"] == 5 * 64
    assert (cost.cells, cost.examples) == (5, 64)
    for stage, most in cost.stages.items():
        assert ran.get(stage, 0) <= most
    assert sum(cost.stages.values()) == cost.naive_forwards
    rest = cost.naive_forwards - cost.stages["candidates"] - cost.stages["chosen set"]
    assert (cost.forwards == cost.naive_forwards) if exact == "naive" else (rest < cost.forwards < cost.naive_forwards)
    assert "candidates: at most 320" in str(cost)


def test_a_specification_goes_into_a_file_and_comes_back():
    spec = Linking(["z", "L1.mlp_out"], ["gender", "proxy"], at="@decision", read_at=-1, fdr=0.1, generalize="texts")
    assert method.read(tomllib.loads(spec.to_toml())) == spec
    assert spec.to_json() == {
        "run": "link", "what": ["z", "L1.mlp_out"], "probes": ["gender", "proxy"], "at": "@decision", "read_at": -1,
        "fdr": 0.1, "generalize": "texts",
    }  # fmt: skip


def test_labels_in_an_array_are_not_written_to_a_file():
    with pytest.raises(ArgumentError, match="cannot be written to a file"):
        Linking("z", {"sex": np.ones(4)}).to_json()
    spec = Linking("z", {"sex": [0, 1, 1]})
    assert method.read(spec.to_json()) == spec


def with_long_answers(pairs):
    answers = filled([[[3 + n % 20, 4 + n % 20]] for n in range(len(pairs))])
    foils = filled([[[30 + n % 20, 31, 5]] for n in range(len(pairs))])
    told = {"answer": None, "foil": None, "answers": answers, "foils": foils}
    return replace(pairs, clean=replace(pairs.clean, **told), corrupt=replace(pairs.corrupt, **told))


@pytest.mark.parametrize("long", [False, True], ids=["one token", "several tokens"])
def test_pairs_of_unequal_length_and_answers_of_several_tokens(long):
    """Effects are those of `mc.patch`, which is compared with hooks elsewhere, and the last stream of the source is all."""
    model, pairs = loaded("llama"), with_long_answers(unequal.many()) if long else unequal.many()
    what = ["L1.z.H*", "L2.resid_post"]
    links = mc.link(model, pairs, what, "which", at=-1, redrawn=8, random=3, details=8)
    judged = [int(name.removeprefix("pair ")) for name in links.clusters]
    patched = mc.patch(model, pairs.take(judged), sites=what, at=-1)
    assert links.examples == pytest.approx(patched.examples, abs=1e-4)
    assert links.baselines["clean"] == pytest.approx(patched.baselines["clean"], abs=1e-4)
    assert links.provenance.compute["engine"] == "replay and naive"
    bench = gather(Linking(what, "which", at=-1), model, pairs).bench
    last = Site("resid_post", 2)
    cell = (Edit(last, Patch(), Selection.parse(-1)),)
    base, source, edited = (run[0] for run in bench.read_under([cell], [last], [Selection.parse(-1)], "reading"))
    assert edited == pytest.approx(source, abs=1e-5)
    assert np.abs(edited - base).max() > 0.1


def test_tokens_that_both_prompts_have_are_kept_where_the_others_are_deleted():
    pairs = unequal.many(4).take([0, 1, 0, 1])
    bench = gather(Linking("L1.z.H*", "which"), loaded("llama"), pairs).bench
    kept = [row[mask].tolist() for row, mask in zip(bench.base.tokens, _shared(bench), strict=True)]
    rows = bench.base.real_tokens
    assert kept == [[*row[:2], *row[-2:]] for row in rows]
