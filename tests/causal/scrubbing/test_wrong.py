"""Hypotheses that are wrong in a known way."""

import mechcausal as mc
from mechcausal.causal.hypothesis import Hypothesis


def test_what_was_made_wrong_is_told_apart_and_named(hiring):
    """On the organism, not only through the self-test: every kind is there, fails, and is blamed where it is wrong."""
    hypothesis = Hypothesis.of("hiring")
    prompts = mc.task("hiring").prompts(hiring, 150, environment="broad")
    options = {"seeds": 2, "lonely": "keep"}
    true = mc.scrub(hiring, prompts, hypothesis, **options)
    assert true.recovered.low > 0.97
    assert true.culprit is None
    assert true.controls["effect_high"].max() < 0.9
    wrong = mc.causal.wrong_hypotheses(hiring, prompts, hypothesis)
    assert [one.kind for one in wrong] == [
        "missing variable", "wrong parent", "wrong site", "swapped variables", "over-coarse",
    ]  # fmt: skip
    for one_wrong in wrong:
        found = mc.scrub(hiring, prompts, one_wrong.root, controls=False, **options)
        assert found.recovered.high < 0.9, one_wrong.what
        assert found.culprit in one_wrong.blame, one_wrong.what
