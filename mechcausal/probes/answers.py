"""Answer the questions of a suite: one row for each question, place and kind of probe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mechcausal.address import Place, Site, expand
from mechcausal.arguments import CountOrZero, Model
from mechcausal.data.places import SiteSpec, places, plain
from mechcausal.data.templates import undeclared_templates
from mechcausal.errors import DataError
from mechcausal.method import function
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import measure
from mechcausal.models.facts import facts
from mechcausal.probes.held_out import HeldOut, area
from mechcausal.probes.procedure import ProbeCost, ProbeKind, ProbingMethod, Procedure, Score, examples
from mechcausal.probes.readings import Reading, readings
from mechcausal.probes.suites import MEMBERSHIPS, Question, Suite
from mechcausal.probes.sweep import ProbeSweep, gathered, read_cell
from mechcausal.results.intervals import Interval, ratio_interval
from mechcausal.results.multiplicity import benjamini_hochberg
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import mark_of


@dataclass(frozen=True, repr=False)
class SuiteResult(ProbeSweep):
    """One row for each question, place and kind of probe, in the columns of `ProbeSweep` and more.

    - `family`, `asks` and `question` say what is asked;
    - `association` with its interval, of a stereotype: by how much the log-odds of the probe of the protected attribute
      rise from one value of the trait to the other, among people of the same group, held out. At zero the probe does not
      take the trait for the group;
    - `loss_auc`, of memberships: what the attack reaches that looks at the model's own loss and at no activation.

    `q` and `p_max` are corrected for the rows of all questions: `p_max` by max-T within a question, times the number of
    questions.
    """

    def _head_lines(self) -> list[str]:
        """Say how many questions were asked, and which could not be."""
        p = self.provenance
        return [
            f"suite {p.arguments['suite']}: {self.frame['question'].nunique()} questions, "
            f"{p.compute['forwards']} forwards",
            *(f"  skipped: {name}: {why}" for name, why in p.arguments["skipped"].items()),
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say for each question where it is answered best."""
        del k  # every question is said
        lines = []
        for _, part in self.frame.groupby("question", sort=False):
            row = part.loc[part["effect"].fillna(-np.inf).idxmax()]
            lines.append(f"  {row['family']}, {row['asks']}: {row['question']}")
            text = f"  {mark_of(row)}{row['site'] + row['at']}, {row['kind']}: {row['value']:.3f}"
            low, high = (
                row["accuracy_" + end] if row["kind"] != "ridge" else row["r2_" + end] for end in ("low", "high")
            )
            text += f" [{low:.3f}, {high:.3f}], guessing {row['guess']:.3f}"
            for name in ("bayes", "selectivity", "association", "loss_auc", "p"):
                if name in row and np.isfinite(row[name]):
                    text += f", {name} {row[name]:.3f}"
            lines.append(text)
        return lines


@dataclass(frozen=True, kw_only=True)
class ProbingSuite(ProbingMethod[Suite, SuiteResult]):
    """Answer every question of a suite at every site.

    Estimand: as for `probe`, for each question and site.

    Attributes:
        sites: Where to read: a component word, a pattern, a site, or a list of these.
        kinds: What kinds of probes read classes; by default `["logistic"]`. Numbers are read by `"ridge"`.
        score: What `value` is: `"accuracy"` or `"balanced_accuracy"`.
        control: Whether to run control tasks.
        mdl: Whether to compute the online code.
        permutations: How many times labels are shuffled for p; `q` is over all rows.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> asked = mc.features.suite("hiring/fairness", model, 200)
        >>> answers = mc.features.probe_suite(model, asked, sites="L2.resid_post")
        >>> sorted(set(answers.frame["asks"]))
        ['group-conditional error', 'protected attribute', 'stereotype association']
    """

    word: ClassVar[str] = "probe_suite"
    sites: SiteSpec = "resid_post"
    kinds: Sequence[ProbeKind] | None = None
    score: Score = "accuracy"
    control: bool = True
    mdl: bool = False
    permutations: CountOrZero = 0

    def run(self, model: Model, data: Suite) -> SuiteResult:
        """Fit and measure one probe for each question, site and kind."""
        started = time.perf_counter()
        sites = self._sites(model, data)
        size, forwards, parts = self.batch_size, 0, []
        total = len(sites) * sum(len(self._kinds(question)) for question in data)
        bar = tqdm(total=total, desc="probing", unit="probe", disable=None, leave=False)
        for question in data:
            where = [places([site], question.at, question.prompts)[0] for site in sites]
            batches = -(-len(question.prompts) // size)
            forwards += batches * (1 + (question.asks in MEMBERSHIPS))
            attack = {"loss_auc": _by_loss(model, question, size) if question.asks in MEMBERSHIPS else np.nan}
            rows, cells = [], []
            for reading in readings(model, question.prompts, where, pool=question.pool, batch_size=size):
                linked = _association(question, reading, self.procedure("logistic"))
                for kind in self._kinds(question):
                    row, cell = read_cell(
                        question.prompts,
                        reading,
                        question.labels,
                        question.types,
                        question.task,
                        self._procedure(kind),
                    )
                    rows.append(row | attack | linked | _asked(question, reading.place, kind))
                    cells.append(cell)
                    bar.update()
            parts.append((rows, cells, question))
        bar.close()
        stated = facts(model, data.questions[0].prompts, started=started, forwards=forwards, batch_size=size)
        stated["prompts"] |= _templates_of_any(data)
        provenance = Provenance(
            method=self.word,
            arguments={
                "metric": self.score, "score": self.score, "suite": data.name, "skipped": dict(data.skipped),
                "kind": list(self.kinds or ("logistic",)), "sites": plain(self.sites), "folds": self.folds,
                "settings": {"C": self.C, "k": self.k},
            },
            seed=self.seed,
            **stated,
        )  # fmt: skip
        results = [gathered(rows, cells, question.prompts, self.score, provenance) for rows, cells, question in parts]
        frame = pd.concat([result.frame for result in results], ignore_index=True)
        frame["q"] = benjamini_hochberg(frame["p"].to_numpy())
        frame["p_max"] = (frame["p_max"] * len(results)).clip(upper=1.0)
        widest = max(result.examples.shape[1] for result in results)
        hits, guesses = (
            np.concatenate([_widened(table, widest) for table in tables])
            for tables in ([result.examples for result in results], [result.baselines["base"] for result in results])
        )
        return SuiteResult(frame, provenance, hits, {"base": guesses})

    def cost(self, model: Model, data: Suite) -> ProbeCost:
        """Return what it would take; nothing is run."""
        cells = len(self._sites(model, data)) * sum(len(self._kinds(question)) for question in data)
        prompts = [len(question.prompts) * (1 + (question.asks in MEMBERSHIPS)) for question in data]
        longest = max(len(question.prompts) for question in data)
        fits = cells * self._procedure("logistic").fits
        return ProbeCost(cells, longest, sum(prompts), sum(prompts) * cells // len(data), fits)

    def _procedure(self, kind: str) -> Procedure:
        return self.procedure(kind, control=self.control, mdl=self.mdl, permutations=self.permutations)

    def _kinds(self, question: Question) -> Sequence[ProbeKind]:
        return ("ridge",) if question.labels.numbers is not None else self.kinds or ("logistic",)

    def _sites(self, model: Model, suite: Suite) -> list[Site]:
        """Return the sites; refuse a suite without questions, and no kinds."""
        if not len(suite) or self.kinds == ():
            raise DataError(
                "there is nothing to answer", fix="give a suite with questions, and at least one kind of probe"
            )
        return expand(self.sites, abilities(model).shape)


def _templates_of_any(data: Suite) -> dict[str, int]:
    """Return what to state where the texts of a question, each with its own, come from templates that nobody declared."""
    for question in data:
        if templates := undeclared_templates(question.prompts):
            return {"undeclared_templates": templates, "n_with_templates": len(question.prompts)}
    return {}


def _asked(question: Question, place: Place, kind: str) -> dict[str, Any]:
    return {
        "family": question.family, "asks": question.asks, "question": question.name,
        "role": f"{place.site} {kind}", "variables": question.name,
    }  # fmt: skip


def _widened(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=np.nan)


def _association(question: Question, reading: Reading, procedure: Procedure) -> dict[str, float]:
    """Return by how much the held-out log-odds of the protected attribute rise with the trait, within groups."""
    slope = Interval(np.nan, np.nan, np.nan, 0, 0)
    if question.given is not None and len(question.given.classes) == len(question.labels.classes) == 2:
        data = examples(question.prompts, reading, question.given)
        held_out = procedure.held_out(data)
        assert isinstance(held_out, HeldOut)
        scores = held_out.log_probabilities
        trait = question.labels.codes[data.rows]
        slope = association(scores[:, 1] - scores[:, 0], trait, data.y, data.clusters)
    return {"association": slope.estimate, "association_low": slope.low, "association_high": slope.high}


def association(log_odds: np.ndarray, trait: np.ndarray, group: np.ndarray, clusters: np.ndarray) -> Interval:
    """Return the slope of log-odds in a trait (1 or 0, -1 where unknown) among examples of the same group."""
    labeled = trait >= 0
    score, value = log_odds.astype(float), trait.astype(float)
    for code in np.unique(group[labeled]):
        inside = labeled & (group == code)
        score[inside] -= score[inside].mean()
        value[inside] -= value[inside].mean()
    return ratio_interval((score * value)[labeled], (value**2)[labeled], clusters[labeled])


def _by_loss(model: Model, question: Question, batch_size: int) -> float:
    """Return the AUC of the attack that calls a text a member where the model's loss is low."""
    codes = question.labels.codes
    loss = measure(model, question.prompts, metric("loss"), batch_size=batch_size).values[0]
    return area(-loss[codes >= 0], codes[codes >= 0] == 1)


probe_suite = function(
    ProbingSuite, data="suite", about='The questions: `suite("hiring", model)`, `fairness(...)`, or several added up.'
)
