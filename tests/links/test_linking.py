"""The whole of a link: what stands in the result, what was chosen by one half, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import planted
import pytest
import torch
from pandas.testing import assert_frame_equal
from saved import assert_kept

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data.splits import cluster_numbers, split, units
from mechcausal.errors import ArgumentError, DataError, ResultError, SiteError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.links import Links
from mechcausal.links.figure import points
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCONCLUSIVE, VERDICTS
from mechcausal.metrics import metric
from mechcausal.models.binding import attach
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.hooked import forward
from mechcausal.probes import probe
from mechcausal.probes.labels import one_set
from mechcausal.report.links import write_links
from mechcausal.results.shares import shares

HEADS = "L1.z.H*"


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, 80)


@pytest.fixture(scope="module")
def neutral(hiring):
    return mc.task("hiring_secret").prompts(hiring, 24)


@pytest.fixture(scope="module")
def links(hiring, pairs, neutral):
    own = probe(hiring, mc.task("hiring").prompts(hiring, 200), "gender", "L1.resid_post", control=False, mdl=False)
    return mc.link(hiring, pairs, [HEADS, "L2.mlp_out"], own, also="proxy", neutral=neutral, redrawn=8)


def test_the_verdicts_are_those_of_the_organism(links):
    found = {name: links.verdict_of(name) for name in links.frame["candidate"]}
    assert found == {
        "L1.z.H0": CORRELATE, "L1.z.H1": CAUSAL, "L1.z.H2": CAUSAL, "L1.z.H3": CORRELATE, "L2.mlp_out": CAUSAL,
    }  # fmt: skip
    assert links.concepts == ("gender",)


@pytest.mark.slow
def test_a_concept_in_which_the_pairs_do_not_differ_is_not_judged(hiring, pairs):
    # The head of merit reads the degree, and the behavior uses it; pairs that leave the degree alone cannot show it.
    quick = {"redrawn": 0, "details": 0, "random": 0}
    blind = mc.link(hiring, pairs, HEADS, ["degree", "proxy"], **quick)
    assert set(blind.frame["verdict"]) == {INCONCLUSIVE}
    assert blind.of("degree 2").set_index("candidate").loc["L1.z.H0", ["available", "used"]].tolist() == ["yes", "no"]
    assert "differ in degree 2 never" in blind.of("degree 2")["why"].iloc[0]
    assert "of the pairs only" in blind.of("proxy")["why"].iloc[0]
    seeing = mc.link(hiring, mc.contrast("hiring/merit", hiring, 80), HEADS, "degree", **quick)
    assert seeing.verdict_of("L1.z.H0") == CAUSAL


def test_shares_are_what_patching_says(hiring, pairs, links):
    rows = links.of("gender").set_index("candidate")
    swept = mc.patch(hiring, pairs, sites=HEADS)
    own = split(cluster_numbers([str(i) for i in range(80)], 80), 0.5, 0)[1]  # not the same pairs, but as many
    assert len(own) == pytest.approx(links.examples.shape[1], abs=6)
    full = swept.frame.set_index("site")
    for head in ("L1.z.H0", "L1.z.H1", "L1.z.H2", "L1.z.H3"):
        low, high = full.loc[head, "effect_low"], full.loc[head, "effect_high"]
        assert low - 0.2 < rows.loc[head, "share"] < high + 0.2
        assert rows.loc[head, "effect"] == pytest.approx(rows.loc[head, "share"], abs=1e-6)


@pytest.mark.slow
def test_fast_and_naive_agree(hiring, pairs, links):
    naive = mc.link(hiring, pairs, [HEADS, "L2.mlp_out"], ["gender"], redrawn=0, details=0, random=0, exact="naive")
    assert naive.frame["share"].to_numpy() == pytest.approx(links.of("gender")["share"].to_numpy(), abs=1e-4)
    assert links.provenance.compute["engine"] == "replay"
    assert links.provenance.compute["ratio"] > 2
    assert naive.provenance.compute["engine"] == "naive"


def test_what_else_a_candidate_does(hiring, pairs, neutral, links):
    rows = links.of("gender").set_index("candidate")
    bias, proxy = rows.loc["L1.z.H2"], rows.loc["L1.z.H1"]
    # The probe reads gender off the stream behind layer 1, where one head writes it and the other the hobby.
    assert bias["on_probe"] > 3 * abs(proxy["on_probe"])
    assert bias["other_probe"] == "proxy"
    assert bias["worst_group"].startswith("merit")
    assert abs(bias["worst_group_share"]) >= abs(bias["share"]) - 0.05
    # By hand: the mean of the head over neutral text in its place, at every token.
    site = Site("z", 1, head=2)
    z = forward(hiring, neutral, read=[site.whole]).read[site.whole]
    mean = z[neutral.mask][:, 2].mean(0)
    batch = neutral
    edit = Edit(site, mc.interventions.Set(tuple(mean.tolist())))
    old, new = (
        forward(hiring, batch, edits).logits[torch.arange(24), batch.lengths - 1].log_softmax(-1)
        for edits in ([], [edit])
    )
    kl = (old.exp() * (old - new)).sum(-1).mean()
    assert bias["kl_neutral"] == pytest.approx(float(kl), abs=1e-5)
    assert rows["peers"].tolist() == [3, 3, 3, 3, 0]
    assert proxy["peers_percentile"] == pytest.approx(200 / 3)


def test_the_chosen_set(links):
    chosen = links.tables["chosen"]
    assert set(chosen["members"]) >= {"L2.mlp_out", "L1.z.H1", "L1.z.H2"}
    assert chosen["share_low"] < chosen["share"] < chosen["share_high"]
    assert chosen["share"] > 0.9


def test_the_summary_names_the_null_distributions(links):
    text = links.summary()
    assert "copies with redrawn weights have total effects" in text
    assert "with shuffled labels" in text
    assert "estimated on" in text
    counts = links.frame["verdict"].value_counts()
    assert all(f"{count} {verdict}" in text for verdict, count in counts.items())
    for _, row in links.frame[links.frame["verdict"] == CAUSAL].iterrows():
        words = ["*"] * (row["p_max"] <= 0.05) + [CAUSAL, row["candidate"]]
        line = next(line for line in text.splitlines() if line.split()[: len(words)] == words)
        assert f"[{row['share_low']:+.1%}, {row['share_high']:+.1%}]" in line


def test_a_saved_link_is_the_same_link(links, tmp_path):
    assert_kept(links, tmp_path / "links.parquet")


def test_only_a_link_is_loaded_as_one(hiring, pairs, tmp_path):
    swept = mc.patch(hiring, pairs.take(range(8)), sites="L1.z.H0").save(tmp_path / "patch.parquet")
    with pytest.raises(ResultError, match=r"is not a Links \(got Result\)"):
        Links.load(swept)


def test_the_picture(links):
    drawn = links.plot()
    names = {trace.name for trace in drawn.data}
    assert {CAUSAL, CORRELATE} <= names <= set(VERDICTS)
    rows = points(links, "gender")
    assert (rows["x"] >= 0.5).all()
    assert (rows["x_low"] <= rows["x"]).all()
    assert (rows["x"] <= rows["x_high"]).all()
    svg = links.still()
    assert svg.count("<circle") + svg.count('width="8" height="8"') == len(links)
    assert "L1.z.H2" in svg
    assert "script" not in svg
    assert "used: share of the total effect" in svg


def test_the_report_opens_offline(links, tmp_path):
    data = write_links(
        {"hiring": links}, tmp_path / "link.html", title="<b>Links</b>", notes={"other": "Not run: too few."}
    )
    page = (tmp_path / "link.html").read_text()
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "&lt;b&gt;Links" in page
    assert "Not run: too few." in page
    numbers = json.loads(data.read_text())["hiring"]
    assert len(numbers["rows"]) == len(links)
    assert numbers["rows"][0]["verdict"] in VERDICTS
    assert numbers["total"]["effect"] == links.tables["total"]["effect"]
    assert all(candidate in page for candidate in links.verdicts[CAUSAL])


@pytest.mark.slow
def test_denoising_and_means(hiring, pairs):
    quick = {"redrawn": 0, "details": 0, "random": 0, "at": "@decision"}
    noise, denoise, mean = (
        mc.link(hiring, pairs, HEADS, "gender", **quick, **how) for how in ({"direction": "noise"}, {}, {"do": "mean"})
    )
    rows = [one.frame.set_index("candidate")["share"] for one in (noise, denoise, mean)]
    assert rows[1]["L1.z.H2"] == pytest.approx(rows[0]["L1.z.H2"], abs=0.2)
    assert noise.tables["total"]["effect"] == pytest.approx(-denoise.tables["total"]["effect"])
    assert denoise.frame.set_index("candidate").loc["L1.z.H2", "effect"] == pytest.approx(rows[1]["L1.z.H2"], abs=1e-6)
    assert 0 < rows[2]["L1.z.H2"] < rows[0]["L1.z.H2"]  # the mean lies between the two sides


def test_the_effect_of_the_chosen_lies_in_its_interval_as_often_as_it_says(hiring):
    """Choose by one half of 64 pairs, estimate on the other, against 600 pairs that stand for all of them."""
    everyone = mc.contrast("hiring/gender", hiring, 600, seed=5)
    sites = [Site("z", layer, head=head) for layer in range(4) for head in range(4)]
    plan = Plan(everyone.clean, [(Edit(site, Patch()),) for site in sites], metric("logit_diff"), rows=everyone.corrupt)
    found = evaluate(hiring, plan, batch_size=128, unedited=True)
    change, total = found.values - found.unedited["base"], found.unedited["source"] - found.unedited["base"]
    truth = change.mean(axis=1) / total.mean()
    draw, inside, chosen_more, runs = np.random.default_rng(0), 0, [], 300
    for _ in range(runs):
        some = draw.permutation(600)[:64]
        a, b = some[:32], some[32:]
        best = int(shares(change[:, a], total[a]).share.argmax())
        estimate = shares(change[[best]][:, b], total[b])
        inside += bool(estimate.low[0] <= truth[best] <= estimate.high[0])
        chosen_more.append(shares(change[[best]][:, a], total[a]).share[0] - estimate.share[0])
    assert inside / runs == pytest.approx(0.95, abs=0.035)  # 2.8 standard errors
    assert np.mean(chosen_more) > 0  # by the half they were chosen on they would look larger


@pytest.mark.parametrize("garbled", ["estimated on", "chosen by"])
def test_no_half_leaks_into_the_other(hiring, pairs, garbled):
    number = {"row": torch.arange(80)}
    clean, corrupt = (replace(side, variables={**side.variables, **number}) for side in (pairs.clean, pairs.corrupt))
    numbered = replace(pairs, clean=clean, corrupt=corrupt)
    chosen, estimated = split(cluster_numbers([str(unit) for unit in units(one_set(pairs))[:80]], 80), 0.5, 0)
    spoiled = torch.as_tensor(chosen if garbled == "chosen by" else estimated)

    def noisy(logits, batch):
        plain = metric("logit_diff")(logits, batch)
        noise = 30 * torch.sin(1000 * plain + batch.variables["row"])
        return torch.where(torch.isin(batch.variables["row"], spoiled), noise, plain)

    quick = {"redrawn": 0, "details": 0, "random": 0}
    one, other = (mc.link(hiring, numbered, HEADS, "gender", metric=how, **quick) for how in ("logit_diff", noisy))
    kept, changed = ("share_other_half", "share") if garbled == "estimated on" else ("share", "share_other_half")
    same = ["auc", "auc_low", "available", kept, *(["share_low", "used"] if kept == "share" else [])]
    assert_frame_equal(one.frame[same], other.frame[same], rtol=1e-4, atol=1e-6)
    assert (one.frame[changed] - other.frame[changed]).abs().min() > 1e-3
    if garbled == "estimated on":
        assert one.tables["chosen"]["members"] == other.tables["chosen"]["members"]


@pytest.mark.slow
def test_plain_labels_and_several_values(hiring, pairs):
    quick = {"redrawn": 0, "details": 0, "random": 0}
    labels = np.repeat([1, 0], 80)
    by_name, given = (mc.link(hiring, pairs, HEADS, what, **quick) for what in ("gender", {"sex": labels}))
    assert by_name.frame["auc"].tolist() == given.frame["auc"].tolist()
    degrees = mc.link(hiring, pairs, HEADS, "degree", **quick)
    assert degrees.concepts == ("degree 0", "degree 1", "degree 2")


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"what": []}, SiteError, "nothing to link"),
        ({"what": "L9.z.H0"}, SiteError, "not in this model"),
        ({"what": 3.5}, SiteError, "no candidate"),
        ({"probes": "gendr"}, DataError, "no variable"),
        ({"probes": {"one": np.ones(160)}}, DataError, "expected two values at least"),
        ({"probes": {"few": np.ones(3)}}, DataError, "differ in number"),
        ({"probes": ["gender", "gender"]}, DataError, "given twice"),
        ({"probes": 7}, DataError, "names no concept"),
        ({"do": "swap"}, ArgumentError, "link cannot take this 'do'"),
        ({"fdr": 5}, ArgumentError, "between 0 and 1"),
        ({"at": "@nowhere"}, SiteError, "no position called"),
        ({"direction": "up"}, ArgumentError, "'denoise' or 'noise'"),
        ({"redrawn": 3}, DataError, "no useful bound"),
        ({"redrawn": -1}, ArgumentError, "at least 0"),
        ({"others": [1]}, ArgumentError, "cannot take this 'others'"),
    ],
)  # fmt: skip
def test_what_is_refused(hiring, pairs, asked, error, words):
    told = {"what": HEADS, "probes": "gender", **asked}
    with pytest.raises(error, match=words):
        mc.link(hiring, pairs, **told)


def test_too_few_pairs_and_no_pairs(hiring, pairs):
    with pytest.raises(DataError, match="too few independent pairs"):
        mc.link(hiring, pairs.take(range(6)), HEADS, "gender")
    with pytest.raises(ArgumentError, match="expected a Contrast"):
        mc.link(hiring, pairs.clean, HEADS, "gender")


def test_dead_features_are_no_candidates(hiring, pairs):
    class Dead:
        W_dec = torch.eye(48)

        def encode(self, x):
            return torch.relu(x @ self.W_dec - 1e6)

        def decode(self, f):
            return f @ self.W_dec

    own = attach(hiring, Dead(), "L1.resid_post", name="dead")
    with pytest.raises(DataError, match="none of these features is ever active"):
        mc.link(hiring, pairs, own, "gender")


def test_directions_are_checked(hiring):
    with pytest.raises(SiteError, match="points nowhere"):
        mc.features.directions(hiring, "L1.resid_post", {"zero": np.zeros(48)})
    with pytest.raises(SiteError, match="vectors of one length"):
        mc.features.directions(hiring, "L1.resid_post", {"a": np.ones(48), "b": np.ones(47)})
    own = mc.features.directions(hiring, "L1.resid_post", planted.A.numpy()[None] * 3)
    assert own.W_dec.norm(dim=1).tolist() == pytest.approx([1])
