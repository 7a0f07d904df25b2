"""The result of a link: the halves, the sides and the names that stand in it."""

from __future__ import annotations

import time

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.links.candidates import Candidate
from mechcausal.links.gather import gather
from mechcausal.links.judge import judge
from mechcausal.links.measured import measure
from mechcausal.links.outcome import _named, outcome
from mechcausal.metrics import metric
from mechcausal.models import bridge


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_baselines_are_the_unedited_runs_of_the_half_that_is_estimated_on(
    linear_network, linear_pairs, asked, direction
):
    request = asked(direction=direction, random=3)
    gathered = gather(request, linear_network, linear_pairs)
    measured = measure(request, gathered)
    links = outcome(request, gathered, measured, *judge(gathered, measured), time.perf_counter())
    rows = gathered.bench.split[1]
    assert links.tables["halves"] == {"chosen": len(linear_pairs) - len(rows), "estimated": len(rows)}
    for name in ("clean", "corrupt"):
        side = getattr(linear_pairs, name)
        expected = metric("logit_diff")(bridge.run(linear_network, side.tokens, side.mask), side)[rows]
        np.testing.assert_allclose(links.baselines[name], expected.detach(), atol=1e-4)
    base = "clean" if direction == "noise" else "corrupt"
    np.testing.assert_array_equal(links.baselines["base"], links.baselines[base])
    assert len(links.clusters) == len(rows)
    assert links.tables["family"] | {"of": 2, "measured": 2, "effects": 2, "dead": 0} == links.tables["family"]
    assert links.tables["judged"] == {"high": len(rows)}


def test_provenance_names_what_was_asked(linear_network, linear_pairs, asked, directions):
    links = mc.link(linear_network, linear_pairs, directions, "high", redrawn=0, details=0, random=3, fdr=0.1)
    arguments = links.provenance.arguments
    assert arguments["what"] == str(directions.features)
    assert arguments["dictionaries"] == {directions.name: directions.digest}
    assert (arguments["concepts"], arguments["also"]) == (["high"], [])
    assert (arguments["fdr"], arguments["random"], arguments["direction"]) == (0.1, 3, "denoise")


def test_candidates_are_written_by_name(directions):
    candidate = Candidate("a", directions.features, "direction")
    assert _named([directions, candidate, "L1.z.H*"]) == [str(directions.features), "a", "L1.z.H*"]
