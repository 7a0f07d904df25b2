"""A method as data: checked when it is made, costed, run, and called as a function."""

import inspect
import tomllib
from dataclasses import FrozenInstanceError, dataclass, field
from typing import ClassVar

import pytest

from mechcausal.arguments import Count, Model, Share
from mechcausal.data.contrast import Contrast
from mechcausal.errors import ArgumentError
from mechcausal.method import METHODS, Cost, Method, function, once, read


def rounded(value):
    return round(value) if isinstance(value, float) else value


@dataclass(frozen=True, kw_only=True)
class Doubling(Method[Contrast, float]):
    """Double the number of pairs.

    Attributes:
        times: How often.
        share: A part of it.
        names: Some names,
            on two lines.
        near: A number that is rounded.
    """

    word: ClassVar[str] = "double_for_a_test"
    times: Count = field(kw_only=False)
    share: Share = 1.0
    names: tuple[str, ...] = ()
    near: Count = field(default=1, metadata={"read": rounded})

    def run(self, model: Model, data: Contrast) -> float:
        """Double them."""
        return len(data) * 2**self.times * self.share

    def cost(self, model: Model, data: Contrast) -> Cost:
        """Count them."""
        return Cost(self.times, len(data), 2.0, 6.0)


@dataclass(frozen=True, kw_only=True)
class Looking(Method[list[str], list[str]]):
    """Look twice, and let a run within look too.

    Attributes:
        inner: Whether a run within is made.
    """

    word: ClassVar[str] = "look_for_a_test"
    inner: bool = True

    def run(self, model: Model, data: list[str]) -> list[str]:
        """Look."""
        looks = [once(data, "length", lambda: data.append("x") or len(data)) for _ in range(2)]
        within = Looking(inner=False).run(model, data) if self.inner else []
        return [*looks, *within, once(data, "length", lambda: 99)]


double = function(Doubling, about="Some pairs.")


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """Leave the list of methods as it was."""
    yield
    for word in ("double_for_a_test", "look_for_a_test"):
        METHODS._things.pop(word, None)


def test_it_runs_and_is_costed_as_a_function_and_as_data(gpt2, pairs):
    assert double(gpt2, pairs, 3, share=0.5) == Doubling(3, share=0.5).run(gpt2, pairs) == 24
    cost = double.cost(gpt2, pairs, 3)
    assert (cost.cells, cost.ratio) == (3, 3.0)
    assert str(cost) == "3 cells x 6 examples: 2 forwards of one prompt (6 without sharing, 3.0 times more)"
    assert double.spec is Doubling


def test_the_signature_and_the_docstring_stand_once():
    assert list(inspect.signature(double).parameters) == ["model", "pairs", "times", "share", "names", "near"]
    assert double.__name__ == "double_for_a_test"
    assert (
        "Args:\n    model: The model, from `mc.load`.\n    pairs: Some pairs.\n    times: How often." in double.__doc__
    )
    assert "on two lines." in double.__doc__
    assert "Attributes" not in double.__doc__
    assert function(Doubling, name="twice").__name__ == "twice"


def test_it_is_frozen_and_plain():
    spec = Doubling(2, names=["a", "b"], near=2.6)
    assert (spec.names, spec.near) == (("a", "b"), 3)
    assert spec.to_json() == {"run": "double_for_a_test", "times": 2, "names": ["a", "b"], "near": 3}
    assert read(tomllib.loads(spec.to_toml())) == spec
    with pytest.raises(FrozenInstanceError):
        spec.times = 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, p: double(m, p), "called wrongly"),
        (lambda m, p: double(m, p, 0), "'times'.*at least 1"),
        (lambda m, p: double(m, p, 1, share=2), "'share'.*between 0 and 1"),
        (lambda m, p: double(m, p, 1, shore=1), "no argument 'shore': did you mean 'share'"),
        (lambda m, p: double(m, p.clean, 1), "'pairs'.*a Contrast"),
        (lambda m, p: double(p, m, 1), "'model' and 'pairs' .* are swapped"),
        (lambda m, p: Doubling(1, names=[1]), "'names'"),
        (lambda m, p: Doubling(1).run(3, p), "a model from mc.load"),
        (lambda m, p: read({"run": "double_for_a_test"}), "called wrongly"),
        (lambda m, p: read([]), "names its method"),
    ],
)
def test_wrong_arguments(gpt2, pairs, call, said):
    with pytest.raises(ArgumentError, match=said):
        call(gpt2, pairs)


def test_a_word_is_taken_once():
    with pytest.raises(ArgumentError, match="registered already"):

        class Again(Method[Contrast, float]):
            word: ClassVar[str] = "double_for_a_test"


def test_a_run_looks_once_and_every_run_looks_anew(gpt2):
    data = ["a"]
    assert Looking().run(gpt2, data) == [2, 2, 3, 3, 3, 2]
    assert Looking(inner=False).run(gpt2, data) == [4, 4, 4]
    assert [once(data, "length", lambda: data.append("x") or len(data)) for _ in range(2)] == [5, 6]


def test_what_a_run_looked_at_is_forgotten_where_it_fails(gpt2):
    with pytest.raises(ArgumentError):
        Looking().run(gpt2, 3)
    assert once(gpt2, "anything", lambda: 1) == 1
    assert once(gpt2, "anything", lambda: 2) == 2
