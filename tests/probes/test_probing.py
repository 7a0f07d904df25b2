"""Probes on the organism whose mechanism is known: what can be read, what is possible, and what is not used."""

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.errors import ArgumentError, DataError, SiteError, UnsupportedError
from mechcausal.features import probe
from mechcausal.probes import Probe
from mechcausal.probes.readings import readings


@pytest.fixture(scope="module")
def task():
    return mc.task("hiring")


@pytest.fixture(scope="module")
def prompts(hiring, task):
    return task.prompts(hiring, 400)


@pytest.mark.parametrize(("at", "best"), [("@gender", 1.0), ("@name", 0.95), ("@hobby", 0.75), ("@degree", 0.5)])
def test_at_the_tokens_a_probe_reaches_what_is_possible(hiring, task, prompts, at, best):
    found = probe(hiring, prompts, "gender", "embed", at=at, task=task, mdl=False, control=False)
    assert found.report.bayes == pytest.approx(best)
    # The draw of 400 prompts has its own share of misleading names and hobbies.
    assert found.report.accuracy.estimate == pytest.approx(best, abs=0.08)
    assert found.classes == ("she", "he")


@pytest.mark.slow
def test_readable_is_not_used(hiring, task, prompts):
    """The audit trap: gender is read without error off a head whose loss changes no decision."""
    trap, used = "L2.z.H0", "L1.z.H2"
    before, after = {}, {}
    for site in (trap, used):
        assert probe(hiring, prompts, "gender", site, at="@decision", mdl=False).report.accuracy.estimate > 0.97
        result = mc.ablate(hiring, prompts, sites=site, do="resample", at="@decision", metric="accuracy")
        before[site], after[site] = result.baselines["base"].mean(), result.frame["value"][0]
    assert before[trap] == before[used] == 1.0
    assert after[trap] == 1.0
    assert after[used] < 0.9


@pytest.mark.slow
def test_a_probe_says_what_it_reached_and_how(hiring, task, prompts):
    found = probe(hiring, prompts, "gender", "L2.resid_post", at="@decision", types="name", task=task, permutations=9)
    told = found.report
    assert isinstance(found, Probe)
    assert told.p == 0.1
    assert told.selectivity > 0.1
    assert told.compression > 1.5
    assert told.information.low > 0.6
    assert told.information.estimate == pytest.approx(told.entropy - told.bits)
    x = readings(hiring, prompts, [Place(found.site, found.at)])[0].x
    scores = found.scores(x)
    np.testing.assert_allclose(scores, x @ found.direction.numpy() + float(found.bias), rtol=1e-4, atol=1e-4)
    right = found.predict(x) == np.where(prompts.variables["gender"] == 1, "he", "she")
    assert right.mean() > 0.98
    assert found.scores(torch.tensor(x)[:, None].expand(-1, 3, -1)).shape == (400, 3)
    text = repr(found)
    for word in ("held-out accuracy", "selectivity", "online code", "best possible", "p 0.1"):
        assert word in text
    assert "<pre>" in found._repr_html_()


def test_batches_do_not_matter_and_one_seed_gives_one_probe(hiring, prompts):
    first, second = (
        probe(hiring, prompts, "gender", "L1.resid_post", at="@hobby", batch_size=size, control=False, mdl=False)
        for size in (64, 7)
    )
    torch.testing.assert_close(first.direction, second.direction, atol=1e-4, rtol=1e-3)
    assert first.report.accuracy == second.report.accuracy


@pytest.mark.slow
def test_kinds_with_many_classes_and_without_a_direction(hiring, prompts):
    many = probe(hiring, prompts, "degree", "L0.resid_post", at="@degree", kind="means", control=False, mdl=False)
    assert many.direction.shape == (3, 48)
    assert many.scores(torch.zeros(2, 48)).shape == (2, 3)
    assert many.report.accuracy.estimate == 1.0
    bent = probe(hiring, prompts, "degree", "L0.resid_post", at="@degree", kind="quadratic", control=False, mdl=False)
    assert not bent.linear
    with pytest.raises(UnsupportedError, match="quadratic probe has no direction"):
        _ = bent.direction


def test_pairs_are_read_on_both_sides(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=60)
    found = probe(hiring, pairs, "gender", "L1.resid_post", at="@decision", control=False, mdl=False)
    assert found.fitted["n"] == 120
    assert found.report.accuracy.n_clusters <= 60
    assert found.report.accuracy.estimate > 0.95


@pytest.mark.slow
def test_labels_of_tokens(hiring, prompts):
    words = hiring.tokenizer.convert_ids_to_tokens(prompts.tokens.flatten().tolist())
    kinds = np.array(["person" if word in ("he", "she") else "other" for word in words]).reshape(prompts.tokens.shape)
    found = probe(hiring, prompts, kinds, "embed", at="@all", pool="each", concept="person")
    assert found.report.accuracy.estimate == 1.0
    assert found.report.types > 20  # the tokens
    with pytest.raises(DataError, match="are of tokens, and @all is pooled"):
        probe(hiring, prompts, kinds, "embed", at="@all", concept="person")


def test_wrong_input_is_refused_in_one_sentence(hiring, prompts):
    with pytest.raises(SiteError, match="layer"):
        probe(hiring, prompts, "gender", "L9.resid_post")
    with pytest.raises(SiteError, match="did you mean 'resid_post'"):
        probe(hiring, prompts, "gender", "L1.resid_pots")
    with pytest.raises(SiteError, match="no position called 'hoby'"):
        probe(hiring, prompts, "gender", "L1.resid_post", at="@hoby")
    with pytest.raises(UnsupportedError, match="no fixed width"):
        probe(hiring, prompts, "gender", "L1.pattern.H0")
    few = prompts.take(slice(0, 30))
    with pytest.raises(DataError, match="without a penalty needs more examples than features"):
        probe(hiring, few, "gender", "L1.resid_post", C=np.inf)
    with pytest.raises(ArgumentError, match="no argument 'penalty'"):
        probe(hiring, few, "gender", "L1.resid_post", penalty="l1")
    with pytest.raises(DataError, match="are all"):
        probe(hiring, few, np.ones(30), "L1.resid_post")
    with pytest.raises(DataError, match="the class '1' of 'label' is in one cluster only"):
        probe(hiring, few, [1] + [0] * 29, "L1.resid_post")
    with pytest.raises(ArgumentError, match="'mean' or 'max' or 'each'"):
        probe(hiring, few, "gender", "L1.resid_post", at="@all", pool="sum")
