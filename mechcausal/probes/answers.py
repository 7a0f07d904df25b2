"""Answer the questions of a suite: one row for each question, place and kind of probe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mechcausal.address import Place, expand
from mechcausal.data.places import SiteSpec, places, plain
from mechcausal.errors import DataError
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import measure
from mechcausal.models.facts import facts
from mechcausal.probes.held_out import area
from mechcausal.probes.kinds import Settings
from mechcausal.probes.probing import Procedure, examples
from mechcausal.probes.readings import Reading, readings
from mechcausal.probes.suites import MEMBERSHIPS, Question, Suite
from mechcausal.probes.sweep import ProbeSweep, Score, gathered, read_cell
from mechcausal.results.intervals import Interval, ratio_interval
from mechcausal.results.multiplicity import benjamini_hochberg
from mechcausal.results.provenance import Provenance


@dataclass(frozen=True, repr=False)
class SuiteResult(ProbeSweep):
    """One row for each question, place and kind of probe, in the columns of `ProbeSweep` and more.

    - `family`, `asks` and `question` say what is asked;
    - `association` with its interval, of a stereotype: by how much the log-odds of the probe of the protected attribute
      rise from one value of the trait to the other, among people of the same group, held out. At zero the probe does not
      take the trait for the group;
    - `loss_auc`, of memberships: what the attack reaches that looks at the model's own loss and at no activation.
    """

    def summary(self, k: int = 5) -> str:
        """Say for each question where it is answered best."""
        p = self.provenance
        lines = [
            f"suite {p.arguments['suite']}: {self.frame['question'].nunique()} questions, "
            f"{p.compute['forwards']} forwards"
        ]
        for _, part in self.frame.groupby("question", sort=False):
            row = part.loc[part["effect"].fillna(-np.inf).idxmax()]
            lines.append(f"  {row['family']}, {row['asks']}: {row['question']}")
            text = f"    {row['site'] + row['at']}, {row['kind']}: {row['value']:.3f}"
            text += f" [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}], guessing {row['guess']:.3f}"
            for name in ("bayes", "selectivity", "association", "loss_auc", "p"):
                if name in row and np.isfinite(row[name]):
                    text += f", {name} {row[name]:.3f}"
            lines.append(text)
        lines += [f"  skipped: {name}: {why}" for name, why in p.arguments["skipped"].items()]
        return "\n".join(lines)


def probe_suite(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    suite: Suite,
    *,
    sites: SiteSpec = "resid_post",
    kinds: Sequence[str] = ("logistic",),
    score: Score = "accuracy",
    control: bool = True,
    mdl: bool = False,
    permutations: int = 0,
    settings: Settings | None = None,
    folds: int = 5,
    batch_size: int = 64,
    seed: int = 0,
) -> SuiteResult:
    """Answer every question of a suite at every site.

    Args:
        model: The model.
        suite: The questions: `suite("hiring", model)`, `fairness(...)`, `privacy(...)`, or several added up.
        sites: Where to read: a component word, a pattern, a site, or a list of these.
        kinds: What kinds of probes.
        score: What `value` is: `"accuracy"` or `"balanced_accuracy"`.
        control: Whether to run control tasks.
        mdl: Whether to compute the online code.
        permutations: How many times labels are shuffled for p; `q` is over all rows.
        settings: How probes are fitted.
        folds: How many folds.
        batch_size: How many prompts at a time.
        seed: The seed of folds, controls and networks.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> asked = mc.features.suite("hiring/fairness", model, 200)
        >>> found = mc.features.probe_suite(model, asked, sites="L2.resid_post")
        >>> sorted(set(found.frame["asks"]))
        ['group-conditional error', 'protected attribute', 'stereotype association']
    """
    started = time.perf_counter()
    if not len(suite) or not kinds:
        raise DataError("there is nothing to answer", fix="give a suite with questions, and at least one kind of probe")
    settings = settings or Settings(seed=seed)
    wholes = expand(sites, abilities(model).shape)
    parts, forwards = [], 0
    bar = tqdm(total=len(suite) * len(wholes) * len(kinds), desc="probing", unit="probe", disable=None, leave=False)
    for question in suite:
        where = [places([site], question.at, question.prompts)[0] for site in wholes]
        found = readings(model, question.prompts, where, pool=question.pool, batch_size=batch_size)
        forwards += -(-len(question.prompts) // batch_size)
        told: dict[str, Any] = {"loss_auc": np.nan}
        if question.asks in MEMBERSHIPS:
            told["loss_auc"] = _by_loss(model, question, batch_size)
            forwards += -(-len(question.prompts) // batch_size)
        rows, cells = [], []
        for place, read in zip(where, found, strict=True):
            linked = _association(question, read, Procedure("logistic", settings, folds, seed))
            for kind in kinds:
                asked = Procedure(kind, settings, folds, seed, control, mdl, permutations)
                row, cell = read_cell(question.prompts, read, question.labels, question.types, question.task, asked)
                rows.append(row | told | linked | _asked(question, place, kind))
                cells.append(cell)
                bar.update()
        parts.append((rows, cells, question))
    bar.close()
    provenance = Provenance(
        method="probe_suite",
        arguments={
            "metric": score, "score": score, "suite": suite.name, "skipped": dict(suite.skipped), "kind": list(kinds),
            "sites": plain(sites), "folds": folds, "settings": {"C": settings.C, "k": settings.k},
        },
        seed=seed,
        **facts(model, suite.questions[0].prompts, started=started, forwards=forwards, batch_size=batch_size),
    )  # fmt: skip
    results = [gathered(rows, cells, q.prompts, q.pool, score, provenance) for rows, cells, q in parts]
    frame = pd.concat([one.frame for one in results], ignore_index=True)
    if permutations:
        frame["q"] = benjamini_hochberg(frame["p"].to_numpy())
    widest = max(one.examples.shape[1] for one in results)
    stacked = [np.concatenate([_widened(table, widest) for table in tables]) for tables in
               ([one.examples for one in results], [one.baselines["base"] for one in results])]  # fmt: skip
    return SuiteResult(frame, provenance, stacked[0], {"base": stacked[1]})


def _asked(question: Question, place: Place, kind: str) -> dict[str, Any]:
    return {
        "family": question.family, "asks": question.asks, "question": question.name,
        "role": f"{place.site} {kind}", "variables": question.name,
    }  # fmt: skip


def _widened(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=np.nan)


def _association(question: Question, read: Reading, asked: Procedure) -> dict[str, float]:
    """Return by how much the held-out log-odds of the protected attribute rise with the trait, within groups."""
    found = Interval(np.nan, np.nan, np.nan, 0, 0)
    if question.given is not None and len(question.given.classes) == len(question.labels.classes) == 2:
        data = examples(question.prompts, read, question.given)
        held = asked.held_out(data)
        trait = question.labels.codes[data.rows]
        found = association(held.log_probabilities[:, 1] - held.log_probabilities[:, 0], trait, data.y, data.clusters)
    return {"association": found.estimate, "association_low": found.low, "association_high": found.high}


def association(log_odds: np.ndarray, trait: np.ndarray, group: np.ndarray, clusters: np.ndarray) -> Interval:
    """Return the slope of log-odds in a trait (1 or 0, -1 where unknown) among examples of the same group."""
    known = trait >= 0
    score, value = log_odds.astype(float), trait.astype(float)
    for code in np.unique(group[known]):
        inside = known & (group == code)
        score[inside] -= score[inside].mean()
        value[inside] -= value[inside].mean()
    return ratio_interval((score * value)[known], (value**2)[known], clusters[known])


def _by_loss(model: Any, question: Question, batch_size: int) -> float:  # noqa: ANN401
    """Return the AUC of the attack that calls a text a member where the model's loss is low."""
    codes = question.labels.codes
    loss = measure(model, question.prompts, metric("loss"), batch_size=batch_size).values[0]
    return area(-loss[codes >= 0], codes[codes >= 0] == 1)
