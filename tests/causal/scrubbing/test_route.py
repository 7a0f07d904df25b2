"""Where a run begins and ends, counted by hand."""

import pytest

from mechcausal.address import Site
from mechcausal.causal.scrubbing.route import Route, arrival, layer_after, layer_before


def test_a_route_computes_the_rectangle_of_its_layers_and_columns():
    for first in range(4):
        for stop in range(5):
            for start in range(6):
                computed = {(layer, column) for layer in range(first, stop) for column in range(start, 6)}
                assert Route(first, stop, start, fast=True).token_layers(4, 6) == len(computed)
    assert Route(2, 3, 5, fast=False).token_layers(4, 6) == 24  # through hooks everything is computed


@pytest.mark.parametrize(
    ("text", "arrives", "before", "after"),
    [
        ("embed", "L0.resid_pre", 0, 0),
        ("L2.resid_pre", "L2.resid_pre", 2, 2),
        ("L2.z.H1", "L2.z", 2, 3),
        ("L2.mlp_post.N5", "L2.mlp_post", 2, 3),
        ("L2.resid_post", "L2.resid_post", 3, 3),
    ],
)
def test_an_edit_needs_the_layers_behind_it_and_a_reading_those_before_it(text, arrives, before, after):
    site = Site.parse(text)
    assert str(arrival(site)) == arrives
    assert layer_before(site) == before
    assert layer_after(site) == after
