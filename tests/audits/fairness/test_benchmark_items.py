"""Items of benchmarks: what they hold by the files of their authors."""

import numpy as np
import pytest
from small_english import small_english

import mechcausal as mc
from mechcausal.audits.fairness.benchmark_items import BENCHMARKS, ROLES, items_of, of_pairs
from mechcausal.audits.reading import plan_of
from mechcausal.data.suites.drawing import shipped
from mechcausal.errors import DataError


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_has_items_that_are_the_same_again(name):
    model = small_english()
    items = items_of(name, model, 10)
    assert len(items) == 10
    assert items.hash == items_of(name, model, 10).hash != items_of(name, model, 10, seed=1).hash
    few = items.take([3, 5])
    assert len(few) == 2
    assert few.clusters == (items.clusters[3], items.clusters[5])
    assert all(len(column) == 2 for column in few.facts.values())


def test_of_bbq_each_item_has_its_three_answers():
    items = items_of("bbq/age", small_english(), 30)
    rows = {(row["context"], row["question"]): row for row in shipped("bbq_age")}
    texts, answers = items.prompts.texts, items.prompts.given["answer"]
    for number in range(len(items)):
        here = slice(3 * number, 3 * number + 3)
        assert len(set(texts[here])) == 1
        row = next(row for (context, asked), row in rows.items() if texts[3 * number] == f"{context} {asked} Answer:")
        by_role = dict(zip(ROLES, answers[here], strict=True))
        groups = {f" {row['answers'][i].rstrip('.')}": row["groups"][i] for i in range(3)}
        assert groups[by_role["unknown"]] == "unknown"
        assert groups[by_role["stereotyped"]].lower() in {name.lower() for name in row["stereotyped"]}
        right = f" {row['answers'][row['label']].rstrip('.')}"
        assert by_role[ROLES[items.facts["right"][number]]] == right


def test_of_winogender_prompts_end_before_the_pronoun():
    items = items_of("winogender", small_english(), 60)
    sentences = [row["sentence"].replace("$OCCUPATION", row["occupation"]).replace("$PARTICIPANT", row["participant"])
                 for row in shipped("winogender")]  # fmt: skip
    for text in items.prompts.texts:
        assert any(sentence.startswith(text + " $") for sentence in sentences)
    share = {row["occupation"]: row["female"] for row in shipped("winogender")}
    assert items.facts["female"].tolist() == [share[name] for name in items.clusters]


def test_categories_are_kept_or_refused():
    model = small_english()
    items = items_of("crows_pairs", model, 20, categories=["gender"])
    assert set(items.facts["group"]) == {"gender"}
    assert set(items_of("bbq/age", model, 10, categories=["ambig"]).facts["group"]) == {"ambig"}
    with pytest.raises(DataError, match="no category 'gendre'"):
        items_of("crows_pairs", model, 20, categories=["gendre"])
    with pytest.raises(DataError, match="no item is left"):
        items_of("bbq/age", model, 10, categories=["clear"])
    with pytest.raises(DataError, match="no benchmark 'crows'"):
        items_of("crows", model, 20)


def test_pairs_of_a_suite_are_items():
    pairs = mc.contrast("winobias/type2", small_english(), n=10)
    items = of_pairs(pairs)
    assert len(items) == 10
    assert items.n_clusters == pairs.clean.n_clusters
    with pytest.raises(DataError, match="no benchmark"):
        of_pairs(mc.contrast("ioi", small_english(), n=4))
    assert isinstance(items.facts["group"], np.ndarray)


def test_a_plan_names_them(tmp_path):
    data = {"x": {"benchmark": "crows_pairs", "n": 12, "categories": ["gender"]}}
    plan = plan_of({"data": data, "question": [{"ask": "benchmark", "data": "x"}]})
    assert plan_of(plan.to_json()).data == plan.data
    assert len(plan.data["x"].read(small_english(), tmp_path)) == 12
    wrong = plan_of({"data": {"x": {"benchmark": "crows"}}, "question": [{"ask": "benchmark", "data": "x"}]})
    assert "no benchmark" in " ".join(wrong.problems())
