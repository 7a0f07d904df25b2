"""The first step of a link: what is asked, checked before anything is run, and what the candidates hold."""

from __future__ import annotations

import numpy as np
import planted
import pytest

from mechcausal.errors import DataError, SiteError
from mechcausal.links.gather import gather, listed
from mechcausal.models import bridge
from mechcausal.models.hooked import forward
from mechcausal.models.replay.twin import Twin


@pytest.fixture
def runs(monkeypatch, linear_network, linear_pairs, asked):
    """Count the forwards, after what a model can do is measured."""
    gather(asked(), linear_network, linear_pairs)
    counted, run, record = [], bridge.run, Twin.record
    monkeypatch.setattr(bridge, "run", lambda *given, **options: counted.append("run") or run(*given, **options))
    monkeypatch.setattr(Twin, "record", lambda *given, **options: counted.append("record") or record(*given, **options))
    return counted


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_nothing_is_run_before_all_is_checked(linear_network, linear_pairs, asked, runs, direction):
    gathered = gather(asked(direction=direction), linear_network, linear_pairs)
    assert runs == []
    base, source = linear_pairs.clean, linear_pairs.corrupt
    if direction == "denoise":
        base, source = source, base
    assert gathered.bench.base.tokens.equal(base.tokens)
    assert gathered.bench.source.tokens.equal(source.tokens)
    assert [candidate.name for candidate in gathered.candidates] == ["a", "e"]
    assert [concept.name for concept in gathered.concepts] == ["high"]
    for wrong, error in (({"at": "@nowhere"}, SiteError), ({"also": "gendr"}, DataError)):
        with pytest.raises(error):
            gather(asked(**wrong), linear_network, linear_pairs)
    assert runs == []


def test_concepts_that_are_followed_begin_with_those_that_are_judged(linear_network, linear_pairs, asked):
    also = {"turned": np.repeat([0, 1], len(linear_pairs))}
    gathered = gather(asked(also=[also]), linear_network, linear_pairs)
    assert [concept.name for concept in gathered.concepts] == ["high"]
    assert [concept.name for concept in gathered.followed] == ["high", "turned"]


def test_what_candidates_hold_is_the_stream_along_their_directions(linear_network, linear_pairs, asked):
    readings = gather(asked(), linear_network, linear_pairs).readings()
    for number, direction in enumerate((planted.A, planted.E0)):
        sides = [
            forward(linear_network, side, read=[planted.SITE]).read[planted.SITE] @ direction
            for side in (linear_pairs.clean, linear_pairs.corrupt)
        ]
        last = np.concatenate([side[:, -1] for side in sides])
        mean = np.concatenate([side.mean(1) for side in sides])
        np.testing.assert_allclose(readings.decision[number][:, 0], last, atol=1e-5)
        np.testing.assert_allclose(readings.pooled[number][:, 0], mean, atol=1e-5)
    assert readings.dead == 0


def test_one_recording_holds_what_later_stages_read(linear_network, linear_pairs, asked, runs):
    gathered = gather(asked(), linear_network, linear_pairs)
    assert planted.SITE in gathered.bench.memory.sites
    gathered.readings()
    recorded = len(runs)
    gathered.readings()
    assert runs == ["record"] * recorded  # the second reading records nothing again


def test_one_or_several_probes_are_a_list():
    assert listed("gender") == ["gender"]
    assert listed(("gender", "proxy")) == ["gender", "proxy"]
    assert listed([]) == []
