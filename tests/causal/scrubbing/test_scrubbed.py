"""What a result of scrubbing says and shows, on numbers made up so that the answers are known."""

import numpy as np
import pandas as pd
import pytest
from saved import assert_kept

import mechcausal as mc
from mechcausal.causal import Hypothesis, Place, Scrubbed
from mechcausal.causal.scrubbing.judged import Row, Scale, frame_of
from mechcausal.errors import ResultError
from mechcausal.results.provenance import Provenance

UNTOUCHED, OTHERS = -0.5, -4.5  # so that a share of one is worth 4


def made(shares, method="scrub", seed=0):
    """Return a result whose rows (node, kind) recover these shares of every example, give or take the same noise."""
    noise = np.random.default_rng(seed).normal(0, 0.02, 40)
    rows = [
        Row.of(
            node, kind, (Place.parse("L1.z.H0@-1"),) if kind in ("claim", "rest") else (), OTHERS + 4 * (share + noise),
            accuracy=share, agreement=share, kl=1 - share, self_hits=0.0,
        )
        for (node, kind), share in shares.items()
    ]  # fmt: skip
    clean, others = np.full(40, UNTOUCHED), np.full((1, 40), OTHERS)
    scale = Scale(np.arange(40), np.arange(40), clean, others, np.arange(40)[None])
    baselines = {"base": clean, "clean": clean, "corrupt": others[0]}
    clusters = tuple(f"prompt {i}" for i in range(40))
    frame, examples = frame_of(rows, scale, baselines, clusters)
    arguments = {"references": 40, "draws": 1, "metric": "logprob"}
    compute = {"forwards": 7, "naive_forwards": 70}
    return Scrubbed(frame, Provenance(method, arguments, {}, {}, compute, 0), examples, baselines, (), clusters)


SCRUBBED = {
    ("hypothesis", "hypothesis"): 0.6, ("merit", "claim"): 0.65, ("bias", "claim"): 0.95, ("score", "rest"): 0.6,
    ("bias", "rest"): 0.62, ("features permuted", "control"): 0.1, ("sites shuffled", "control"): 0.05,
}  # fmt: skip
LADDER = {("nothing", "nothing"): 1.0, ("merit", "claim"): 0.97, ("bias", "claim"): 0.4, ("score", "rest"): 0.35}


def test_the_share_recovered_and_what_gives_it_back():
    found = made(SCRUBBED)
    assert found.recovered.estimate == pytest.approx(0.6, abs=0.01)
    assert found.recovered.low < 0.6 < found.recovered.high
    by_node = found.by_node
    assert [tuple(row) for row in by_node[["node", "kind"]].to_numpy()] == [
        ("bias", "claim"), ("merit", "claim"), ("bias", "rest"), ("score", "rest"),
    ]  # fmt: skip
    np.testing.assert_allclose(by_node["gain"], [0.35, 0.05, 0.02, 0], atol=1e-9)
    assert found.culprit == ("bias", "claim")
    assert found.controls["node"].tolist() == ["features permuted", "sites shuffled"]
    none = made({("hypothesis", "hypothesis"): 1.0, ("merit", "claim"): 1.0})
    assert none.culprit is None
    assert "no claim of the hypothesis loses a notable share" in none.summary()


def test_it_is_told_in_words():
    said = repr(made(SCRUBBED))
    assert "most is lost by the claim about 'bias'" in said
    assert "gives back +35.0%" in said
    assert "control, features permuted" in said
    assert len(said.splitlines()) < 12
    assert "merit: claim" in made(LADDER, "ladder").summary()


def test_bars_of_what_is_recovered():
    found = made(SCRUBBED)
    chart = found.chart()
    assert [(row.label, row.group) for row in chart.rows] == [
        ("hypothesis", "hypothesis"), ("features permuted", "control"), ("sites shuffled", "control"),
    ]  # fmt: skip
    assert [row.value for row in chart.rows] == pytest.approx([0.6, 0.1, 0.05], abs=0.01)
    assert all(row.low < row.value < row.high for row in chart.rows)
    drawn = found.plot()
    assert [trace.name for trace in drawn.data] == ["hypothesis", "control"]
    assert drawn.data[1].x == tuple(row.value for row in chart.rows[1:])


def test_bars_of_the_damage():
    found = made(SCRUBBED)
    rows = found.damage().rows
    assert [row.label for row in rows] == [
        "* bias",
        "* bias",
        "* merit",
        "score",
    ]  # both claims of a node stand together
    assert [row.group for row in rows] == [
        "what it is said to depend on", "what else it reads", "what it is said to depend on", "what else it reads",
    ]  # fmt: skip
    assert [row.value for row in rows] == pytest.approx([0.35, 0.02, 0.05, 0], abs=1e-9)
    assert {row.label for row in found.damage(k=1).rows} == {"* bias"}
    assert found.damage().note == f"* survives the correction for all {len(found)} cells"
    marked = [f"sparing {row['node']}: {row['kind']}" for _, row in found.by_node.iterrows() if row["p_max"] <= 0.05]
    assert [
        line.split(" gives")[0][2:].strip() for line in found.summary().splitlines() if line.startswith("* spar")
    ] == marked
    assert found.plot("damage").data[0].x == pytest.approx((0.35, 0.05), abs=1e-9)
    upside_down = made({("hypothesis", "hypothesis"): 0.6, ("score", "rest"): 0.9, ("bias", "claim"): 0.7})
    assert upside_down.damage().groups == found.damage().groups


def test_a_ladder_is_a_stair():
    chart = made(LADDER, "ladder").chart()
    assert [row.label for row in chart.rows] == ["nothing", "merit: claim", "bias: claim", "score: rest"]
    assert [row.value for row in chart.rows] == pytest.approx([1, 0.97, 0.4, 0.35], abs=0.01)
    drawn = made(LADDER, "ladder").plot()
    assert drawn.data[-1].line.shape == "vhv"
    assert drawn.data[-1].x == drawn.data[0].x
    assert "<polyline" in drawn.still
    assert "<polyline" not in made(SCRUBBED).plot().still


@pytest.mark.parametrize(("shares", "method"), [(SCRUBBED, "scrub"), (LADDER, "ladder")])
def test_it_is_loaded_as_it_was_saved(shares, method, tmp_path):
    assert_kept(made(shares, method), tmp_path / "scrubbed.parquet")


def test_the_page_shows_what_there_is():
    assert made(SCRUBBED)._repr_html_().count("<svg") == 2
    assert made(LADDER, "ladder")._repr_html_().count("<svg") == 1
    bare = made({("hypothesis", "hypothesis"): 0.6})
    assert bare._repr_html_().count("<svg") == 1
    for without in (bare, made(LADDER, "ladder")):
        with pytest.raises(ResultError, match=r"no claim was spared in turn.*report=True"):
            without.plot("damage")
    assert made(SCRUBBED).plot("accuracy").data[0].z.size > 0


@pytest.mark.slow
def test_what_an_organism_gives(hiring, tmp_path):
    prompts = mc.task("hiring").prompts(hiring, 120, environment="broad")
    options = {"n": 24, "seeds": 1, "lonely": "keep"}
    found = mc.causal.scrub(hiring, prompts, Hypothesis.of("hiring"), **options)
    assert found.chart().rows[0].value == pytest.approx(found.recovered.estimate)
    assert {row.label for row in found.damage().rows} == set(found.by_node["node"])
    assert found.plot().still
    assert found.plot("damage").still
    stair = mc.causal.ladder(hiring, prompts, Hypothesis.of("hiring"), **options)
    assert [row.value for row in stair.chart().rows] == stair.frame["effect"].tolist()
    back = mc.results.load(stair.save(tmp_path / "stair.parquet"))
    pd.testing.assert_frame_equal(back.frame, stair.frame)
