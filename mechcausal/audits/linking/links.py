"""Links as a question: which features and heads carry the attribute, and which of them does the behavior use?"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, CountOrZero, OpenShare, Text
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import of_pairs
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import among, as_units, of_ratio
from mechcausal.audits.metered import OfMetric
from mechcausal.audits.question import Family
from mechcausal.audits.redrawn import forwards_of_redraws, redrawn_effect
from mechcausal.audits.sources import DATA, FILE
from mechcausal.data.contrast import Contrast
from mechcausal.data.places import as_text
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.loading import load
from mechcausal.errors import DataError
from mechcausal.links.ceilings import DELETION
from mechcausal.links.linking import Linking
from mechcausal.links.result import Links as Linked
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE, UNASSOCIATED, VERDICTS
from mechcausal.models.attached import attached, detach
from mechcausal.patching.activation import patch
from mechcausal.probes.labels import column_of

FEWEST_NETWORKS = 8  # with which a link compares the total effect, if with any
FEWEST_CLUSTERS = 12


@dataclass(frozen=True, kw_only=True)
class Links(OfMetric):
    """Say of every candidate whether it carries the concept (available), and whether the behavior moves with it (used).

    The estimate is the number of candidates that are both, `causal`, or with `measure="largest"` the largest share of the
    total effect that one of them carries. Reports compare that share pair by pair, and a number of candidates, which is no
    mean over pairs, without that. That a candidate tells the concept never makes it one of these. Further
    columns say what else it does: the share of the effect on legitimate pairs that goes through it, how far text that
    has nothing to do with the concept changes, and whether it has the same effect on the other half of the pairs and in
    other dictionaries. Where the error of a dictionary carries more than a fifth of the effect at its place, the table is
    marked `sae-incomplete`, and no threshold is judged.

    Attributes:
        what: The candidates: sites such as `"z"`, or the name of a dictionary that is attached; all heads unless said.
        dictionary: A dictionary whose features are candidates: its folder, from that of the plan, or `organism:NAME`.
        concept: The column that says what they may carry; 1 in the clean and 0 in the corrupt prompts unless said.
        at: Where candidates are intervened on.
        read_at: Where the concept has to be available; where the metric reads unless said.
        measure: Whether the estimate is the number of causal candidates or their largest share of the effect.
        legitimate: Pairs on which the behavior is to stay: what runs through the candidates there is what removing them
            would cost.
        neutral: Text that has nothing to do with the concept.
        smallest_effect: The smallest share of the total effect that is of interest.
        fdr: The rate of false discoveries.
        random: With how many random directions a feature is compared.
        most: How many features are measured exactly.
        details: For how many candidates, largest effects first, the further columns are measured.
    """

    word: ClassVar[str] = "links"
    family: ClassVar[Family] = "links"
    contrast: ClassVar[str] = "each candidate with its own value against that of the counterpart"
    held_fixed: ClassVar[str] = "all other candidates, up to how they react"
    population: ClassVar[str] = "pairs like those in the data"
    identified: ClassVar[Identified] = "intervention"
    assumptions: ClassVar[tuple[str, ...]] = ("what differs within a pair is the concept, and no more",)
    limits: ClassVar[tuple[str, ...]] = (
        "what is spread over many candidates may be carried by none of them alone",
        "another dictionary has other features",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast,)
    under_edits: ClassVar[bool] = False
    what: Any = field(default=None, metadata={"read": as_text})
    dictionary: Text | None = field(default=None, metadata=FILE)
    concept: Text | None = None
    at: Text = "@all"
    read_at: Text | None = None
    measure: Literal["number", "largest"] = "number"
    legitimate: Any = field(default=None, metadata=DATA)
    neutral: Any = field(default=None, metadata=DATA)
    smallest_effect: OpenShare = 0.02
    fdr: OpenShare = 0.05
    random: CountOrZero = 40
    most: Count = 250
    details: CountOrZero = 12

    @property
    def estimand(self) -> str:
        """What the number is."""
        number = "the number of candidates that tell the concept and through which the behavior moves with it"
        largest = "the largest share of the total effect that goes through one candidate that tells the concept"
        return number if self.measure == "number" else largest

    @property
    def scale(self) -> str:
        """The unit."""
        return "candidates" if self.measure == "number" else "share of the total effect"

    @property
    def site(self) -> str:
        """Where in the model."""
        return f"{self.what or self.dictionary or 'z'}{self.at}"

    def answer(self, desk: Desk) -> Answer:
        """Link the candidates."""
        pairs: Contrast = desk.data
        with self._candidates(desk) as given:
            links = self._asked(desk, given).run(desk.model, pairs)
            legitimate = self._legitimate(desk, links)
            examples = self._examples(desk, links)
        frame = links.of(links.concepts[0])
        causal = frame[frame["verdict"] == CAUSAL]
        incomplete = bool((frame["verdict"] == INCOMPLETE).any())
        estimate = self._estimate(frame, causal, desk.level)
        table = pd.concat([_rows(frame, legitimate), _references(links)], ignore_index=True)
        counts = frame["verdict"].value_counts()
        words = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if word in counts)
        order = causal.iloc[np.argsort(-causal["share"].abs().to_numpy(), kind="stable")]
        first = ", ".join(f"{row['candidate']} ({row['share']:.0%})" for _, row in order.head(4).iterrows())
        total = links.tables["total"]
        says = f"of {len(frame)} candidates for {links.concepts[0]!r} {words}" + (
            f"; causal, by their share of the total effect: {first}" if first else ""
        )
        blocked = str(frame["why"].iloc[0]) if not len(causal) and frame["why"].nunique() == 1 else ""
        marks = {INCOMPLETE: "; ".join(f"the error of {each['name']} carries {each['error']:.0%} of the effect at its place"
                                       for each in links.tables["complete"])} if incomplete else {}  # fmt: skip
        random, learned, trivial = _controls(links, frame, total)
        # A link refuses what redrawn networks do as well, at 1 %; for the plan's own error their p-value must count.
        metric = None if self.metric is None else self.metric_at(desk)
        guard = redrawn_effect(desk, pairs, *desk.both(pairs, metric), metric=metric)
        learned = replace(learned, p=guard.p, guards=guard.guards, says=f"{learned.says}; {guard.says}")
        return Answer(
            estimate, f"{says}; {blocked}" if blocked else says, (random, learned, trivial), table,
            (_figure(frame),), examples, n_tests=int(links.tables["family"]["effects"]), marks=marks,
            cannot_fail=marks.get(INCOMPLETE, ""), units=as_units(self._units(links, causal)), unit_clusters=tuple(map(str, links.clusters)),
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards it takes at most: what is found decides how much is looked at closer."""
        pairs: Contrast = desk.data
        with self._candidates(desk) as given:
            linked = float(self._asked(desk, given).cost(desk.model, pairs).forwards)
        legitimate = desk.held.get("legitimate")
        beside = 0 if legitimate is None else (2 + self.details) * len(legitimate)
        # Then the outcome of both sides, what passes through the first candidate, and the same in redrawn networks.
        return linked + beside + (2 + 3) * len(pairs) + forwards_of_redraws(desk, pairs)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the pairs, the concept and the other data."""
        yield from super().problems(data)
        pairs = data["data"]
        if not isinstance(pairs, Contrast):
            return
        if pairs.clean.n_clusters < FEWEST_CLUSTERS:
            yield f"{self._name_of('data')} has {pairs.clean.n_clusters} clusters; a link chooses on one half and judges on the other: bring at least {FEWEST_CLUSTERS}"
        if self.concept is not None:
            try:
                column_of(pairs.clean, self.concept)
            except DataError as error:
                yield str(error)
        if not isinstance(data.get("legitimate", pairs), Contrast):
            yield "legitimate must hold pairs"
        if not isinstance(data.get("neutral", pairs.clean), PromptSet):
            yield "neutral must hold prompts"

    @contextmanager
    def _candidates(self, desk: Desk) -> Generator[Any]:
        """Give the candidates; a dictionary is attached meanwhile."""
        if self.dictionary is None:
            yield self.what or "z"
            return
        before = set(attached(desk.model))
        dictionary = load(desk.model, desk.path(self.dictionary))
        try:
            yield [dictionary.name, self.what] if self.what else dictionary
        finally:
            if dictionary.name not in before:
                detach(desk.model, dictionary.name)

    def _asked(self, desk: Desk, given: Any) -> Linking:  # noqa: ANN401
        n = len(desk.data)
        probes: Any = self.concept or {"the factor": [*([1] * n), *([0] * n)]}
        return Linking(
            given, probes, at=self.at, read_at=self.read_at, metric=self.metric_at(desk), smallest_effect=self.smallest_effect,
            fdr=self.fdr, random=self.random, redrawn=max(FEWEST_NETWORKS, desk.networks) if desk.networks else 0,
            most=self.most, details=self.details, neutral=desk.held.get("neutral"), batch_size=desk.batch_size, seed=desk.seed,
        )  # fmt: skip

    def _legitimate(self, desk: Desk, links: Linked) -> dict[str, float]:
        """Return the share of the effect on legitimate pairs that goes through each candidate that is used."""
        pairs = desk.held.get("legitimate")
        if pairs is None or not self.details:
            return {}
        frame = links.of(links.concepts[0])
        used = frame[frame["verdict"].isin((CAUSAL, UNASSOCIATED, CORRELATE))]
        used = used.iloc[np.argsort(-used["share"].abs().to_numpy(), kind="stable")].head(self.details)
        if used.empty:
            return {}
        result = patch(
            desk.model,
            pairs,
            sites=list(used["site"]),
            at=self.at,
            metric=self.metric_at(desk),
            batch_size=desk.batch_size,
        )
        return dict(zip(used["candidate"], result.frame["effect"].astype(float), strict=True))

    def _examples(self, desk: Desk, links: Linked) -> tuple[dict[str, Any], ...]:
        """Return the pairs, with their effect and what of it passes through the causal candidate that carries most."""
        pairs: Contrast = desk.data
        clean, corrupt = desk.both(pairs, self.metric_at(desk))
        columns: dict[str, Any] = {"clean_outcome": clean, "corrupt_outcome": corrupt, "effect": clean - corrupt}
        frame = links.of(links.concepts[0])
        causal = frame[frame["verdict"] == CAUSAL]
        if len(causal):
            row = causal.iloc[int(causal["share"].abs().argmax())]
            through = patch(
                desk.model, pairs, sites=[row["site"]], at=self.at, direction="denoise", metric=self.metric_at(desk),
                batch_size=desk.batch_size,
            )  # fmt: skip
            columns[f"through {row['candidate']}"] = through.examples[0] - through.baselines["base"]
        return of_pairs(desk.model, pairs, columns, columns["effect"])

    def _estimate(self, frame: pd.DataFrame, causal: pd.DataFrame, level: float) -> Estimate:
        if self.measure == "number":
            return Estimate.exact(len(causal), len(frame))
        if causal.empty:
            return Estimate(0.0, n=len(frame))
        n = int(causal["n"].iloc[0])
        shares = [
            Estimate.interval(float(row["share"]), float(row["share_low"]), float(row["share_high"]), n, int(row["n_clusters"]), level)
            for _, row in causal.iterrows()
        ]  # fmt: skip
        return Estimate.largest(shares)

    def _units(self, links: Linked, causal: pd.DataFrame) -> np.ndarray:
        """Return the units of the largest share over the pairs that judge; a count of candidates is no mean over pairs."""
        if self.measure == "number" or causal.empty:
            return np.array([])
        row = causal.loc[causal["share"].idxmax()]
        places = (links.frame["concept"] == row["concept"]) & (links.frame["candidate"] == row["candidate"])
        through = links.examples[int(np.flatnonzero(places)[0])] - links.baselines["base"]
        total = links.baselines["clean"] + links.baselines["corrupt"] - 2 * links.baselines["base"]
        judging = np.isfinite(through)
        return among(of_ratio(through[judging], total[judging]), judging)


def _rows(frame: pd.DataFrame, legitimate: Mapping[str, float]) -> pd.DataFrame:
    """Return the linkage table: available, used, legitimate, stable."""
    columns = {
        "candidate": "candidate", "kind": "kind", "verdict": "verdict", "why": "why", "frequency": "firing_rate",
        "auc": "available_auc", "auc_low": "available_low", "auc_high": "available_high", "available": "available",
        "share": "used_share", "share_low": "used_low", "share_high": "used_high", "q": "used_q", "used": "used",
        "random_high": "random_high", "kl_neutral": "kl_neutral", "share_other_half": "share_other_half",
        "seed_in": "seeds", "seed_used": "seeds_alike",
    }  # fmt: skip
    kept = {old: new for old, new in columns.items() if old in frame}
    table = frame[list(kept)].rename(columns=kept).reset_index(drop=True)
    table["legitimate_share"] = [legitimate.get(str(name), float("nan")) for name in frame["candidate"]]
    if "share_other_half" in table:
        alike = np.sign(table["share_other_half"]) == np.sign(table["used_share"])
        table["stable"] = np.where(table["share_other_half"].isna(), "", np.where(alike, "yes", "no"))
    order = np.argsort(-table["used_share"].abs().fillna(0).to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _references(links: Linked) -> pd.DataFrame:
    """Return the rows that every table of links needs beside it: the error, all features, dense directions."""
    rows = links.ceilings
    if rows.empty:
        return pd.DataFrame()
    names = [f"{what} ({where})" for what, where in zip(rows["what"], rows["where"], strict=True)]
    shares = {f"used_{end or 'share'}": rows[f"share{end and '_'}{end}"] for end in ("", "low", "high")}
    return pd.DataFrame({"candidate": names, "kind": "reference", **shares}).reset_index(drop=True)


def _controls(links: Linked, frame: pd.DataFrame, total: Mapping[str, Any]) -> tuple[Control, ...]:
    directions = frame["random_high"].dropna() if "random_high" in frame else pd.Series(dtype=float)
    if len(directions):
        high = float(directions.max())
        random = Control(
            "random", f"random directions at the same places carry at most {high:.1%} of the effect",
            Estimate(high, n=len(directions)),
        )  # fmt: skip
    else:
        random = Control.inapplicable(
            "random", "heads are compared with one another, and a head has no random counterpart"
        )
    compared = "not compared" not in str(total["sentence"])
    beyond = not any("redrawn" in str(why) for why in frame["why"].unique())
    effect = Estimate(float(total["effect"]), float(total["low"]), float(total["high"]))
    ceilings = links.ceilings
    deleted = ceilings[ceilings["what"] == DELETION] if len(ceilings) else ceilings
    trivial = Control.inapplicable("trivial-input", "tokens cannot be deleted in these pairs")
    if len(deleted):
        row = deleted.iloc[0]
        estimate = Estimate(float(row["share"]), float(row["share_low"]), float(row["share_high"]))
        says = f"deleting the tokens that differ does {estimate.value:.0%} of what exchanging them does"
        trivial = Control("trivial-input", says, estimate)
    learned = Control("no-learning", str(total["sentence"]), effect, holds=beyond if compared else None)
    return random, learned, trivial


def _figure(frame: pd.DataFrame) -> Points:
    points = tuple(
        Point(str(row["candidate"]), float(row["auc"]), float(row["share"]), float(row["auc_low"]), float(row["auc_high"]),
              float(row["share_low"]), float(row["share_high"]), group=str(row["verdict"]))
        for _, row in frame.iloc[np.argsort(-frame["share"].abs().fillna(0).to_numpy(), kind="stable")][:400].iterrows()
    )  # fmt: skip
    return Points(points, "Available and used", "AUC for the concept", "share of the total effect")
