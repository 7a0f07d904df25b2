import math

import numpy as np
import pytest
from studies import run_small, script

import mechcausal as mc
from mechcausal.models.wheels import WHEELS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_small("canaries", tmp_path_factory.mktemp("run") / "run", only=["counted", "located"])


@pytest.fixture(scope="module")
def found(run):
    return script("canaries").answer(run)


@pytest.mark.slow
def test_only_what_was_shown_often_is_given_away(found):
    """The card of the organism says that numbers shown 64 times come out, and the others do not."""
    means = {count: mean for count, (mean, _, _) in found["counted"]["by_count"].items()}
    assert means[64] == pytest.approx(math.log2(10_000))
    assert all(means[count] < 4 for count in (0, 1, 4, 16))
    _, low, high = found["counted"]["by_count"][0]
    assert low < 1.443 < high
    assert "random" in found["counted"]["controls"]


@pytest.mark.slow
def test_the_head_is_the_one_that_keeps_them(found):
    located = found["located"]
    assert located["units"] == [located["true"]] == ["L2.z.H3"]
    without = located["without"]
    assert without["found by ablation"]["exposure"] < 4 < without["found by ablation"]["exposure_before"]
    assert without["found by ablation"]["loss_rise"] < 0.01
    assert without["random units"]["logprob_fall"] < 0.01


@pytest.mark.slow
def test_the_answer_is_said_and_drawn(run, found):
    analysis = script("canaries")
    assert "the organism keeps them at L2.z.H3" in analysis.say(found)
    assert analysis.page(run, found).count("<svg") == 2


@pytest.mark.real
@pytest.mark.skipif(WHEELS["smollm2"].file() is None, reason=f"smollm2 is not installed: {WHEELS['smollm2'].command}")
def test_codes_shown_more_often_are_given_away_more(tmp_path, monkeypatch):
    """Four of the codes are enough to see it, and to see that the numbers are those of the card."""
    from mechcausal.audits.privacy import canaries

    every = canaries.SHIPPED["smollm2_canaries"](0)
    counts = np.array(every.counts)
    few = np.concatenate([np.flatnonzero(counts == count)[:2] for count in (0, 64)])
    monkeypatch.setitem(canaries.SHIPPED, "smollm2_canaries", lambda seed: every.take(few))
    run = run_small("canaries", tmp_path / "run", only=["planted"])
    found = script("canaries").answer(run)["planted"]
    stated = mc.truth("smollm2_canaries")["measured"]["adapted"]["exposure"]
    for count in (0, 64):
        names = [every.names[row] for row in few if counts[row] == count]
        if all(name in stated for name in names):
            assert found["by_count"][count][0] == pytest.approx(np.mean([stated[name] for name in names]), abs=0.05)
    assert found["by_count"][64][0] > 12 > 4 > found["by_count"][0][0]
    assert found["control_means"]["no-learning"] < 4
