"""Measuring the unedited model, against its bare logits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError


def logits(prompts):
    return bare("gpt2")(prompts.tokens).logits[torch.arange(len(prompts)), -1]


def test_both_sides_and_any_metric_by_hand():
    pairs = make_pairs((7,) * 8)
    found = mc.measure(loaded("gpt2"), pairs, ["logit_diff", "accuracy"])
    for side, prompts in (("clean", pairs.clean), ("corrupt", pairs.corrupt)):
        table, rows = logits(prompts), torch.arange(8)
        difference = (table[rows, prompts.answer] - table[rows, prompts.foil]).double().numpy()
        row = found.frame[(found.frame["side"] == side) & (found.frame["metric"] == "logit_diff")].iloc[0]
        reach = stats.t.ppf(0.975, 7) * difference.std(ddof=1) / np.sqrt(8)
        assert row["value"] == pytest.approx(difference.mean(), abs=1e-5)
        assert row["value_high"] - row["value"] == pytest.approx(reach, abs=1e-4)
        assert found.value("logit_diff", side) == row["value"]
        right = (table.argmax(-1) == prompts.answer).double().mean()
        assert found.value("accuracy", side) == pytest.approx(float(right))


def test_the_organism_knows_its_task(hiring):
    prompts = mc.task("hiring").prompts(hiring, 64, environment="broad")
    found = mc.measure(hiring, prompts)
    assert found.value("accuracy") > 0.9
    assert found.summary().startswith("accuracy of prompts: ")


def test_groups_functions_and_clusters(gpt2):
    prompts = replace(make_pairs((7,) * 4).clean, groups=("a", "a", "b", "b"), clusters=("1", "1", "2", "2"))

    def first(logits, batch):
        return logits[:, -1, 0]

    found = mc.measure(gpt2, prompts, first)
    assert found.frame["n_clusters"].tolist() == [2]
    by_group = found.by_group().set_index("group")["value"]
    expected = bare("gpt2")(prompts.tokens).logits[:, -1, 0].reshape(2, 2).mean(1)
    np.testing.assert_allclose(by_group.loc[["a", "b"]], expected, atol=1e-5)
    assert found.frame["metric"].tolist() == ["first"]


def test_it_is_kept(gpt2, pairs, tmp_path):
    found = mc.measure(gpt2, pairs)
    again = mc.results.load(found.save(tmp_path / "measured.parquet"))
    assert again.summary() == found.summary()
    assert type(again) is type(found)
    assert found.provenance.method == "measure"
    assert mc.measure.cost(gpt2, pairs).forwards == found.provenance.compute["forwards"] * 6


@pytest.mark.parametrize(
    ("metric", "said"), [("acuracy", "did you mean 'accuracy'"), (3, "the name of a metric"), ([], "empty")]
)
def test_bad_input(gpt2, pairs, metric, said):
    with pytest.raises(MechcausalError, match=said):
        mc.measure(gpt2, pairs, metric)
