"""No wrong argument ends in a foreign error: every public function and every field of a specification is tried."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

import mechcausal as mc
from mechcausal import arguments
from mechcausal.address import Place, Site
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data import pad
from mechcausal.errors import ArgumentError, DataError, MechcausalError
from mechcausal.interventions import Add, Edit, Set, Zero
from mechcausal.interventions.specs import KINDS
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.replay.verify import replayer

WRONG = {
    "None": None, "zero": 0, "minus one": -1, "fraction": 1.5, "text": "x", "bytes": b"x", "empty list": [],
    "empty mapping": {}, "object": object(), "not a number": float("nan"), "infinity": float("inf"),
    "series": pd.Series(["a", "b"]), "generator": (word for word in "ab"), "huge": 10**30, "true": True,
    "empty text": "", "class": int, "array": np.zeros((2, 2)), "list of lists": [["a"], ["b"]], "list of none": [None],
}  # fmt: skip
# What no argument of any function takes, but these.
NEVER = ("object", "generator", "bytes", "class")
TAKE_ANYTHING = {("load", "tokenizer"), ("prompts", "variables"), ("contrast", "variables")}
FACES = {
    "": mc, "audit": mc.audit, "causal": mc.causal, "features": mc.features, "patching": mc.patching, "circuits": mc.circuits,
    "claims": mc.claims, "results": mc.results,
}  # fmt: skip


class Computed(BaseException):
    """A forward was asked for, so all arguments were taken."""


def functions():
    """Return the public functions by name: those of a specification, and others."""
    named = {}
    for prefix, face in FACES.items():
        for name in dir(face):
            value = getattr(face, name)
            if inspect.isfunction(value) and value.__module__.startswith("mechcausal."):
                named[f"{prefix}.{name}".removeprefix(".")] = value
    return named


def specs():
    return {name: getattr(mc.methods, name) for name in mc.methods._SPECS}


FUNCTIONS = functions()
# Functions that do not check their arguments at the door yet.
UNCHECKED = {
    name for name, value in FUNCTIONS.items() if not hasattr(value, "spec") and not hasattr(value, "__wrapped__")
}
TRIED = {
    "contrast": {"name": "by_hand/gender", "model": None, "n": 8},
    "task": {"name": "by_hand"},
    "truth": {"name": "by_hand"},
    "sites": {"model": None},
    "load": {"source": "organism:by_hand"},
    "results.load": {"path": "none.parquet"},
    "features.attached": {"model": None},
    "features.detach": {"model": None, "name": "none"},
    "features.suite": {"name": "hiring", "model": None},
    "features.directions": {"model": None, "site": "L0.resid_post", "vectors": {"a": [1.0]}},
    "causal.untrained": {"model": None},
    "circuits.read": {"path": "none.json"},
    "circuits.compare": {"circuits": [mc.circuits.Circuit.of(Wiring(1, 1, 1), [("embed", "logits")])] * 2},
    "circuits.write": {"circuit": mc.circuits.Graph.of(["logits"]), "path": "none.txt"},
    "claims.circuit": {"model": None, "hypothesis": mc.causal.Hypothesis.of("by_hand")},
    "claims.tree": {"circuit": mc.circuits.Circuit.of(Wiring(1, 1, 1), [("embed", "logits")])},
    "circuits.truth": {"model": None, "pairs": "none"},
    "circuits.bench": {"methods": ["random"], "organisms": ["by_hand"], "n": 4, "draws": 1, "progress": False},
    "circuits.bench_model": {"model": None, "task": "by_hand/gender", "methods": ["random"], "n": 4, "progress": False},
}
MADE = (
    "PromptSet", "PromptSet.take", "PromptSet.select", "PromptSet.padded", "PromptSet.to", "Contrast", "Contrast.take", "Task", "Task.table", "Task.prompts",
    "Task.contrast", "SCM", "SCM.sample", "Hypothesis", "Hypothesis.from_json", "Site.parse", "Place.parse", "Result.top",
    "Result.load", "methods.read", "Experiment", "pad",
)  # fmt: skip
# A class is a function, of which a task is made.
ANYTHING_BUT = {("Task", name, "class") for name in ("write", "positions", "groups", "clusters")}
PATCHING = {"patch": "pairs", "ablate": "prompts", "attribute": "pairs", "path_patch": "pairs"}


@pytest.fixture(scope="module")
def subject():
    """The model by hand, with all that is measured once already measured."""
    model = mc.load("organism:by_hand")
    abilities(model)
    pairs = mc.contrast("by_hand/gender", model, n=8)
    for method in (mc.patch, mc.ablate, mc.attribute):
        method(model, pairs, sites=["z", "mlp_out", "resid_pre"])
    mc.path_patch(model, pairs)
    replayer(model)
    return model, pairs


@pytest.fixture
def stopped(monkeypatch):
    """Stop whatever computes."""
    from mechcausal.models import hooked
    from mechcausal.models.replay.twin import Twin

    def computed(*_, **__):
        raise Computed

    monkeypatch.setattr(bridge, "run", computed)
    monkeypatch.setattr(hooked.bridge, "run", computed)
    monkeypatch.setattr(Twin, "record", computed)


def tried(call, *, never: bool):
    """Call, and accept only errors of the package, short ones; where the value is never right, want one."""
    said = None
    try:
        call()
    except MechcausalError as error:
        said = str(error)
    except Computed:
        pass
    assert said is not None or not never, "a value that is never right was taken"
    assert said is None or (len(said) < 400 and "\n" not in said), said


@pytest.mark.parametrize("name", PATCHING)
def test_every_argument_of_a_method_that_patches(name, subject, stopped):
    model, pairs = subject
    method = FUNCTIONS[name]
    for parameter in inspect.signature(method).parameters:
        for word, value in WRONG.items():
            given = {"model": model, PATCHING[name]: pairs, parameter: value}
            tried(lambda given=given: method(**given), never=word in NEVER)
            tried(lambda given=given: method.cost(**given), never=word in NEVER)


@pytest.mark.parametrize("name", sorted(specs()))
def test_every_field_of_every_specification(name):
    spec = specs()[name]
    required = {part.name for part in fields(spec) if part.default is MISSING and part.default_factory is MISSING}
    hints = arguments.hints_of(spec)
    for part in fields(spec):
        for word, value in WRONG.items():
            given = dict.fromkeys(required, "x") | {part.name: value}
            tried(
                lambda given=given: spec(**given), never=word in NEVER and not takes_anything(hints.get(part.name, Any))
            )
        with pytest.raises(ArgumentError, match=f"no argument '{part.name}_'"):
            mc.methods.read({"run": spec.word, f"{part.name}_": 1})


def takes_anything(hint):
    """Say whether an annotation leaves open what is meant: labels, mediators, and functions, which a class is too."""
    parts = arguments._parts(hint)
    return any(part is Any or "Any" in str(part) or "Callable" in str(part) for part in parts)


@pytest.mark.parametrize("kind", [*KINDS.values(), Edit], ids=lambda kind: kind.__name__)
def test_every_field_of_every_intervention(kind, subject, stopped):
    """One that was made is one that a method takes, or refuses in one sentence."""
    model, pairs = subject
    usual = {"site": Site.parse("L0.z"), "do": Zero()} if kind is Edit else {}
    for part in fields(kind):
        for word, value in WRONG.items():
            tried(
                lambda given=usual | {part.name: value}: kind(**given),
                never=word in (*NEVER, "not a number", "infinity"),
            )
    for word, value in WRONG.items():
        tried(lambda value=value: mc.ablate(model, pairs, do=value, sites="L0.z"), never=word in NEVER)


@pytest.mark.parametrize("value", [[0.1] * 4, np.full(4, 0.1), torch.full((4,), 0.1, dtype=torch.double), (0.1,) * 4])
def test_a_vector_may_come_in_any_form(value, subject, stopped):
    model, pairs = subject
    assert Set(value) == Set((0.1,) * 4)
    with pytest.raises(Computed):
        mc.ablate(model, pairs, do=Add(value, scale=2), sites="L0.z")


@pytest.mark.parametrize("name", sorted(name for name, value in FUNCTIONS.items() if hasattr(value, "spec")))
def test_every_method_refuses_what_is_no_model_and_no_data(name, subject, stopped):
    model, pairs = subject
    method = FUNCTIONS[name]
    _, data, *others = inspect.signature(method).parameters.values()
    required = {part.name: "x" for part in others if part.default is inspect.Parameter.empty}
    for word, value in WRONG.items():
        for given in ({"model": value, data.name: pairs}, {"model": model, data.name: value}):
            never = value is not given[data.name] or "Any" not in str(data.annotation)
            tried(lambda given=given: method(**given, **required), never=never and word != "list of lists")


@pytest.mark.parametrize("name", sorted(TRIED))
def test_every_argument_of_a_function(name, subject, stopped):
    model, _ = subject
    function = FUNCTIONS[name]
    usual = {key: model if key == "model" else value for key, value in TRIED[name].items()}
    for parameter in inspect.signature(function).parameters:
        for word, value in WRONG.items():
            given = usual | {parameter: value}
            never = word in NEVER and (name, parameter) not in TAKE_ANYTHING
            tried(lambda given=given: function(**given), never=never)
    tried(lambda: function(*[object()] * 30), never=True)


@pytest.mark.parametrize("make", [mc.PromptSet.from_text, mc.Contrast.from_text], ids=["prompts", "contrast"])
def test_every_argument_of_a_set_of_texts(make, subject):
    model, _ = subject
    texts = {"texts": ["he is low"]} if "texts" in inspect.signature(make).parameters else {}
    usual = texts or {"clean": ["he is low"], "corrupt": ["she is low"], "answer": "low", "foil": "high"}
    for parameter in inspect.signature(make).parameters:
        for word, value in WRONG.items():
            given = {"model": model} | usual | {parameter: value}
            tried(lambda given=given: make(**given), never=word in NEVER and parameter != "variables")


def made_things(model, pairs):
    """Return what is made or asked by hand: what to call, and its usual arguments."""
    task, clean = mc.task("by_hand"), pairs.clean
    columns = {part.name: getattr(clean, part.name) for part in fields(clean)}
    sides = {part.name: getattr(pairs, part.name) for part in fields(pairs)}
    parts = {part.name: getattr(task, part.name) for part in fields(task)}
    result = mc.patch(model, pairs, sites=["z", "mlp_out", "resid_pre"])
    hypothesis = mc.causal.Hypothesis.of("by_hand")
    return {
        "PromptSet": (mc.PromptSet, columns),
        "PromptSet.take": (clean.take, {"rows": [0]}),
        "PromptSet.select": (clean.select, {"selection": "@-1"}),
        "PromptSet.padded": (clean.padded, {"width": 9, "side": "left"}),
        "PromptSet.to": (clean.to, {"device": "cpu"}),
        "Contrast": (mc.Contrast, sides),
        "Contrast.take": (pairs.take, {"rows": [0]}),
        "Task": (type(task), parts),
        "Task.table": (task.table, {"n": 4, "seed": 0, "environment": None}),
        "Task.prompts": (task.prompts, {"model": model, "n": 4, "seed": 0, "environment": None, "table": None, "truth": None}),
        "Task.contrast": (task.contrast, {"model": model, "variable": "gender", "n": 4, "seed": 0, "environment": None}),
        "SCM": (mc.causal.SCM, {"name": "x", "noise": {"u": 2}, "mechanisms": {"a": lambda u: u}, "values": None}),
        "SCM.sample": (task.scm.sample, {"n": 4, "seed": 0}),
        "Hypothesis": (
            mc.causal.Hypothesis,
            {"scm": hypothesis.scm, "alignment": hypothesis.alignment, "outcome": None, "edges": None, "given": ()},
        ),
        "Hypothesis.from_json": (mc.causal.Hypothesis.from_json, {"plain": hypothesis.to_json()}),
        "Site.parse": (Site.parse, {"text": "L0.z"}),
        "Place.parse": (Place.parse, {"spec": "L0.z"}),
        "Result.top": (result.top, {"k": 3, "by": "change"}),
        "Result.load": (mc.Result.load, {"path": "none.parquet"}),
        "methods.read": (mc.methods.read, {"data": {"run": "patch"}}),
        "Experiment": (mc.Experiment, {"config": None}),
        "pad": (pad, {"rows": [[1]], "width": 2, "side": "left"}),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(MADE))
def test_every_argument_of_what_is_made(name, subject):
    make, usual = made_things(*subject)[name]
    for parameter in usual:
        for word, value in WRONG.items():
            never = word in NEVER and (name, parameter, word) not in ANYTHING_BUT
            tried(lambda given=usual | {parameter: value}: make(**given), never=never)
    for word, value in WRONG.items():
        inside = {key: {next(iter(columns), "a"): value} for key, columns in usual.items() if isinstance(columns, dict)}
        for given in (usual | {key: column} for key, column in inside.items()):
            tried(lambda given=given: make(**given), never=word == "object" and name not in ("Hypothesis.from_json",))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, p: mc.task("by_hand").prompts(8, m), "'model' and 'n' of Task.prompts are swapped"),
        (lambda m, p: mc.contrast("by_hand/gender", m, n=10**9), "at most 1,000,000, because all are in memory"),
        (lambda m, p: p.take([99]), r"there is no prompt 99 .expected 0 to 7"),
        (lambda m, p: p.clean.take([-9]), "there is no prompt -9"),
        (lambda m, p: mc.load("a" * 300), r"no file or folder can be called so .*: File name too long"),
        (lambda m, p: mc.load("~nobody_of_this_name/x"), "Could not determine home directory"),
        (lambda m, p: mc.Result.load("a" * 300), "File name too long"),
        (lambda m, p: mc.Contrast.read("a" * 300, m), "File name too long"),
        (lambda m, p: mc.audit.Report.load("a" * 300), "File name too long"),
        (lambda m, p: mc.causal.SCM("x", mechanisms={}), "SCM was called wrongly .got missing a required argument: 'noise'"),
        (lambda m, p: mc.causal.Hypothesis(3, {}), "Hypothesis cannot take this 'scm'"),
        (lambda m, p: Place.parse({"site": 3}), "this is not a site"),
        (lambda m, p: Place.parse({"site": "L0.z", "basis": 3}), "the basis of a place is no list of vectors"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, said, subject):
    with pytest.raises(MechcausalError, match=said) as caught:
        call(*subject)
    assert len(str(caught.value)) < 400


def test_a_metric_of_ones_own_that_fails_is_named(subject):
    model, pairs = subject

    def broken(logits, batch):
        return batch.nothing

    with pytest.raises(MechcausalError, match=r"the metric 'broken' failed .got AttributeError: .*'nothing'") as caught:
        mc.patch(model, pairs, sites="L0.z", metric=broken)
    assert isinstance(caught.value.__cause__, AttributeError)


def test_a_result_is_saved_to_a_path(subject):
    model, pairs = subject
    with pytest.raises(ArgumentError, match=r"Result.save cannot take this 'path' .got None"):
        mc.patch(model, pairs, sites=["z", "mlp_out", "resid_pre"]).save(None)


def test_every_public_function_is_checked():
    """A new public function is a method, or is decorated."""
    assert set() == UNCHECKED


def test_swapped_arguments_are_named(subject):
    model, pairs = subject
    with pytest.raises(ArgumentError, match="arguments 'name' and 'model' of contrast are swapped"):
        mc.contrast(model, "by_hand/gender")
    with pytest.raises(ArgumentError, match="arguments 'model' and 'pairs' of patch are swapped"):
        mc.patch(pairs, model)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, p: mc.contrast("by_hand/gender", m, n=2.5), "at least 1"),
        (lambda m, p: mc.patch(m, ["he", "she"]), "a Contrast"),
        (lambda m, p: mc.patch(m, p, sites=None), "a site such as 'z'"),
        (lambda m, p: mc.patch(m, p, batch_size="8"), "got '8'; expected a whole number"),
        (lambda m, p: mc.ablate(m, p, do=0), "'zero', 'mean', 'resample'"),
        (lambda m, p: mc.ablate(m, p, do="mean", reference=["he"]), "a PromptSet or a Contrast"),
        (lambda m, p: mc.PromptSet.from_text(m, pd.Series(["he is low"])), r"got a Series.*list\(\.\.\.\)"),
        (lambda m, p: mc.PromptSet.from_text(m, (t for t in ["he"])), r"got a generator.*list\(\.\.\.\)"),
        (lambda m, p: mc.PromptSet.from_text(m, b"he"), "a list of texts"),
        (lambda m, p: mc.task(None), "a text"),
    ],
)
def test_the_sentence_says_what_to_do(call, said, subject, stopped):
    with pytest.raises(MechcausalError, match=said):
        call(*subject)


def test_prompts_of_another_model(subject, hiring, stopped):
    model, pairs = subject
    others = mc.contrast("hiring/gender", hiring, n=8)
    for call in (
        lambda: mc.patch(model, others),
        lambda: mc.ablate(model, others, do="zero"),
        lambda: mc.ablate(model, pairs, do="mean", reference=others),
        lambda: mc.ablate(model, pairs, do="resample", reference=others),
    ):
        with pytest.raises(DataError, match=r"vocabulary|longer than the model's context"):
            call()


# The checker itself


def test_kinds():
    fits = arguments.fits
    assert fits(3, arguments.Count)
    assert not any(fits(value, arguments.Count) for value in (0, -1, 1.0, "1", True, None, float("nan"), 10**30))
    assert fits(np.int64(3), arguments.Count)
    assert fits(0.5, arguments.Share)
    assert not any(fits(value, arguments.Share) for value in (1.1, float("nan"), "x", True))
    assert not any(fits(value, arguments.OpenShare) for value in (0, 1, 0.0, 1.0))
    assert fits(["a"], arguments.Texts)
    assert not any(fits(value, arguments.Texts) for value in ("a", [1], [b"a"], {"a": 1}))
    assert fits("a", Literal["a", "b"])
    assert not fits(1, Literal[True])
    assert fits({"a": 1}, dict[str, int])
    assert not fits({"a": "b"}, dict[str, int])
    assert fits((1, "a"), tuple[int, str])
    assert not fits((1, 2), tuple[int, str])


def test_words():
    assert arguments.in_words(list[str]) == "a list of texts"
    assert arguments.in_words(int | None) == "a whole number or None"
    assert arguments.in_words(Literal["a", "b"]) == "'a' or 'b'"
    assert arguments.in_words(list[int | str]) == "a list of (a whole number or a text)"


def test_a_decorated_function_is_checked_and_stays_itself():
    @arguments.checked
    def share(part: arguments.Share, *names: str, scale: arguments.Positive = 1.0, **rest: Any) -> float:
        """Say it."""
        return part * scale

    assert share(0.5, "a", scale=2, other=object()) == 1.0
    assert share.__doc__ == "Say it."
    for call, said in (
        (lambda: share(2), "'part'"), (lambda: share(0.5, 3), "'names'"), (lambda: share(0.5, scale=0), "above 0"),
        (lambda: share(), "was called wrongly"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=said):
            call()


def test_a_message_is_never_longer_than_400_characters():
    error = MechcausalError("w" * 500, got="g" * 5000, expected="e" * 300, fix="f" * 300)
    assert len(str(error)) < 400
    assert error.got == "g" * 5000
    short = MechcausalError("what", got=1, expected=2, fix="do it")
    assert str(short) == "what (got 1; expected 2): do it"
    assert "fix it" in str(MechcausalError("what", got="g" * 5000, fix="fix it"))


def test_what_nobody_gave_was_not_swapped(subject):
    """`at` has a default of its own, which would do as a task."""
    model, pairs = subject
    for call in (
        lambda: mc.features.probe(model, pairs.clean, "gender", "L0.resid_post", task=3),
        lambda: mc.steer(model, pairs, "L0.resid_post", ask=3),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert "swapped" not in str(caught.value)
        assert "got 3" in str(caught.value)
