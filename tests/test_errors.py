import pytest

from mechcausal import errors
from mechcausal.errors import MechcausalError, did_you_mean
from mechcausal.registry import Registry


def test_one_sentence_with_all_four_parts():
    error = MechcausalError("the width is wrong", got=3, expected=4, fix="pass width=4")
    assert str(error) == "the width is wrong (got 3; expected 4): pass width=4"
    assert (error.what, error.got, error.expected, error.fix) == ("the width is wrong", 3, 4, "pass width=4")
    assert str(MechcausalError("plain")) == "plain"
    assert str(MechcausalError("zero counts", got=0)) == "zero counts (got 0)"


def test_one_family():
    kinds = [value for name, value in vars(errors).items() if name.endswith("Error")]
    assert len(kinds) > 5
    assert all(issubclass(kind, MechcausalError) and issubclass(kind, ValueError) for kind in kinds)


def test_did_you_mean():
    assert did_you_mean("resid_pots", ["resid_post", "z"]) == "did you mean 'resid_post'?"
    assert did_you_mean("qqqq", ["resid_post", "z"]) == "use one of resid_post, z"


def test_registry():
    things = Registry("shape")
    things.register("circle")(1)
    things.register("square")(2)
    assert (things["circle"], list(things), "square" in things, "cube" in things) == (
        1,
        ["circle", "square"],
        True,
        False,
    )
    with pytest.raises(MechcausalError, match=r"no shape called 'squre': did you mean 'square'\?"):
        things["squre"]
    with pytest.raises(MechcausalError, match="'circle' is registered already"):
        things.register("circle")(3)


def test_what_prints_in_several_lines_is_one():
    assert str(MechcausalError("wrong", got="a\n  b\nc")) == "wrong (got a b c)"
