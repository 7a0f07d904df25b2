import pytest

from mechcausal import errors
from mechcausal.errors import MechcausalError, SiteError, all_of, did_you_mean, of_each, sentences
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


def halved(number):
    if number % 2:
        raise SiteError(f"{number} is odd")
    return number // 2


def test_several_mistakes_are_one_error_that_has_the_others():
    assert of_each(halved, [2, 4]) == [1, 2]
    with pytest.raises(SiteError, match=r"^1 is odd$") as caught:
        of_each(halved, [1, 2, 3])
    assert sentences(caught.value) == ["1 is odd", "3 is odd"]
    with pytest.raises(SiteError) as caught:
        all_of(lambda: of_each(halved, [5, 7]), lambda: None, lambda: of_each(halved, [7, 9]))
    assert sentences(caught.value) == ["5 is odd", "7 is odd", "9 is odd"]
    with pytest.raises(ZeroDivisionError):
        of_each(lambda number: 1 / number, [0])
