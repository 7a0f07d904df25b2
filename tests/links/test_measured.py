"""The numbers of a link, on a network in which every effect can be written down."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import planted
import pytest
import torch

from mechcausal.links.gather import gather
from mechcausal.links.measured import _of_interest, measure
from mechcausal.models.hooked import forward


@pytest.fixture
def streams(linear_network, linear_pairs):
    sides = (linear_pairs.clean, linear_pairs.corrupt)
    return [forward(linear_network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in sides]


def test_effects_are_those_in_closed_form(linear_network, linear_pairs, asked, streams):
    request = asked(direction="noise", random=5)
    gathered = gather(request, linear_network, linear_pairs)
    measured = measure(request, gathered)
    rows = gathered.bench.split[1]
    dictionary = SimpleNamespace(
        W_dec=torch.stack([planted.A, planted.E0]), encode=lambda x: x @ torch.stack([planted.A, planted.E0]).T
    )
    expected = planted.effects(dictionary, *streams, linear_pairs)
    np.testing.assert_allclose(measured.used.change[:, rows], expected[:, rows], atol=1e-3)
    assert measured.used.answer.tolist() == ["yes", "no"]
    assert measured.available[0].answer.tolist() == ["yes", "yes"]
    assert measured.family == {"of": 2, "measured": 2}


def test_only_candidates_that_are_used_are_compared_with_turned_copies(linear_network, linear_pairs, asked):
    request = asked(random=5)
    measured = measure(request, gather(request, linear_network, linear_pairs))
    assert list(measured.turned) == [0]
    assert measured.turned[0].shape == (5, len(linear_pairs))
    ((place, drawn),) = measured.drawn.items()
    assert place.activation == planted.SITE
    assert drawn.shape == (5, len(linear_pairs))


def test_details_are_measured_of_so_many_candidates(linear_network, linear_pairs, asked):
    for count, numbers in ((0, ()), (1, (0,)), (24, (0, 1))):
        request = asked(details=count)
        details = measure(request, gather(request, linear_network, linear_pairs)).details
        assert details.numbers == numbers  # the larger effect first
        assert (
            len(details.groups) == len(details.kl) == len(details.peers) == len(details.stable["high"]) == len(numbers)
        )


def test_of_interest_is_what_is_used_or_available_the_largest_effect_first():
    def effects(answers, shares):
        return SimpleNamespace(answer=np.array(answers), estimate=SimpleNamespace(share=np.array(shares)))

    available = [SimpleNamespace(yes=np.array([True, False, False, True, False]))]
    judged = [
        effects(["no", "yes", "no", "no", "unclear"], [0.1, -0.3, 0.9, np.nan, 0.8]),
        effects(["no", "no", "no", "no", "yes"], [0.2, 0.0, 0.9, np.nan, 0.1]),
    ]
    assert _of_interest(available, judged, 10) == [4, 1, 0, 3]
    assert _of_interest(available, judged, 2) == [4, 1]
    assert _of_interest(available, judged, 0) == []
