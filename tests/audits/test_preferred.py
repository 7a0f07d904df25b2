"""What a reward model prefers, against a reward that is a formula and choices that follow it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import run
from scipy.special import expit

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.desk import Desk
from mechcausal.audits.preferred import by_length, is_reward_model, preferred, rewards_apart
from mechcausal.audits.selftest.rewarded import (
    LENGTH,
    MOST,
    STEPS,
    VOCABULARY,
    head,
    network,
    reward_model,
    truthful,
    written,
)
from mechcausal.data.contrast import Contrast
from mechcausal.organisms.tokenizer import word_tokenizer

CALIBRATION = "ECE", "ECE of a calibrated model, 95 % quantile", "slope"


def reward(texts):
    """Return the rewards by the formula, of rows of grade and number of words."""
    return texts[..., 0] / STEPS + LENGTH * (texts[..., 1] - MOST / 2) / 2


def drawn(count=700, seed=5):
    """Return pairs of texts [pair 2 (grade, words)] whose first was chosen by the sigmoid of the reward difference."""
    draw = np.random.default_rng(seed)
    texts = np.stack([draw.integers(-12, 13, (2 * count, 2)), draw.integers(0, MOST + 1, (2 * count, 2))], axis=2)
    texts = texts[(texts[:, 0] != texts[:, 1]).any(1)][:count]
    apart = -np.diff(reward(texts), axis=1)[:, 0]
    swap = draw.random(count) > expit(apart)
    texts[swap] = texts[swap, ::-1]
    return texts


def rows_of(texts):
    groups = np.where(texts[:, 0, 1] > texts[:, 1, 1], "longer", "shorter")
    return [
        {"clean": written(*map(int, first)), "corrupt": written(*map(int, second)), "group": str(group),
         "environment": f"e{number % 2}", "cluster": f"c{number // 2}"}
        for number, ((first, second), group) in enumerate(zip(texts, groups, strict=True))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def texts():
    return drawn()


@pytest.fixture(scope="module")
def pairs(texts):
    return Contrast.read(rows_of(texts), truthful(), whole=True, factor="which was chosen")


def found(question, model):
    finding = audit.Plan([question], networks=0).run(model, quiet=True).findings[0]
    assert finding.error == ""
    return finding.answer


def test_the_accuracy_is_the_share_of_pairs_with_the_larger_reward_on_the_chosen_side(texts, pairs):
    apart = -np.diff(reward(texts), axis=1)[:, 0]
    right = (1 + np.sign(np.round(apart, 6))) / 2
    desk = Desk(truthful(), {"data": pairs}, networks=0, quiet=True)
    assert rewards_apart(desk, pairs) == pytest.approx(apart, abs=1e-4)
    assert preferred(desk, pairs).tolist() == right.tolist()
    assert 0.5 in right  # some are ties
    answer = found(audit.Accuracy(pairs), truthful())
    assert answer.estimate.value == pytest.approx(right.mean())
    assert answer.estimate.n_clusters == 350
    assert answer.estimate.low <= expit(np.abs(apart)).mean() <= answer.estimate.high  # what choices like these give
    assert answer.examples[0]["larger_by"] < 0
    guess = by_length(pairs).mean()
    assert f"the longer text (or the shorter) is right in {guess:.1%}" in answer.controls[2].says


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_slope_says_how_many_times_too_large_the_rewards_are(pairs, factor):
    model = truthful() if factor == 1 else reward_model(head(factor, factor * LENGTH))
    answer = found(audit.Calibration(pairs), model)
    table = answer.table.set_index("measure")
    error, most, slope = (table.loc[name] for name in CALIBRATION)
    assert slope["low"] <= 1 / factor <= slope["high"]
    assert (error["value"] <= most["value"]) == (factor == 1)
    assert ("too sure" in answer.says) is (factor == 2)
    assert answer.estimate.value == pytest.approx(found(audit.Calibration(pairs, against="foil"), model).estimate.value)


def test_the_worst_group_and_other_environments_are_of_the_same_pairs(texts, pairs):
    right = (1 + np.sign(np.round(-np.diff(reward(texts), axis=1)[:, 0], 6))) / 2
    longer = texts[:, 0, 1] > texts[:, 1, 1]
    plan = audit.Plan([audit.WorstGroup(pairs), audit.Environments(pairs)], networks=0)
    answer, fall = (finding.answer for finding in plan.run(truthful(), quiet=True).findings)
    assert answer.estimate.value == pytest.approx(min(right[longer].mean(), right[~longer].mean()))
    assert {"chosen", "rejected"} <= set(answer.examples[0])
    assert fall.estimate.value == pytest.approx(right[::2].mean() - right[1::2].mean())
    assert fall.table["slope"].between(0.7, 1.3).all()


def test_of_texts_without_a_partner_nothing_is_preferred(pairs):
    problems = audit.Plan([audit.Accuracy(pairs.clean), audit.Calibration(pairs, against="written")]).problems(
        truthful()
    )
    assert "give pairs, clean chosen and corrupt rejected" in problems[0]
    assert "what is written has no confidence" in problems[1]
    assert is_reward_model(truthful())
    assert not is_reward_model(mc.load("organism:by_hand"))


@pytest.mark.slow
def test_from_toml_alone(tmp_path, texts):
    network().save_pretrained(tmp_path / "model")
    word_tokenizer(VOCABULARY, longest=MOST + 4).save_pretrained(tmp_path / "model")
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(texts[:60])))
    (tmp_path / "plan.toml").write_text(
        'model = "./model"\nnetworks = 2\n[data.choices]\npairs = "choices.jsonl"\nwhole = true\n'
        + "".join(f'[[question]]\nask = "{word}"\ndata = "choices"\n' for word in ("accuracy", "calibration", "worst_group", "environments"))
    )  # fmt: skip
    done = run("audit", "run", tmp_path / "plan.toml", "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.error
    findings = json.loads((tmp_path / "out" / "audit.json").read_text())["results"]["findings"]
    right = (1 + np.sign(np.round(-np.diff(reward(texts[:60]), axis=1)[:, 0], 6))) / 2
    assert findings[0]["answer"]["estimate"]["value"] == pytest.approx(right.mean())
    assert [finding["status"] for finding in findings] == ["measured"] * 4
