"""A4, A5, A6, A8, A16 and A20: models whose mechanism is known, the biographies by hand and `organism:bios`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from mechcausal.audits.accuracy.accuracy import Accuracy
from mechcausal.audits.desk import Desk
from mechcausal.audits.explaining.observational import NO_OVERLAP, Observational
from mechcausal.audits.fairness.flips import Flips
from mechcausal.audits.invariance.selective import SelectiveInvariance
from mechcausal.audits.linking.links import Links
from mechcausal.audits.mitigation.ablating import Ablate
from mechcausal.audits.mitigation.controls import RandomDirections, RandomSites
from mechcausal.audits.mitigation.erasing import Erase
from mechcausal.audits.mitigation.sweep import Sweep
from mechcausal.audits.mitigation.sweeping import sweep
from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.adversaries import readers
from mechcausal.audits.robustness.worst_group import WorstGroup
from mechcausal.audits.selftest import biographies
from mechcausal.audits.selftest.biographies import BAYES, PRONOUN_HEAD
from mechcausal.audits.selftest.checks import Check, above, answered, below, between, checks_of, holds, near, no, yes
from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import contrast, task
from mechcausal.links.candidates import directions
from mechcausal.links.verdict import CAUSAL, CORRELATE
from mechcausal.models.attached import detach
from mechcausal.models.load import load
from mechcausal.probes.erasure import erase, fit_eraser

SHARES = (0.25, 0.5, 0.75, 0.9, 1)
DRAWS = 20  # one in twenty random directions of so narrow a stream lies near that of the pronoun


@cache
def swept() -> Sweep:
    """Return what each mitigation does to the biographies by hand; three groups of checks read it."""
    people = biographies.population()
    swapped = people.pairs(people.changed(he=~people.he), "gender")
    where: dict[str, Any] = {"sites": PRONOUN_HEAD, "at": "@-1", "data": swapped}
    read: dict[str, Any] = {"labels": "gender", "sites": "L0.resid_post", "at": "@-1"}
    plan = Plan([
        Flips(swapped, id="gender"), Accuracy(people.prompts(), id="accuracy", against="foil"),
        WorstGroup(people.prompts(), id="worst", against="foil"),
        Accuracy(biographies.royals(), id="royals", against="foil"),
    ])  # fmt: skip
    edits = [
        *(Ablate(**where, share=share, name=f"ablate {share:g}") for share in SHARES),
        RandomSites(sites="z", but=PRONOUN_HEAD, at="@-1", data=swapped, name="random head"),
        *(
            RandomDirections(sites="L0.resid_post", at="@-1", data=swapped, seed=seed, name=f"random direction {seed}")
            for seed in range(DRAWS)
        ),
        Erase(**read, data=biographies.coded(), name="erase"),
        Erase(**read, data=biographies.draw(240, 0.95).prompts(), guard=False, name="erase, biased"),
    ]
    neutral = people.prompts().take(slice(0, 8))
    return sweep(plan, edits, biographies.model(), neutral=neutral, quiet=True)


def flips_by_formula(share: float) -> float:
    """Return how many decisions flip with the pronoun when a share of its part is left, in closed form."""
    people = biographies.population()
    sides = (biographies.odds(side, share) > 0 for side in (people, people.changed(he=~people.he)))
    return float(np.mean(np.not_equal(*sides)))


def _value(edit: str, measure: str) -> float:
    return swept().answer(edit, measure).estimate.value


@checks_of("A4", "ablating what the bias is")
def ablation(quick: bool) -> Iterator[Check]:
    """Ablate the pronoun where it is held, in steps, and at random."""
    del quick
    yield below("worst group, as it is", _value("none", "worst"), 0.2)
    yield above("worst group, pronoun ablated", _value("ablate 1", "worst"), 0.74)
    yield near("accuracy, pronoun ablated", BAYES, _value("ablate 1", "accuracy"), 0.03)
    yield below("flips, pronoun ablated", _value("ablate 1", "gender"), 0.05)
    yield near("change of accuracy by a random head", 0, swept().change("random head", "accuracy").value, 0.02)
    drawn = [swept().change(f"random direction {seed}", "accuracy").value for seed in range(DRAWS)]
    yield near("change of accuracy by random directions", 0, float(np.mean(drawn)), 0.02)
    measured = [_value(edit, "gender") for edit in ("none", *(f"ablate {share:g}" for share in SHARES))]
    falls = sum(later <= earlier for earlier, later in itertools.pairwise(measured))
    yield holds("steps of ablation that flip no more than the step before", falls, len(SHARES))
    gaps = [abs(flips - flips_by_formula(1 - share)) for flips, share in zip(measured, (0, *SHARES), strict=True)]
    yield near("flips under every step, largest gap to the formula", 0, max(gaps), 1e-9)


@checks_of("A5", "what carries the attribute and is used")
def links(quick: bool) -> Iterator[Check]:
    """Link the coordinates of the biographies: one holds the pronoun and is read, one goes along, one holds the words."""
    del quick
    model, people = biographies.model(), biographies.draw(60, seed=3)
    he = people.changed(he=np.full(60, True), city=_cities(people, 1))
    she = people.changed(he=np.full(60, False), city=_cities(people, -1))
    directions(model, "L0.resid_post", np.eye(model.cfg.d_model), name="coordinates")
    try:
        question = Links(he.pairs(she, "gender"), what="coordinates", at="@-1", random=8, details=0)
        table = answered(question, model).table
    finally:
        detach(model, "coordinates")
    features = table[table["kind"] == "direction"]
    number = features["candidate"].str.extract(r"(\d+)$")[0].astype(int)
    verdict = dict(zip(number, features["verdict"], strict=True))
    yield near("feature with the largest effect", biographies.G_END, int(number.iloc[0]), 0)
    yield near("features that carry the pronoun and are used", 1, list(verdict.values()).count(CAUSAL), 0)
    yield yes("the feature of the pronoun is among them", verdict[biographies.G_END] == CAUSAL)
    yield yes("what only goes along is called correlate-only", verdict[biographies.N_END] == CORRELATE)
    yield no("what holds the legitimate words is flagged", verdict[biographies.S_END] == CAUSAL)


def _cities(people: biographies.People, sign: int) -> np.ndarray:
    """Return cities whose first number has a sign; the second one is anything."""
    fit = np.array([city for city, (first, _) in biographies.CITIES.items() if first == sign])
    return fit[people.which[:, 0] % len(fit)]


@checks_of("A6", "erasure, and what it leaves")
def erasure(quick: bool) -> Iterator[Check]:
    """Erase an attribute that is coded in means and spreads, and look for what a linear adversary does not see."""
    del quick
    draw = np.random.default_rng(0)
    y, x = draw.integers(0, 2, 2400), draw.normal(size=(2400, 6))
    x *= np.where(y == 1, 1.8, 0.6)[:, None]
    x[:, 0] += 2.5 * y
    eraser = fit_eraser("leace", x, y)
    left, right = np.array(eraser.left).T, np.array(eraser.right).T
    erased = x - (x - np.array(eraser.bias)) @ right @ left.T
    majority = float(max(np.mean(y), 1 - np.mean(y)))
    before, after = (_read(values, y) for values in (x, erased))
    yield above("linear adversary before", before["linear"], 0.8)
    yield below("linear adversary after", after["linear"], majority + 0.03, f"majority {majority:.3f}")
    yield above("quadratic adversary after", after["quadratic"], 0.7)
    notes = {edit.name: edit.notes for edit in swept().edits}
    yield yes("the leak is marked `leak (nonlinear)`", "leak (nonlinear)" in notes["erase"])
    yield yes("a fit where label and attribute go together is marked", "biased fit" in notes["erase, biased"])
    worse = _value("erase, biased", "accuracy") - _value("erase", "accuracy")
    yield below("accuracy of the biased erasure less that of the other", worse, -0.03)


def _read(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    results = readers({"here": x}, y, np.arange(len(y)), ("linear", "quadratic"), folds=2)
    return {reader.adversary: reader.estimate.value for reader in results}


@checks_of("A8", "observation and intervention apart")
def observation(quick: bool) -> Iterator[Check]:
    """Move `organism:bios` along a direction that reads the pronoun, and along one that carries it."""
    del quick
    model = load("organism:bios")
    drawn, words = task("bios").prompts(model, 160, environment="broad"), model.tokenizer.get_vocab()
    answer, foil = (torch.full((len(drawn),), words[word]) for word in ("surgeon", "nurse"))
    prompts = replace(drawn, answer=answer, foil=foil)
    results = {}
    for how in ("probe", "means"):
        question = Observational(prompts, place="L1.resid_post", at="@job", label="pronoun", direction=how)
        results[how] = question.answer(Desk(model, {"data": prompts}, networks=0, quiet=True))
    probe, means = ({row["what"]: row["value"] for _, row in results[how].table.iterrows()} for how in results)
    r2, observed = "R2 of the coordinate on all others", "observed: slope alone"
    yield above("R2 of the probe's direction on all others", probe[r2], 0.95)
    yield yes("its observational effect is refused", NO_OVERLAP in results["probe"].marks)
    do = results["probe"].estimate.value
    yield near("what moving along it does, in log-odds", 0, do, 0.5)
    yield above("observed slope over what it does", probe[observed] / max(abs(do), 1e-9), 10)
    yield below("R2 of the difference of means on all others", means[r2], 0.95)
    yield above("what moving along that one does, lower end", results["means"].estimate.low, 1)
    shown = sum(bool(np.isfinite(means[name])) for name in means if name.startswith(("do()", "observed")))
    yield holds("both numbers stand side by side", shown, 3)


@checks_of("A16", "selective invariance")
def invariance(quick: bool) -> Iterator[Check]:
    """Erase the pronoun of `organism:bios` where it is held, and at the end of the last layer, and see what stays."""
    del quick
    model = load("organism:bios")
    prompts = task("bios").prompts(model, 120, environment="broad")
    pairs = {
        name: contrast(f"bios/{name}", model, n=120, environment="broad") for name in ("pronoun", "field", "evidence")
    }
    fit = task("bios").prompts(model, 300, environment="broad", seed=5)
    columns: dict[str, Any] = {"none": ()} | {
        name: erase(model, fit, "pronoun", site, at="@job").edits
        for name, site in (("place", "L1.z.H2"), ("last", "L2.resid_post"))
    }
    matrices = {name: _matrix(model, prompts, pairs, edits) for name, edits in columns.items()}
    sides = [pairs["pronoun"].clean, pairs["pronoun"].corrupt]
    truth = float(np.mean(np.not_equal(*(side.variables["answer"].numpy() for side in sides))))
    yield near("flips with the pronoun", truth, matrices["none"]["pronoun"], 1e-9)
    yield below("flips with the pronoun, erased where it is held", matrices["place"]["pronoun"], 0.05)
    yield between(
        "flips with the pronoun, erased at the last layer",
        matrices["last"]["pronoun"],
        0.1,
        matrices["none"]["pronoun"],
    )
    evidence = [matrices[name]["evidence"] for name in ("none", "last", "place")]
    yield yes("the less of the pronoun is left, the more the evidence decides", evidence == sorted(set(evidence)))
    yield holds("edits under which the field decides always", sum(each["field"] == 1 for each in matrices.values()), 3)
    yield below(
        "flips with the city, largest of three edits", max(each["swap city"] for each in matrices.values()), 0.1
    )


def _matrix(model: Any, prompts: PromptSet, pairs: dict[str, Any], edits: Any) -> dict[str, float]:  # noqa: ANN401
    question = SelectiveInvariance(
        prompts, pairs=pairs, against="all", must_stay=("pronoun", "swap city"), must_change=("field",)
    )
    datasets = {"data": prompts, **{f"pairs.{name}": each for name, each in pairs.items()}}
    table = question.answer(Desk(model, datasets, quiet=True, networks=0, edits=edits)).table
    return dict(zip(table["perturbation"], table["flips"], strict=True))


@checks_of("A20", "a planted trade-off")
def trade_off(quick: bool) -> Iterator[Check]:
    """Ablate the pronoun where it is the legitimate reason: of king and queen."""
    del quick
    yield near("accuracy of king and queen, as it is", 1, _value("none", "royals"), 1e-9)
    yield below("change by the ablation, upper end", swept().change("ablate 1", "royals").high, -0.5)
    front = set(swept().pareto("gender", "royals").front)
    yield yes("full ablation is on the front, the model as it is is not", "ablate 1" in front and "none" not in front)
