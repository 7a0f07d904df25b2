"""The page says what was found, also where that is nothing, and marks what the truth has elsewhere."""

import pytest
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.report.tour.page import page_of


@pytest.fixture(scope="module")
def sweep():
    return mc.patch(loaded("gpt2"), make_pairs(), sites="z")


def numbers(**changed):
    row = {"sites": [], "flip_rate": 0.5, "gender_effect": 2.0, "merit_effect": 4.0}
    return {
        "pairs": 8,
        "seed": 0,
        "carries_above": 0.02,
        "matters_above": 1.0,
        "behavior": {
            "accepted_as_he": 0.75, "accepted_as_she": 0.25, "flip_rate": 0.5,
            "total_effect_log_odds": 2.0, "total_effect_interval": [1.5, 2.5],
        },
        "entry": {"positions": ["gender"], "arrived_before_layer": 2},
        "carriers": {"gender": ["L1.z.H1"], "merit": [], "secret": []},
        "reader": "L2.mlp_out",
        "suppression": [row | {"suppressed": "nothing"}, row | {"suppressed": "heads", "merit_effect": 3.0}, row | {"suppressed": "control"}],
        "canary": {
            "candidates": 100, "most_possible_bits": 6.6, "memorized": {"<adam>": 6.6}, "never_seen": {"boris": 1.0},
            "silenced_sites": [], "silenced": {"<adam>": 6.6}, "numbers_when_silenced": 1, "control_sites": [],
            "control": {"<adam>": 6.6}, "extracted": 1,
        },
        "comparison": [{"mechanism": "gender", "found": ["L1.z.H1"], "true": ["L1.z.H2"], "same": False}],
    } | changed  # fmt: skip


def drawn(sweep, **changed):
    sweeps = dict.fromkeys(("stream", "heads", "secret heads"), sweep)
    return page_of("organism:other", numbers(**changed), sweeps).render()


def test_what_was_found_stands_in_the_page(sweep):
    page = drawn(sweep)
    assert "A tour of organism:other: 8 pairs of applicants, seed 0." in page
    assert '<b class="good">75%</b>of the effect of qualification remains then' in page
    assert "The effect enters at: gender. It is at the decision position before layer 2." in page
    assert "<td>L1.z.H1</td><td>L1.z.H2</td><td>NO</td>" in page
    assert "&lt;adam&gt;" in page
    assert "<adam>" not in page


def test_nothing_found_is_said(sweep):
    page = drawn(sweep, carriers={"gender": [], "merit": [], "secret": []}, reader=None)
    assert "Carriers of gender: none." in page
    assert "there is no path to follow" in page
    stays = drawn(sweep, entry={"positions": [], "arrived_before_layer": None})
    assert "The effect enters at: none. It does not reach the decision position." in stays


def test_an_effect_that_is_gone_has_no_share(sweep):
    rows = numbers()["suppression"]
    page = drawn(sweep, suppression=[rows[0] | {"merit_effect": 0.0}, *rows[1:]])
    assert '<b class="good">nothing</b>of the effect of qualification remains then' in page
