"""Effects on the scale of odds: the published numbers of Vig et al. (2020) to the last digits (A2)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mechcausal import audit
from mechcausal.audits.selftest.stored import FOLDER
from mechcausal.errors import DataError

RESULTS = Path(os.environ.get("MECHCAUSAL_DATA", "no-such-folder")) / "vig2020" / "results"
KEPT = json.loads((FOLDER / "vig2020.json").read_text())
published = pytest.mark.skipif(
    not RESULTS.is_dir(), reason="MECHCAUSAL_DATA does not name the folder of the public data sets"
)


@pytest.mark.parametrize(("part", "total"), [("filtered", 0.24927373829191876), ("unfiltered", 0.11455855522365835)])
def test_total_effects_of_gpt2_on_winobias(part, total):
    probabilities = np.array(KEPT[part])
    effects = audit.odds_effects(probabilities[:, :2], probabilities[:, 2:])
    assert effects.mean("te") == pytest.approx(total, abs=1e-12)
    assert (
        round(effects.mean("te"), 4 if part == "unfiltered" else 6)
        == {"filtered": 0.249274, "unfiltered": 0.1146}[part]
    )


def test_choosing_by_the_outcome_is_what_makes_the_published_number_large():
    """On log-odds, unfiltered, with its interval: about 0.09, in place of the 0.25 of the chosen examples."""
    probabilities = np.array(KEPT["unfiltered"])
    effects = audit.odds_effects(probabilities[:, :2], probabilities[:, 2:])
    assert np.log1p(effects.te).mean() == pytest.approx(0.091, abs=5e-4)
    estimate = effects.estimate()
    assert estimate.low < effects.mean() < estimate.high


@published
def test_the_published_effects_of_gpt2():
    filtered = audit.stored_effects(RESULTS / "winobias_gpt2_filtered_dev.json")
    for what, value in {"te": 0.249274, "nie": 0.182031, "nde": 0.079363}.items():
        stored = {"te": "mean_total_effect", "nie": "mean_model_indirect_effect", "nde": "mean_model_direct_effect"}[
            what
        ]
        assert filtered.mean(what) == pytest.approx(filtered.facts[stored], abs=1e-9)
        assert round(filtered.mean(what), 6) == value
    top = filtered.heads().iloc[0]
    assert (top["layer"], top["head"]) == (5, 8)
    unfiltered = audit.stored_effects(RESULTS / "winobias_gpt2_unfiltered_dev.json")
    assert unfiltered.mean() == pytest.approx(unfiltered.facts["mean_total_effect"], abs=1e-9)
    heads = unfiltered.heads()
    assert len(heads) == 144
    assert [int((heads[name] < 0.05).sum()) for name in ("p", "q", "p_max")] == [33, 14, 14]
    assert (heads["layer"][0], heads["head"][0]) == (5, 8)


@published
def test_every_stored_total_effect_is_that_of_its_probabilities():
    for file in sorted(RESULTS.glob("*.json")):
        stored = np.array([row["total_effect"] for row in json.loads(file.read_text())["results"]])
        np.testing.assert_allclose(audit.stored_effects(file).te, stored, atol=1e-12)


@published
def test_random_weights_have_an_effect_if_examples_are_chosen_by_it():
    random = audit.stored_effects(RESULTS / "winobias_gpt2_random_filtered_dev.json")
    assert random.estimate().low > 0.03
    assert random.mean() == pytest.approx(0.066, abs=5e-4)


def test_wrong_input_is_refused(tmp_path):
    with pytest.raises(DataError, match="no probabilities"):
        audit.odds_effects([[0.0, 0.5]], [[0.5, 0.5]])
    with pytest.raises(DataError, match="no probabilities of two candidates"):
        audit.odds_effects([0.1, 0.5], [[0.5, 0.5]])
    with pytest.raises(DataError, match="differ in length"):
        audit.odds_effects([[0.1, 0.5]], [[0.5, 0.5]] * 2)
    with pytest.raises(DataError, match="no file"):
        audit.stored_effects(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text('{"results": [{"candidate1_base_prob": 0.1}]}')
    with pytest.raises(DataError, match="no stored effects"):
        audit.stored_effects(tmp_path / "odd.json")
    effects = audit.odds_effects([[0.1, 0.5]], [[0.5, 0.5]])
    with pytest.raises(DataError, match="no effects of heads"):
        effects.heads()
    with pytest.raises(DataError, match="no effect 'tee'"):
        effects.mean("tee")


@pytest.mark.parametrize(
    "wrong", [0, 1.5, "x", b"x", [], {}, object(), int, [["a"], ["b"]], [None]], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("name", ["base", "swapped", "through", "past"])
def test_what_holds_no_probabilities_is_refused(name, wrong):
    given = {"base": [[0.1, 0.2]], "swapped": [[0.1, 0.2]]} | {name: wrong}
    with pytest.raises(DataError):
        audit.odds_effects(**given)
