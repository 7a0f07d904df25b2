import numpy as np
import pytest
from biographies import GENDER, PRONOUN_HEAD, model, odds, population

import mechcausal as mc
from mechcausal import audit
from mechcausal.address import Selection, Site
from mechcausal.audits.desk import Desk
from mechcausal.audits.mitigation.ablating import mean_of
from mechcausal.errors import ArgumentError, MechcausalError, SiteError


@pytest.fixture(scope="module")
def people():
    chosen = np.arange(0, 200, 5)
    whole = population()
    return type(whole)(**{name: column[chosen] for name, column in vars(whole).items()})


@pytest.fixture
def desk():
    return Desk(model(), {})


def measured(desk, mitigation, people):
    """Return the log-odds of senior under a mitigation."""
    with mitigation.applied(desk) as edited:
        return edited.outcomes(people.prompts()) * np.where(people.senior, 1, -1)


def test_the_mean_of_a_head_is_taken_where_it_is_ablated(desk, people):
    prompts = people.prompts()
    g = 2 * people.he.astype(int) - 1
    site = Site.parse(PRONOUN_HEAD)
    mean = mean_of(desk, [site], Selection.parse("@-1"), prompts)[site]
    assert mean == pytest.approx((g.mean(), 0), abs=1e-6)
    got = measured(desk, audit.Ablate(sites=PRONOUN_HEAD, at="@-1", data=prompts), people)
    assert got == pytest.approx(odds(people, 0) + GENDER * g.mean(), abs=1e-5)


def test_a_mean_over_pairs_is_over_both_sides(desk, people):
    pairs = people.pairs(people.changed(he=~people.he), "gender")
    assert measured(desk, audit.Ablate(sites=PRONOUN_HEAD, at="@-1", data=pairs), people) == pytest.approx(
        odds(people, 0), abs=1e-5
    )


@pytest.mark.parametrize("share", [0, 0.25, 0.9, 1])
def test_a_share_of_an_ablation(desk, people, share):
    got = measured(desk, audit.Ablate(sites=PRONOUN_HEAD, to="zero", share=share), people)
    assert got == pytest.approx(odds(people, 1 - share), abs=1e-5)


def test_a_neuron_of_the_stream_is_clamped(desk, people):
    got = measured(desk, audit.Ablate(sites="L0.resid_post.N10", to=0.5), people)
    assert got == pytest.approx(odds(people, 0) + GENDER / 2, abs=1e-5)


def test_features_are_ablated(desk, people):
    vectors = {"gender": np.eye(64)[10].tolist(), "words": np.eye(64)[11].tolist()}
    name = mc.features.directions(model(), "L0.resid_post", vectors, name="planted").name
    got = measured(desk, audit.Ablate(sites=f"L0.resid_post.sae:{name}.F0", to="zero"), people)
    assert got == pytest.approx(odds(people, 0), abs=1e-5)
    pairs = people.pairs(people.changed(he=~people.he), "gender")
    by_mean = audit.Ablate(sites=f"L0.resid_post.sae:{name}.F0", at="@-1", data=pairs, share=0.5)
    assert measured(desk, by_mean, people) == pytest.approx(odds(people, 0.5), abs=1e-5)


def test_a_path_is_ablated_and_nothing_else(desk, people):
    prompts = people.prompts()
    g = 2 * people.he.astype(int) - 1
    got = measured(desk, audit.MeanPath(sender=PRONOUN_HEAD, receiver="logits", data=prompts), people)
    assert got == pytest.approx(odds(people, 0) + GENDER * g.mean(), abs=1e-5)
    untouched = measured(desk, audit.MeanPath(sender=PRONOUN_HEAD, receiver="L0.mlp_out", data=prompts), people)
    assert untouched == pytest.approx(odds(people), abs=1e-5)
    assert len(desk.memory) > 3  # outcomes of each path are remembered apart


def test_what_does_not_fit_is_refused(desk, people):
    prompts = people.prompts()
    with pytest.raises(SiteError, match="no path leads"):
        audit.MeanPath(sender="L0.mlp_out", receiver="L0.q.H0", data=prompts).made(desk)
    with pytest.raises(SiteError, match="no mean that fits"):
        mean_of(desk, [Site.parse("L0.pattern.H0")], Selection.parse(None), prompts)
    with pytest.raises(MechcausalError, match="layer"):
        audit.Ablate(sites="L7.z.H0", to="zero").made(desk)
    path = audit.MeanPath(sender=PRONOUN_HEAD, receiver="logits", data=prompts)
    with path.applied(desk) as edited, pytest.raises(ArgumentError, match="not measured with a path"):
        edited.outcomes(prompts, "kl")
    with (
        audit.Ablate(sites="z", to="zero").applied(desk) as edited, path.applied(edited) as both,
        pytest.raises(ArgumentError, match="together with edits"),
    ):  # fmt: skip
        both.outcomes(prompts)
