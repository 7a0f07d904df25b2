import numpy as np
import pytest

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.data.scm import SCM
from mechcausal.errors import DataError
from mechcausal.probes import bayes_accuracy
from mechcausal.probes.bayes import visible


@pytest.mark.parametrize(
    ("given", "best"),
    [
        ((), 0.5),
        (("hobby",), 0.75),
        (("name",), 0.95),
        (("name", "hobby"), 0.95),
        (("degree",), 0.5),
        (("gender",), 1.0),
    ],
)
def test_of_hiring(given, best):
    # A name says 0.95 and a hobby 0.75: odds of 19 against 3, so that the name decides whenever both are seen.
    assert bayes_accuracy(mc.task("hiring"), "gender", given) == pytest.approx(best)


def test_two_weak_signs_are_better_than_one():
    noisy = {"a": [0.3, 0.7], "b": [0.3, 0.7], "c": [0.3, 0.7]}
    scm = SCM(
        "votes",
        noise={"y": 2, **noisy},
        mechanisms={
            "truth": lambda y: y,
            "one": lambda truth, a: np.where(a, truth, 1 - truth),
            "two": lambda truth, b: np.where(b, truth, 1 - truth),
            "three": lambda truth, c: np.where(c, truth, 1 - truth),
        },
    )
    assert bayes_accuracy(scm, "truth", ["one", "two"]) == pytest.approx(0.7)
    assert bayes_accuracy(scm, "truth", ["one", "two", "three"]) == pytest.approx(0.7**3 + 3 * 0.7**2 * 0.3)


def test_an_environment_has_its_own():
    task = mc.task("bios")
    assert bayes_accuracy(task, "pronoun", ["duty"], environment="balanced") == pytest.approx(0.5)
    assert bayes_accuracy(task, "pronoun", ["duty"]) > 0.6
    with pytest.raises(DataError, match="no variable 'pronun'"):
        bayes_accuracy(task, "pronun", [])


def test_what_an_activation_can_know_of(hiring):
    task = mc.task("hiring")
    prompts = task.prompts(hiring, 8)
    seen = {
        (site, at): visible(task, prompts, Site.parse(site), Selection.parse(at))
        for site in ("embed", "L0.resid_pre", "L0.resid_post")
        for at in ("@name", "@0", "@all")
    }
    assert seen["embed", "@name"] == seen["L0.resid_pre", "@name"] == ("name",)
    assert seen["L0.resid_post", "@name"] == ("gender", "name")
    assert seen["embed", "@0"] == seen["L0.resid_post", "@0"] == ()
    assert seen["embed", "@all"] == task.inputs
