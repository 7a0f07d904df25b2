import pytest
from studies import run_small, script

import mechcausal as mc

SMALL = {
    "data__pairs__n": 24,
    "data__others__n": 32,
    "data__turned__n": 32,
    "data__many__n": 128,
    "data__applicants__n": 96,
}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_small("hiring_patching", tmp_path_factory.mktemp("run") / "run", **SMALL)


@pytest.fixture(scope="module")
def found(run):
    return script("hiring_patching").answer(run)


def test_the_heads_are_those_of_the_truth(found):
    assert sorted(found["carriers"]) == found["true_carriers"] == ["L1.z.H1", "L1.z.H2"]
    assert found["together"][0] > 0.9
    assert found["left_without"][0] < 0.1
    assert abs(found["gap_silenced"]) < found["gap"] / 8


def test_they_act_through_the_last_mlp(found):
    truth = mc.truth("hiring")["edges"]
    for head, (effect, *_) in found["carriers"].items():
        assert [head, "L2.mlp_out"] in truth
        assert found["paths"]["L2.mlp_out"][head][0] > 0.8 * effect
        assert found["paths"]["logits"][head][0] < 0.25 * effect


def test_the_hypothesis_holds_and_wrong_ones_do_not(found):
    assert found["recovered"][0] > 0.99
    assert max(found["wrong_hypotheses"].values()) < 0.95
    assert found["exchanged"] == dict.fromkeys(("merit", "proxy", "bias", "score"), 1.0)


def test_effects_are_those_of_enumeration(found):
    for (_, low, high), exact in found["effects"].values():
        assert low - 0.02 <= exact <= high + 0.02


def test_the_answer_is_said_and_drawn(run, found):
    analysis = script("hiring_patching")
    assert "2 of 16 heads carry gender" in analysis.say(found)
    page = analysis.page(run, found)
    assert page.count("<svg") >= 4
