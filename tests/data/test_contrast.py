from dataclasses import replace

import pytest
import torch

import mechcausal as mc
from mechcausal.data import Contrast, PromptSet, pad
from mechcausal.errors import DataError


def build(model, clean=("he high ask",), corrupt=("she high ask",), **options):
    return Contrast.from_text(model, list(clean), list(corrupt), **{"answer": "yes", "foil": "no", **options})


def test_bos_leads_once_unless_told_otherwise(by_hand):
    assert build(by_hand).clean.real_tokens == [[1, 3, 5, 6]]
    assert build(by_hand, bos=False).clean.real_tokens == [[3, 5, 6]]


@pytest.mark.parametrize("places", ["high", 1, (3, 7)])
def test_named_positions_by_substring_word_and_span(by_hand, places):
    pairs = build(by_hand, positions={"level": [places]})
    assert pairs.clean.positions["level"].tolist() == [2]
    assert pairs.corrupt.positions["level"].tolist() == [2]


def test_hash_take_and_repr(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=6, seed=1)
    assert pairs.hash == mc.contrast("by_hand/gender", by_hand, n=6, seed=1).hash
    assert pairs.hash != mc.contrast("by_hand/gender", by_hand, n=6, seed=2).hash
    assert pairs.hash == mc.contrast("by_hand/gender", by_hand, n=6, seed=1, side="left").hash
    assert len(pairs.take([2, 3])) == 2
    assert pairs.differs.sum(1).tolist() == [1] * 6
    assert "by_hand/gender" in repr(pairs)


def test_both_sides_know_their_variables():
    class Model:
        tokenizer, cfg = mc.load("organism:by_hand", check=False).tokenizer, None

    pairs = build(
        Model,
        clean=["he high ask", "he low ask"],
        corrupt=["she high ask", "she low ask"],
        variables={"g": [1, 1]},
        corrupt_variables={"g": [0, 0]},
        positions={"level": 1},
        groups=["a", "b"],
        environments=["here", "there"],
        clusters=["s", "t"],
        labels=[1, 2],
        name="mine",
    )
    assert (pairs.clean.variables["g"].tolist(), pairs.corrupt.variables["g"].tolist()) == ([1, 1], [0, 0])
    assert pairs.corrupt.texts == ("she high ask", "she low ask")
    for side in (pairs.clean, pairs.corrupt):
        assert (side.groups, side.environments, side.clusters) == (("a", "b"), ("here", "there"), ("s", "t"))
        assert side.positions["level"].tolist() == [2, 2]
        assert side.labels == (1, 2)
    assert (pairs.name, pairs.factor) == ("mine", "undeclared")
    assert pairs.take([1]).corrupt.variables["g"].tolist() == [0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"clean": ["he high ask", "he ask"], "corrupt": ["she low ask", "she low ask"]},
            r"pair 1 tokenizes.*3 tokens \['<bos>', 'he', 'ask'\]",
        ),
        ({"corrupt": []}, "differ in number"),
        ({"clean": [], "corrupt": []}, "empty"),
        ({"corrupt": ["he high ask"]}, "the same prompts"),
        ({"answer": "perhaps"}, "unknown to the tokenizer"),
        ({"foil": ["no", "no"]}, r"foil must have one entry per prompt \(got 2; expected 1\)"),
        ({"positions": {"x": "teacher"}}, "does not occur"),
        ({"positions": {"x": 9}}, "has no word 9"),
        ({"groups": ["a", "b"]}, "groups must have one entry"),
    ],
)
def test_bad_pairs(by_hand, options, said):
    with pytest.raises(DataError, match=said):
        build(by_hand, **options)


def test_pairs_given_as_tokens_must_line_up_too():
    one, other = PromptSet(*pad([[3, 4], [5, 6, 7]])), PromptSet(*pad([[3, 5], [5, 6]]))
    with pytest.raises(DataError, match=r"pair 1 has prompts of different length.*\[5, 6, 7\] and \[5, 6\]"):
        Contrast(one, other, "x")
    with pytest.raises(DataError, match="differ in number"):
        Contrast(one, other.take([0]), "x")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hirng/gender", "did you mean 'hiring'"),
        ("hiring/gendre", "the task 'hiring' has no contrast 'gendre': did you mean 'gender'"),
        ("hiring", "the task 'hiring' has no contrast ''.*gender_direct, proxy, merit, gender"),
    ],
)
def test_unknown_contrasts(by_hand, name, said):
    with pytest.raises(DataError, match=said):
        mc.contrast(name, by_hand)


def tokens(rows, **columns):
    return PromptSet(*pad(rows), **{name: torch.tensor(column) for name, column in columns.items()})


def test_sides_that_are_measured_by_different_tokens_are_refused():
    clean = tokens([[3, 4], [5, 6]], answer=[1, 1], foil=[2, 2])
    for what in ("answer", "foil"):
        other = replace(clean, tokens=clean.tokens + 1, **{what: torch.tensor([1, 9] if what == "answer" else [2, 9])})
        with pytest.raises(DataError, match=rf"the two sides of pair 1 have different {what}s \(1 such pairs\).*and 9"):
            Contrast(clean, other, "x")
    other = replace(clean, tokens=clean.tokens + 1)
    assert len(Contrast(clean, replace(other, answer=None, foil=None), "x")) == 2


def test_an_answer_that_is_its_foil_is_refused(by_hand):
    with pytest.raises(DataError, match=r"the answer of prompt 0 is its foil.*nothing to compare"):
        build(by_hand, foil="yes")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"tokens": torch.ones(2, 2)}, "tokens must be whole numbers .got float32"),
        ({"answer": torch.tensor([1.0, 2.0])}, "answer must be whole numbers"),
        ({"mask": torch.ones(2, 2).long()}, "mask must be True or False"),
        ({"labels": (1.0, float("nan"))}, "label of prompt 1 is NaN"),
    ],
)
def test_columns_of_the_wrong_kind_are_refused(columns, said):
    good = {"tokens": torch.ones(2, 2).long(), "mask": torch.ones(2, 2).bool()}
    assert len(PromptSet(**good, labels=(None, 1.0))) == 2
    with pytest.raises(DataError, match=said):
        PromptSet(**good | columns)
