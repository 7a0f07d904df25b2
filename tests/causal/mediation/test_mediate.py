"""Mediation against closed forms, the task's causal model, and plain patches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from saved import assert_kept
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.causal import Hypothesis, Place, mediate
from mechcausal.causal.hypothesis import table_of
from mechcausal.causal.mediation.mediate import EFFECTS
from mechcausal.data.tasks import by_hand as formula

PLACES = {"g": "L0.z.H0@end", "s": "L0.z.H2@end", "joint": "L1.mlp_out@end"}


def outcome(worlds, **taken):
    """The formula of the by-hand model, with each of g, s and the neuron from a world of its own."""
    g, s = (worlds[taken.get(name, taken["rest"])][name] for name in ("g", "s"))
    before = worlds[taken["joint"]] if "joint" in taken else {"g": g, "s": s}
    joint = max(before["g"] + before["s"] - 1, 0)
    return formula.DIRECT * g + formula.LEVEL * s + formula.JOINT * joint


def both_change(model):
    """He with a high level against she with a low one: gender and level interact in the neuron."""
    return mc.Contrast.from_text(
        model, ["he high ask", "he high ask"], ["she low ask", "she low ask"], answer="yes", foil="no",
        positions={"gender": [0, 0], "level": [1, 1], "end": [2, 2]}, factor="both",
    )  # fmt: skip


@pytest.mark.parametrize(
    "variables", [("g",), ("s",), ("joint",), ("g", "s"), ("g", "joint"), ("s", "joint"), ("g", "s", "joint")]
)
def test_closed_forms(by_hand, variables):
    worlds = {"high": {"g": 1, "s": 1}, "low": {"g": -1, "s": -1}}
    high, low = outcome(worlds, rest="high"), outcome(worlds, rest="low")
    through = outcome(worlds, rest="low", **dict.fromkeys(variables, "high"))
    past = outcome(worlds, rest="high", **dict.fromkeys(variables, "low"))
    expected = {
        "te": high - low, "nde": past - low, "tde": high - through, "nie_pure": through - low, "nie_total": high - past,
        "interaction": high - past - through + low, "proportion": (high - past) / (high - low),
    }  # fmt: skip
    row = mediate(by_hand, both_change(by_hand), [[PLACES[v] for v in variables]]).frame.iloc[0]
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize("variable", ["g", "s", "joint"])
def test_unit_by_unit_the_effects_of_the_causal_model(by_hand, variable):
    """The causal model of the task as it stands, solved by itself: gender changed, the variable as in either world."""
    scm, pairs = mc.task("by_hand").scm, mc.contrast("by_hand/gender", by_hand, n=16)
    high, low = (scm.counterfactual(table_of(side)) for side in (pairs.clean, pairs.corrupt))
    through = scm.counterfactual(low, **{variable: high[variable]})["log_odds"]
    past = scm.counterfactual(high, **{variable: low[variable]})["log_odds"]
    total, found = high["log_odds"] - low["log_odds"], mediate(by_hand, pairs, [PLACES[variable]]).parts
    expected = {
        "te": total, "nde": past - low["log_odds"], "tde": high["log_odds"] - through,
        "nie_pure": through - low["log_odds"], "nie_total": high["log_odds"] - past,
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][0], values, atol=1e-5, err_msg=name)


def test_gender_and_level_interact_by_the_weight_of_the_neuron(by_hand):
    found = mediate(by_hand, both_change(by_hand), list(PLACES.values())).frame.set_index("mediator")
    assert found["interaction"].to_dict() == pytest.approx({PLACES["g"]: 0.9, PLACES["s"]: 0.9, PLACES["joint"]: 0})
    assert found["te"].tolist() == pytest.approx([4.3] * 3)


def test_every_mediator_at_both_levels(by_hand):
    """With the level the same in both worlds nothing interacts, and the truth that ships with the model is met."""
    truth = mc.truth("by_hand")["gender_effects"]
    pairs = mc.contrast("by_hand/gender", by_hand, n=24)
    sites = [*(f"{site}@end" for site in truth["patch"]), *truth["stream"]]
    found = mediate(by_hand, pairs, sites).by_group().set_index(["mediator", "group"])
    for site, effects in [*truth["patch"].items(), *truth["stream"].items()]:
        name = site if "@" in site else f"{site}@end"
        for level in ("low", "high"):
            row, total, through = found.loc[(name, level)], truth["total"][level], effects[level]
            expected = (total, total - through, total - through, through, through, 0)
            np.testing.assert_allclose(row[list(EFFECTS)].astype(float), expected, atol=1e-5)
            assert row["proportion"] == pytest.approx(through / total, abs=1e-5)


def test_the_variables_of_a_hypothesis(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=24)
    found = mediate(by_hand, pairs, Hypothesis.of("by_hand")).by_group().set_index(["mediator", "group"])["nie_total"]
    assert found[("gender", "high")] == pytest.approx(3.5, abs=1e-5)
    assert found[("level", "high")] == 0
    assert [found[("joint", level)] for level in ("low", "high")] == pytest.approx([0, 0.9], abs=1e-5)


def test_a_subspace_mediates_what_it_holds(by_hand):
    """A head's value has the gender in its first entry; half of that direction's plane holds all of it, the rest none."""
    pairs = both_change(by_hand)
    first, others = [[1.0, 0, 0]], [[0, 1.0, 0], [0, 0, 1.0]]
    parts = {
        "inside": {"site": "L0.z.H0", "at": "end", "basis": first},
        "beside": {"site": "L0.z.H0", "at": "end", "basis": others},
        "oblique": [
            {"site": "L0.z.H0", "at": "end", "basis": [[1.0, 1.0, 0]]},
            Place.parse({"site": "L0.z.H0", "at": "end", "basis": [[0, 1.0, 0]]}),
        ],
        "whole": "L0.z.H0@end",
    }
    found = mediate(by_hand, pairs, parts).frame.set_index("mediator")["nie_pure"]
    assert found["inside"] == pytest.approx(found["whole"], abs=1e-6)
    assert found["oblique"] == pytest.approx(found["whole"], abs=1e-6)
    assert found["beside"] == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def swept():
    pairs = make_pairs(lengths=(7,) * 5, changed=(1, 3, 6))
    return pairs, mediate(
        loaded("gpt2"), pairs, ["L*.z.H*", "L1.mlp_out", "L0.resid_pre@all", "L2.mlp_out@0"], batch_size=3
    )


def test_the_runs_are_patches_in_both_directions(swept):
    pairs, found = swept
    sites = [f"L{layer}.z.H{head}" for layer in range(3) for head in range(4)]
    for direction, values in (("denoise", found.examples), ("noise", found.baselines["reversed"])):
        heads = mc.patch(loaded("gpt2"), pairs, sites=sites, direction=direction)
        streams = mc.patch(loaded("gpt2"), pairs, sites="L1.mlp_out", direction=direction)
        np.testing.assert_allclose(values[:12], heads.examples, atol=1e-5)
        np.testing.assert_allclose(values[12:19], streams.examples, atol=1e-5)
    assert found.frame["mediator"].tolist()[12:] == [
        *(f"L1.mlp_out@{i}" for i in range(7)),
        "L0.resid_pre",
        "L2.mlp_out@0",
    ]


def test_the_decomposition_holds_for_every_example(swept):
    found = swept[1].parts
    for whole, first, second in (
        ("te", "nde", "nie_total"),
        ("te", "tde", "nie_pure"),
        ("nie_total", "nie_pure", "interaction"),
    ):
        np.testing.assert_allclose(found[first] + found[second], found[whole], atol=1e-12)
    assert np.abs(found["interaction"]).max() > 0.01
    means = swept[1].frame
    np.testing.assert_allclose(means["nde"] + means["nie_pure"] + means["interaction"], means["te"], atol=1e-12)


def test_all_of_the_first_stream_carries_everything_and_what_is_not_read_nothing(swept):
    everything, nothing = swept[1].frame.iloc[-2], swept[1].frame.iloc[-1]
    assert everything["nie_pure"] == pytest.approx(everything["te"], abs=1e-5)
    assert everything["nde"] == pytest.approx(0, abs=1e-5)
    assert everything["proportion"] == pytest.approx(1, abs=1e-5)
    assert nothing["nie_total"] == nothing["nie_pure"] == 0
    assert nothing["p"] == nothing["q"] == nothing["p_max"] == 1


def test_a_placebo_is_not_found_and_the_carrier_is(by_hand):
    found = mediate(by_hand, mc.contrast("by_hand/gender", by_hand, n=20), "z").frame.set_index("mediator")
    assert found.loc["L0.z.H0", ["q", "p_max"]].max() < 1e-3
    others = found.drop(index="L0.z.H0")
    assert others[["p", "q", "p_max"]].to_numpy().min() == 1


def test_prompts_that_lack_a_position():
    pairs = make_pairs(lengths=(5, 7, 6), changed=(1, 3), side="left")
    found = mediate(loaded("gpt2"), pairs, "L0.resid_pre", at=[1, 5, 6])
    assert found.frame["n"].tolist() == [3, 2, 1]
    last = found.frame.iloc[2]
    assert last["te"] == pytest.approx(found.baselines["clean"][1] - found.baselines["corrupt"][1])
    right = mediate(loaded("gpt2"), make_pairs(lengths=(5, 7, 6), changed=(1, 3)), "L0.resid_pre", at=[1, 5, 6])
    np.testing.assert_allclose(found.examples, right.examples, atol=1e-5)


def test_a_pair_said_twice_is_one_cluster():
    pairs = make_pairs(lengths=(7,) * 6, changed=(1, 3, 6))
    once = mediate(loaded("gpt2"), pairs, "L1.z.H*").frame
    names = tuple(f"pair {i // 2}" for i in range(12))
    rows = pairs.take([i // 2 for i in range(12)])
    twice = replace(rows, clean=replace(rows.clean, clusters=names), corrupt=replace(rows.corrupt, clusters=names))
    clustered, naive = (mediate(loaded("gpt2"), doubled, "L1.z.H*").frame for doubled in (twice, rows))
    columns = [name for name in once if name.endswith(("_low", "_high")) or name in (*EFFECTS, "p", "q", "p_max")]
    np.testing.assert_allclose(clustered[columns].astype(float), once[columns].astype(float), atol=1e-5)
    assert clustered["n_clusters"].tolist() == [6] * 4
    assert (naive["nie_total_high"] - naive["nie_total_low"] < once["nie_total_high"] - once["nie_total_low"]).all()


def test_two_sets_of_prompts_are_a_contrast(pairs):
    first = mediate(loaded("gpt2"), (pairs.clean, pairs.corrupt), "L1.z.H*")
    np.testing.assert_array_equal(first.examples, mediate(loaded("gpt2"), pairs, "L1.z.H*").examples)


# The hiring organism against its task


def p_accept(model):
    accept = model.tokenizer.convert_tokens_to_ids("accept")

    def p_accept(logits, batch):
        return logits[torch.arange(len(batch)), batch.read_columns].softmax(-1)[:, accept]

    return p_accept


def test_the_network_mediates_what_its_causal_model_does(hiring):
    """Unit by unit: the same applicants, the same variables set, in the network and in the causal model."""
    pairs = mc.task("hiring").contrast(hiring, "gender", 160, seed=5)
    hypothesis, scm = Hypothesis.of("hiring"), mc.task("hiring").scm
    high, low = table_of(pairs.clean), table_of(pairs.corrupt)

    def accepted(table):
        return (table["decision"] == scm.index("decision", "accept")).astype(float)

    sets = {name: (name,) for name in hypothesis.variables} | {"proxy and bias": ("proxy", "bias")}
    places = {name: [part for v in variables for part in hypothesis.alignment[v]] for name, variables in sets.items()}
    found = mediate(hiring, pairs, places, metric=p_accept(hiring))
    np.testing.assert_allclose(
        found.baselines["clean"] - found.baselines["corrupt"], accepted(high) - accepted(low), atol=0.05
    )
    rows = found.frame.set_index("mediator")
    for number, (name, variables) in enumerate(sets.items()):
        through = accepted(scm.counterfactual(low, **{v: high[v] for v in variables}))
        past = accepted(scm.counterfactual(high, **{v: low[v] for v in variables}))
        assert np.abs(found.examples[number] - through).mean() < 0.01
        assert rows.loc[name, "nie_pure"] == pytest.approx((through - accepted(low)).mean(), abs=1e-2)
        assert rows.loc[name, "nie_total"] == pytest.approx((accepted(high) - past).mean(), abs=1e-2)
        assert rows.loc[name, "nde"] == pytest.approx((past - accepted(low)).mean(), abs=1e-2)
    assert rows.loc["proxy", "nie_pure"] > 0.1 < rows.loc["bias", "nie_pure"]
    assert "not on the log-odds scale" in found.provenance.arguments["note"]
    assert "not on the log-odds scale" in found.summary()


# The result


def test_what_the_result_says(by_hand, tmp_path):
    found = mediate(by_hand, mc.contrast("by_hand/gender", by_hand, n=12), ["z", "L1.mlp_out@end"])
    assert "note" not in found.provenance.arguments
    assert "L0.z.H0" in found.summary()
    assert "mediates 100.0%" in repr(found)
    assert "of 9 mediators have a total indirect effect after correction for all of them" in repr(found)
    bars = {row.label.removeprefix("* "): row.label.startswith("* ") for row in found.chart().rows}
    assert bars == dict(zip(found.frame["mediator"], found.survives, strict=True))
    assert "* survives the correction for all 9 cells" in found._repr_html_()
    assert found.top(1)["mediator"].item() == found.frame["mediator"][found.frame["nie_total"].abs().idxmax()]
    assert [trace.name for trace in found.plot().data] == ["direct", "indirect (pure)", "interaction"]
    assert found.plot("nie_total").data[0].z.shape == (2, 4)
    assert found._repr_html_().count("<svg") == 1
    assert_kept(found, tmp_path / "found.parquet")
    assert len(found.chart(k=2).rows) == 6
    assert {row.label for row in found.chart(k=2).rows} == {"* L0.z.H0", "* L1.mlp_out@end"}


def test_the_seed_moves_the_flips_and_nothing_else():
    few = make_pairs(lengths=(7,) * 14, changed=(1, 3, 6))
    first, second, again = (mediate(loaded("gpt2"), few, "L1.z.H*", seed=seed).frame for seed in (0, 1, 0))
    pd.testing.assert_frame_equal(first, again)
    assert not first["p_max"].equals(second["p_max"])
    pd.testing.assert_frame_equal(first.drop(columns="p_max"), second.drop(columns="p_max"))
    assert (first["p_max"] + 1e-9 >= first["p"] / 3).all()
