import os
from pathlib import Path

import numpy as np
import pytest
from studies import EXPERIMENTS, run_small, script

import mechcausal as mc
from mechcausal.models.wheels import WHEELS

RESULTS = Path(os.environ.get("MECHCAUSAL_DATA", "no-such-folder")) / "vig2020" / "results"
real = pytest.mark.skipif(
    WHEELS["smollm2"].file() is None, reason=f"smollm2 is not installed: {WHEELS['smollm2'].command}"
)
SMALL = {
    **{f"data__{name}__n": 3 for name in ("occupations", "winogender", "winobias", "many_winogender", "many_winobias")},
    "step__heads__sites": ["L25.z.H2", "L26.z.H2", "L26.z.H0", "L3.z.H1"],
    "step__layers__sites": ["L25.attn_out", "L26.attn_out", "L27.attn_out", "L29.mlp_out"],
}  # fmt: skip


@pytest.mark.parametrize(
    "folder",
    [
        None,
        pytest.param(RESULTS, marks=pytest.mark.skipif(not RESULTS.is_dir(), reason="MECHCAUSAL_DATA does not name the folder of the public data sets")),
    ],
)  # fmt: skip
def test_the_published_effects_of_gpt2_are_recomputed(folder):
    rows = {row["what"]: row for row in script("gender_mediation").published(folder)}
    for name, digits in {"te": 6, "nie": 6, "nde": 6, "te of all examples": 4}.items():
        assert round(rows[name]["here"], digits) == rows[name]["published"]
    assert rows["head with the largest effect"]["here"] == "5.8"
    assert rows["heads with an effect, of 144"]["here"] == 14


def test_effects_on_both_scales_are_those_of_probabilities():
    """Four runs of one pair, their probabilities written down: the odds of the other answer double, and so on."""
    probabilities = {"clean": (0.4, 0.1), "corrupt": (0.2, 0.2), "from_corrupt": (0.3, 0.15), "from_clean": (0.3, 0.1)}
    odds = {name: np.array([np.log(p / q)]) for name, (p, q) in probabilities.items()}
    found = script("gender_mediation").on_both_scales(**odds)
    y = {name: q / p for name, (p, q) in probabilities.items()}
    assert found["te_odds"] == pytest.approx([y["corrupt"] / y["clean"] - 1])
    assert found["nie_odds"] == pytest.approx([y["from_corrupt"] / y["clean"] - 1])
    assert found["nde_odds"] == pytest.approx([y["from_clean"] / y["clean"] - 1])
    assert found["te"] == pytest.approx([np.log(4)])


def test_the_experiment_is_read_without_a_problem():
    mc.Experiment.read(EXPERIMENTS / "gender_mediation" / "experiment.toml")


@pytest.mark.real
@real
def test_the_study_in_small(tmp_path):
    run = run_small("gender_mediation", tmp_path / "run", **SMALL)
    analysis = script("gender_mediation")
    found = analysis.answer(run)
    assert found["checked"] < 1e-3
    # The two largest of the whole study; which of them is first differs from pair to pair.
    assert {head["site"] for head in found["effects"]["occupations"]["heads"][:2]} == {"L25.z.H2", "L26.z.H2"}
    assert found["totals"]["occupations"]["te"][0] > 1
    assert "<svg" in analysis.figure(found)
    assert "recomputed here" in analysis.text(found)
