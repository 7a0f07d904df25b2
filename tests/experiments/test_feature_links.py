import json

import pytest
from studies import EXPERIMENTS, run_small, script

from mechcausal.models.wheels import WHEELS

STUDY = EXPERIMENTS / "feature_links"
real = pytest.mark.skipif(
    WHEELS["smollm2"].file() is None, reason=f"smollm2 is not installed: {WHEELS['smollm2'].command}"
)
SMALL = {
    "data__training__n": 200, "step__late__width": 128, "step__late__k": 16, "step__late__tokens": 20_000,
    "data__gender__n": 24, "step__gender_links__what": [{"from": "late"}], "step__gender_links__most": 6,
    "step__gender_links__random": 4,
}  # fmt: skip


def rows(name):
    return [json.loads(line) for line in (STUDY / f"{name}.jsonl").read_text().splitlines()]


def test_the_texts_are_those_that_the_script_writes():
    texts = script("feature_links", "make_texts")
    for name in ("gender", "occupations", "number"):
        assert rows(name) == getattr(texts, name)()
    assert (STUDY / "neutral.txt").read_text().splitlines() == list(texts.NEUTRAL)


@pytest.mark.parametrize(("name", "concept"), [("gender", "gender"), ("occupations", "gender"), ("number", "number")])
def test_each_pair_stands_in_both_orders(name, concept):
    straight, swapped = ([row for row in rows(name) if row["group"] == order] for order in ("straight", "swapped"))
    for one, other in zip(straight, swapped, strict=True):
        assert (one["clean"], one["corrupt"]) == (other["corrupt"], other["clean"])
        assert (one["answer"], one["foil"]) == (other["foil"], other["answer"])
        assert one[concept] != one[f"corrupt_{concept}"] == other[concept]
        begin, end = one["positions"]["who"]
        assert one["clean"][begin:end].isalpha()
    clusters = {row["cluster"] for row in straight}
    assert len(clusters) >= 24


def test_no_sentence_of_the_training_begins_as_a_pair_does():
    training = (STUDY / "training.txt").read_text()
    for name in ("gender", "occupations", "number"):
        assert not any(f"{row['clean']} " in training for row in rows(name))


@pytest.mark.real
@real
def test_a_dictionary_is_trained_and_linked(tmp_path):
    run = run_small("feature_links", tmp_path / "run", only=["late", "gender_links"], **SMALL)
    found = script("feature_links").answer(run)
    assert list(found["concepts"]) == ["gender"]
    gender = found["concepts"]["gender"]
    assert gender["total"][0] > 2
    assert "more than a network with random weights" in gender["sentence"]
    assert gender["judged"] <= 6
    assert not found["mitigations"]
