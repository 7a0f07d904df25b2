"""Gender on a small random model: the total effect and the stream are those of the methods."""

import pytest
from real_tour_findings import findings

pytestmark = pytest.mark.slow


def test_the_stream_begins_at_the_occupation_and_ends_at_the_end():
    numbers = findings().numbers["gender"]
    where = {(row["site"], row["at"]): row["used"] for row in numbers["stream"]}
    assert abs(where["L3.resid_post", "@end"] - 1) < 1e-3
    assert abs(where["L3.resid_post", "@who"]) < 1e-3
    assert len(where) == 8
    low, high = numbers["total_effect"][1:]
    assert low <= numbers["total_effect"][0] <= high
    assert numbers["passes_over"] is not None
    assert len(numbers["heads"]) == len(numbers["sublayers"]) == 5


def test_the_tuned_lens_is_exact_at_the_last_layer():
    last = findings().numbers["gender"]["tuned"][-1]
    assert abs(last["tuned_lens"]) < 1e-5
