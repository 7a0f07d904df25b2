"""Interchange accuracy where the truth is known: in closed form, and in networks trained to have it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from saved import assert_kept

import mechcausal as mc
from mechcausal.causal.alignment.das import das
from mechcausal.causal.alignment.exchange import exchange
from mechcausal.causal.alignment.interchange import interchange, interchange_sweep
from mechcausal.causal.alignment.interchanged import ALIGNED, PLACEBOS, WORST, Sweep
from mechcausal.causal.alignment.pairs import base_rows, draw_pairs
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.hypothesis import Hypothesis, table_of
from mechcausal.data.scm import SCM
from mechcausal.data.tasks import hiring as hiring_task
from mechcausal.errors import DataError, MechcausalError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.models.hooked import Source, forward

HIRING = Hypothesis.of("hiring")


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.task("hiring").prompts(hiring, 128, environment="broad")


@pytest.fixture(scope="module")
def found(hiring, applicants):
    return interchange(hiring, applicants, HIRING, n=128)


def rows(result, role):
    frame = result.frame
    return frame[frame["role"] == role].set_index("variables")


def test_a_network_written_down(by_hand):
    """The answer is the sign of 1.3 g + ...: the gender decides it, level and neuron never do."""
    prompts = mc.task("by_hand").prompts(by_hand, 64)
    result = interchange(by_hand, prompts, Hypothesis.of("by_hand"), n=64)
    aligned = rows(result, ALIGNED)
    assert list(aligned.index) == ["gender", "level", "joint"]
    gender = aligned.loc["gender"]
    assert (gender["value"], gender["iia"], gender["unchanged"]) == (1, 1, 1)
    assert gender["change"] == 1  # unedited, no changed answer is right
    assert 20 < gender["n"] < 44
    for idle in ("level", "joint"):
        assert aligned.loc[idle, "n"] == 0
        assert np.isnan(aligned.loc[idle, "value"])
        assert aligned.loc[idle, "iia"] == aligned.loc[idle, "blind"] == 1
    assert rows(result, WORST).loc["gender", "value"] == 0  # the decoy is a placebo, and does nothing
    assert "level at L0.z.H2@end" in result.summary()
    assert "changes no answer" in result.summary()


def test_sources_run_by_another_model(by_hand, gpt2):
    prompts = mc.task("by_hand").prompts(by_hand, 64)
    options = {"n": 64, "variables": ["gender"], "placebo": False}
    hypothesis = Hypothesis.of("by_hand")
    usual = interchange(by_hand, prompts, hypothesis, **options)
    itself = interchange(by_hand, prompts, hypothesis, source_model=by_hand, **options)
    np.testing.assert_array_equal(itself.frame["value"], usual.frame["value"])
    other = mc.causal.untrained(by_hand, seed=1)
    taken = interchange(by_hand, prompts, hypothesis, source_model=other, **options)
    assert taken.frame.loc[0, "value"] < 1  # a network with random weights does not hold the gender there
    assert taken.provenance.arguments["source_model"]["weights"] != usual.provenance.model["weights"]
    sweep = interchange_sweep(by_hand, prompts, "by_hand", "gender", sites="z", at="@end", n=64, source_model=by_hand)
    assert sweep.top(1)["site"].tolist() == ["L0.z.H0"]
    with pytest.raises(MechcausalError, match=r"shape in the source model|vocabulary"):
        interchange(by_hand, prompts, hypothesis, source_model=gpt2, **options)


def test_the_neuron_by_hand_moves_the_logit_it_should(by_hand):
    """Of he and low with the gender of she: the log-odds go from 0.9 to -1.7, in closed form."""
    prompts = mc.task("by_hand").prompts(by_hand, 64)
    frame = interchange(by_hand, prompts, Hypothesis.of("by_hand"), n=64, variables=["gender"], placebo=False).frame
    assert len(frame) == 1
    low, high = 1.3 - 0.4, 1.3 + 0.4 + 0.9  # of the right answer for he; for she 1.3 + 0.4 and 1.3 - 0.4
    assert 0.9 <= frame["logit_diff"][0] <= high
    assert -high <= frame["logit_diff_base"][0] <= -low


@pytest.mark.slow
@pytest.mark.parametrize("organism", ["hiring", "hiring_subspace"])
def test_organisms(organism, applicants):
    model = mc.load(f"organism:{organism}")
    prompts = applicants if organism == "hiring" else mc.task("hiring").prompts(model, 128, environment="broad")
    hypothesis = Hypothesis.of(organism)
    sets = [*hypothesis.variables, ("merit", "proxy"), ("merit", "bias"), ("merit", "proxy", "bias")]
    result = interchange(model, prompts, hypothesis, n=192, variables=sets, placebo=2)
    aligned, worst = rows(result, ALIGNED), rows(result, WORST)
    assert (aligned["value"] >= 0.98).all()
    assert (aligned["strict"] >= 0.98).all()
    assert (aligned["unchanged"] >= 0.98).all()
    assert (aligned["n"] >= 25).all()
    assert (aligned["value_low"] > aligned["chance"]).all()
    assert (aligned["iia_low"] > aligned["blind"]).all()
    assert (rows(result, PLACEBOS)["value"] <= 0.05).all()
    assert (worst["value"] <= worst["chance"]).all()
    assert (worst["iia"] <= worst["blind"] + 0.1).all()


def test_wrong_places_give_wrong_answers(hiring, applicants):
    swapped = HIRING.replaced(
        alignment=HIRING.alignment | {"proxy": HIRING.alignment["bias"], "bias": HIRING.alignment["proxy"]}
    )
    result = interchange(hiring, applicants, swapped, n=128, variables=["proxy", "bias"], placebo=False)
    assert (result.frame["value"] < 0.5).all()
    elsewhere = HIRING.moved("merit", "L1.z.H3@decision")
    assert interchange(hiring, applicants, elsewhere, n=128, variables=["merit"], placebo=False).frame["value"][0] < 0.1


def test_several_sources_against_one_pair_at_a_time(hiring, applicants, found):
    """The same number, pair by pair, from the formula of the decision and single exchanges."""
    result = interchange(hiring, applicants, HIRING, n=40, variables=[("merit", "bias")], placebo=False, seed=4)
    base = np.random.default_rng([4, 0]).permutation(128)[:40]
    draw = np.random.default_rng([4, 1, 0])
    table = {name: column.numpy() for name, column in applicants.variables.items()}
    words = answer_tokens(hiring, HIRING)
    pairs = draw_pairs(HIRING, table, ["merit", "bias"], base, draw)
    hits = []
    for row in range(40):
        take = lambda i: applicants.take(torch.tensor([i]))  # noqa: E731
        merit, bias = (take(int(pairs.sources[v][row])) for v in ("merit", "bias"))
        logits = exchange(hiring, take(int(pairs.base[row])), ("L1.z.H0@decision", merit), ("L1.z.H2@decision", bias))
        score = table["merit"][pairs.sources["merit"][row]] + 2 * table["proxy"][pairs.base[row]]
        score += table["bias"][pairs.sources["bias"][row]]
        expected = int(hiring_task.decision(np.array([score]))[0])
        assert expected == pairs.expected[row]
        hits.append(int(logits[0, words].argmax()) == expected)
    assert result.frame["iia"][0] == np.mean(hits)
    np.testing.assert_array_equal(result.examples[0], np.where(pairs.changed, hits, np.nan))


def test_one_source_for_all_is_its_own_score(hiring, applicants):
    """With one source for merit, proxy and bias the answer is the source's own."""
    names = ("merit", "proxy", "bias")
    options = {"n": 128, "placebo": False, "seed": 2}
    shared = interchange(hiring, applicants, HIRING, variables=[names], sources="shared", **options)
    score = interchange(hiring, applicants, HIRING, variables=["score"], **options)
    assert shared.frame["value"][0] >= 0.98
    assert shared.frame["n"][0] == score.frame["n"][0]  # drawn alike, so the same pairs change


def test_only_changed_pairs_and_placebos_by_number(hiring, applicants):
    result = interchange(hiring, applicants, HIRING, n=64, variables=["merit"], changed_only=True, placebo=2)
    row = result.frame.iloc[0]
    assert row["n"] == row["n_pairs"] == 64
    assert "2 other places" in set(result.frame["label"])


def test_the_same_seed_gives_the_same_numbers(hiring, applicants, found):
    again = interchange(hiring, applicants, HIRING, n=128, batch_size=50)
    np.testing.assert_array_equal(found.examples, again.examples)
    other = interchange(hiring, applicants, HIRING, n=128, seed=1, placebo=False)
    assert not np.array_equal(found.examples[0], other.examples[0], equal_nan=True)


def test_what_a_result_says(found, tmp_path):
    arguments = found.provenance.arguments
    assert arguments["variables"] == [["merit"], ["proxy"], ["bias"], ["score"]]
    assert "L2.mlp_out@decision" in arguments["hypothesis"]
    json.dumps(found.provenance.to_json())
    assert found.frame["n_clusters"].max() <= 128
    assert_kept(found, tmp_path / "iia.parquet")
    text = found.summary()
    assert "merit at L1.z.H0@decision" in text
    assert "worst placebo" in text
    assert set(found.plot().data[0].x) == {ALIGNED, PLACEBOS, WORST}


def test_groups(found):
    by_group = found.by_group()
    assert {f"merit {merit}" for merit in range(6)} == set(by_group["group"])


# The sweep


@pytest.fixture(scope="module")
def sweep(hiring, applicants):
    return interchange_sweep(hiring, applicants, mc.task("hiring"), "experience", n=64)


def test_a_sweep_follows_the_information(sweep):
    """Experience is at its own word at first and is not yet anywhere else; at last it is in the answer's stream."""
    table = sweep.frame.pivot_table(index="layer", columns="position", values="value")
    assert table.shape == (4, 8)
    assert table.loc[0, 5] >= 0.98  # the embedding of the word and what it alone gives
    assert table.loc[0, [0, 1, 2, 3, 4, 6]].max() <= 0.25
    assert table.loc[3, 5] == 0  # too late to be read
    assert (sweep.frame["n"] >= 50).all()  # a few bases are accepted or rejected whatever the experience


def test_a_sweep_over_heads_finds_the_head(hiring, applicants):
    sweep = interchange_sweep(hiring, applicants, HIRING, "merit", sites="z", at="decision", n=64)
    best = sweep.frame.loc[sweep.frame["value"].idxmax()]
    assert best["site"] == "L1.z.H0"
    assert best["value"] >= 0.98
    assert sweep.frame["value"].sort_values().iloc[-2] <= 0.25
    (grid,) = [figure for figure in sweep.plot().data if figure.type == "heatmap"]
    assert np.shape(grid.z) == (4, 4)


def test_a_sweep_agrees_with_interchange(hiring, applicants):
    """A cell of a sweep is an interchange with the variable there, on the same pairs."""
    sweep = interchange_sweep(hiring, applicants, HIRING, "proxy", sites=["L1.z.H1", "L2.mlp_out"], at="decision", n=64)
    again = interchange_sweep(hiring, applicants, HIRING, "proxy", sites="L1.z.H1", at="decision", n=64)
    np.testing.assert_array_equal(sweep.examples[0], again.examples[0])
    options = {"variables": ["proxy"], "changed_only": True, "placebo": False}
    whole = interchange(hiring, applicants, HIRING, n=128, **options).frame["value"][0]
    assert sweep.frame["value"][0] == whole == 1


def test_a_sweep_is_drawn_as_layers_by_positions(sweep, tmp_path):
    assert isinstance(assert_kept(sweep, tmp_path / "sweep.parquet"), Sweep)
    figure = sweep.plot()
    (grid,) = [data for data in figure.data if data.type == "heatmap"]
    assert list(grid.y) == ["L0", "L1", "L2", "L3"]
    assert list(grid.x)[2:] == ["2 gender", "3 name", "4 degree", "5 experience", "6 hobby", "7 decision"]
    assert "5 experience" in figure.still
    assert sweep.summary().splitlines()[3].startswith("* L0.resid_post@5")
    assert f"{sweep.survives.sum()} of 32 places differ from the unedited run" in sweep.summary()
    assert "chance 0.333" in sweep.summary()


def test_what_a_sweep_refuses(hiring, applicants):
    with pytest.raises(MechcausalError, match=r"'experiense'.*did you mean 'experience'"):
        interchange_sweep(hiring, applicants, mc.task("hiring"), "experiense")
    with pytest.raises(DataError, match="decision"):
        interchange_sweep(hiring, applicants, HIRING, "decision")
    with pytest.raises(DataError, match="name changes the answer of none"):
        interchange_sweep(hiring, applicants, HIRING, "name")


# Sources of another model


@pytest.fixture(scope="module")
def backup():
    return mc.load("organism:hiring_backup")


def test_places_take_what_they_are_in_the_other_model(hiring, backup, applicants):
    """By hand: the base runs in one model with one head as it is in the other, and the answers are counted."""
    part = HIRING.alignment["merit"][0]
    result = interchange(
        hiring, applicants, HIRING, variables=["merit"], n=48, placebo=False, source_model=backup, seed=2
    )
    base = base_rows(48, np.arange(len(applicants)), np.random.default_rng([2, 0]))
    pairs = draw_pairs(HIRING, table_of(applicants), ["merit"], base, np.random.default_rng([2, 1, 0]))
    taken = forward(backup, applicants.take(pairs.sources["merit"]), read=[part.site.whole]).read[part.site.whole]
    prompts = applicants.take(pairs.base)
    mask = prompts.select(part.at)
    run = forward(hiring, prompts, [Edit(part.site, Patch(), part.at)], sources=[Source(taken, mask)])
    words = answer_tokens(hiring, HIRING)
    said = run.logits[torch.arange(48), prompts.read_columns][:, words].argmax(1).numpy()
    expected = np.where(pairs.changed, said == pairs.expected, np.nan)
    np.testing.assert_array_equal(result.examples[0], expected)


# Without a tokenizer


def test_values_given_as_token_ids_need_no_tokenizer(by_hand):
    """The same network and prompts, once with the words of the answer and once with their ids."""
    task, model = mc.task("by_hand"), mc.load("organism:by_hand")
    prompts = task.prompts(by_hand, 48)
    words = answer_tokens(by_hand, Hypothesis.of("by_hand")).tolist()
    scm = SCM(
        "ids", noise=task.scm.noise, mechanisms=task.scm.mechanisms, values=task.scm.values | {task.outcome: words}
    )
    places = dict(Hypothesis.of("by_hand").alignment.items())
    hypothesis = Hypothesis(scm, places, outcome=task.outcome)
    bare = replace(prompts, texts=())
    model.tokenizer = None
    result = interchange(model, bare, hypothesis, n=48)
    expected = interchange(by_hand, prompts, Hypothesis.of("by_hand"), n=48)
    np.testing.assert_array_equal(result.examples, expected.examples)
    found = das(
        model, bare, hypothesis, "gender", "L0.z.H0@end", steps=5, n=16, controls=False, seed=1
    )  # both genders are in each half
    assert len(found.part.basis) == 1
    with pytest.raises(DataError, match="no tokenizer"):
        interchange(model, bare, Hypothesis.of("by_hand"), n=48)
    outside = Hypothesis(
        SCM("ids", noise=scm.noise, mechanisms=scm.mechanisms, values={task.outcome: (3, 99)}),
        places,
        outcome=task.outcome,
    )
    with pytest.raises(DataError, match="99 is no token of this model"):
        interchange(model, bare, outside, n=48)
