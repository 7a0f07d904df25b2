"""Runs with values in place: what the engine and the loop give is what the written-out network gives."""

import numpy as np
import pytest
import torch
from scrubbing_trees import D_MODEL, N_HEADS, N_LAYERS, both, make_prompts

from mechcausal.address import Place, Selection, Site
from mechcausal.causal.scrubbing.route import Route
from mechcausal.causal.scrubbing.runs import Forced, Runs
from mechcausal.models.abilities import abilities

HEAD, READ = Place.parse("L1.z.H2@-1"), Place.parse("L2.mlp_out@-1")
SLOW = Route(0, N_LAYERS, 0, fast=False)


def runs_of(prompts, exact="replay"):
    model, _ = both()
    return Runs(model, abilities(model), prompts, 4, exact=exact)


def written_out(prompts, rows, writes=None):
    """Return every activation of some of the prompts, by the network that is written out."""
    batch = prompts.take(torch.as_tensor(rows))
    seen = both()[1](batch.tokens, batch.mask, writes or {})
    return seen, torch.arange(len(rows)), batch.read_columns


@pytest.mark.parametrize("keep", [False, True])
def test_prompts_are_run_as_they_are_once_each(keep):
    prompts, rows, counted = make_prompts(), np.arange(1, 14, 2), []
    runs = runs_of(prompts)
    places = [HEAD, Place.parse("embed@subject"), Place.parse("L0.resid_post@late")]
    runs.bare(rows, [(place.site, place.at) for place in places], keep=keep, tick=counted.append)
    assert sum(counted) == len(rows)
    seen, index, last = written_out(prompts, rows)
    positions = {name: column[torch.as_tensor(rows)] for name, column in prompts.positions.items()}
    expected = (
        seen["L1.z"][index, last, 2], seen["embed"][index, positions["subject"]], seen["L0.resid_post"][index, positions["late"]],
    )  # fmt: skip
    for place, values in zip(places, expected, strict=True):
        torch.testing.assert_close(runs.values[place.site, place.at][rows][:, 0], values, atol=1e-6, rtol=1e-6)
    looked_up = runs.embedding_cost() // N_LAYERS if keep else 0  # each distinct token alone
    assert runs.token_layers == N_LAYERS * (len(rows) * 7 + looked_up)


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_a_value_is_put_in_place_or_added(fast, added):
    prompts, rows = make_prompts(), np.array([3, 0, 3])
    runs = runs_of(prompts)
    runs.bare(np.arange(4), [(READ.site, READ.at)], keep=True, tick=lambda count: None)
    values = torch.tensor(np.random.default_rng(0).normal(size=(3, 1, D_MODEL // N_HEADS)))
    route = runs.route([HEAD], [READ], logits=True) if fast else SLOW
    assert route.fast == fast
    outcome = runs.patched(rows, route, [Forced(HEAD, values, added=added)], [READ], logits=True)

    def write(z):
        z = z.clone()
        z[:, -1, 2] = values[:, 0] + (z[:, -1, 2] if added else 0)
        return z

    seen, index, last = written_out(prompts, rows, {"L1.z": [write]})
    torch.testing.assert_close(outcome.logits, seen["logits"][index, last], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(outcome.values[READ][:, 0], seen["L2.mlp_out"][index, last], atol=1e-6, rtol=1e-6)


def test_a_run_begins_at_the_first_change_and_ends_at_what_is_read():
    prompts = make_prompts()
    runs = runs_of(prompts)
    assert runs.route([HEAD], [READ], logits=False) == Route(1, 3, 6, fast=True)
    assert runs.route([Place.parse("L0.resid_post@2")], [HEAD], logits=False) == Route(1, 2, 2, fast=True)
    assert runs.route([HEAD], [], logits=True) == Route(1, N_LAYERS, 6, fast=True)
    early = min(int(column) for column in prompts.positions["subject"])
    assert runs.route([Place.parse("embed@subject")], [READ], logits=True) == Route(0, N_LAYERS, early, fast=True)


def test_without_the_engine_nothing_is_fast():
    runs = runs_of(make_prompts(), exact="naive")
    assert not runs.causal
    assert not runs.reads([READ.site])
    assert not runs.writes([HEAD.site])
    assert runs.route([HEAD], [READ], logits=True) == SLOW


def test_unedited_runs_that_do_not_fit_are_run_again(monkeypatch):
    prompts = make_prompts()
    kept, again = runs_of(prompts), runs_of(prompts)
    wanted = [(Site("mlp_out", 2), Selection.parse("@-1"))]
    kept.bare(np.arange(8), wanted, keep=True, tick=lambda count: None)
    monkeypatch.setattr("mechcausal.causal.scrubbing.runs._BUDGET", 0)
    again.bare(np.arange(8), wanted, keep=True, tick=lambda count: None)
    assert (kept.repeated(), again.repeated()) == (0, 8)
    values = torch.zeros(8, 1, D_MODEL // N_HEADS, dtype=torch.float64)
    route = kept.route([HEAD], [READ], logits=True)
    logits = {}
    for name, runs in (("kept", kept), ("again", again)):
        covered = []
        for group, _ in runs.groups(np.arange(8), route):
            outcome = runs.patched(group, route, [Forced(HEAD, values[group])], [READ], logits=True)
            covered += list(zip(group, outcome.logits, strict=True))
        assert sorted(row for row, _ in covered) == list(range(8))
        logits[name] = torch.stack([row for _, row in sorted(covered, key=lambda pair: pair[0])])
    torch.testing.assert_close(logits["kept"], logits["again"])
