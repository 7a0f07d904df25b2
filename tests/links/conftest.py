"""The linear network with a planted direction, and two candidates of which one alone is used."""

from __future__ import annotations

import linear
import planted
import pytest

import mechcausal as mc
from mechcausal.links.linking import Linking
from mechcausal.models.binding import attach, detach


@pytest.fixture(scope="session")
def linear_network(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="session")
def linear_pairs(linear_network):
    return planted.pairs(linear_network)


@pytest.fixture
def directions(linear_network):
    """The used direction `a` and the idle direction `e` as candidates."""
    return mc.features.directions(linear_network, planted.SITE, {"a": planted.A, "e": planted.E0}, name="planted")


@pytest.fixture
def asked(directions):
    """Return a specification of a link of the two directions, with other fields changed."""
    return lambda **changes: Linking(directions, "high", **({"redrawn": 0, "details": 0, "random": 8} | changes))


@pytest.fixture
def attached(linear_network):
    """Attach a dictionary for the length of a test."""
    names = []

    def attach_(dictionary, name):
        names.append(name)
        return attach(linear_network, dictionary, planted.SITE, name=name)

    yield attach_
    for name in names:
        detach(linear_network, name)
