import pytest

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
        group=["a", "b"],
        environment=["here", "there"],
        template=["s", "t"],
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
        ({"answer": "yes no"}, "is 2 tokens"),
        ({"answer": "perhaps"}, "unknown to the tokenizer"),
        ({"foil": ["no", "no"]}, r"foil must have one entry per prompt \(got 2; expected 1\)"),
        ({"positions": {"x": "teacher"}}, "does not occur"),
        ({"positions": {"x": 9}}, "has no word 9"),
        ({"group": ["a", "b"]}, "groups must have one entry"),
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
