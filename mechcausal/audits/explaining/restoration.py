"""Restoration: in which layers did training put what the model does? Found on some of the data, tested on the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.examples import of_pairs
from mechcausal.audits.explaining.learned import OTHERS, clusters_of, learned, shown_of, units_of
from mechcausal.audits.fairness.controls import detectable
from mechcausal.audits.figures import Bar, Bars
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.journal import Rows
from mechcausal.audits.plain import number
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.exposures import MOST, NULL_MEAN, Ranker, forwards_of_a_rank, null_mean_p
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.prompting import OTHER, OtherModel, other_model
from mechcausal.audits.privacy.ranks import Speller
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.sources import DATA
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import FEWEST, split
from mechcausal.models.restored import OUTSIDE, Parts, Restorer, restoring
from mechcausal.results.multiplicity import holm, t_test
from mechcausal.steering.neutral import neutral_prompts

_NAMED = 12  # parts that the sentence names
# How many parts of a model differ from those of a base, so that what it costs is said without loading the base again.
_differing: WeakKeyDictionary[Any, dict[tuple[str, str], int]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Half:
    """Some of the data, and what was measured on them under each restoration, [cell unit]."""

    data: Any
    values: np.ndarray

    @property
    def clusters(self) -> tuple[str, ...]:
        return clusters_of(self.data)


@dataclass(frozen=True, kw_only=True)
class Restoration(AuditQuestion):
    """Find the layers in which training put an effect or a secret, and test that without them it is gone.

    A layer is restored where it computes with the weights that it had in `base`, from the stream that it reads now. Each layer
    whose weights differ is restored alone on half of the data. Those that move the number towards that of the base (t-tests,
    after Holm's adjustment) are named; on the other half they are restored together.

    Of pairs the number is the effect of the factor on the outcome. Of canaries it is the exposure; layers are chosen by the
    log-odds of the secret against other candidates behind the same prefix, so that what training taught about the form of
    secrets does not count. In a model that never saw the secrets these are 0 on average.

    Attributes:
        base: The model before training, as `mc.load` takes it: of the same sizes, with the same tokenizer.
        by: Whether a part is a `"layer"`, or a `"sublayer"`: attention or MLP, with the norm before it.
        measure: Of canaries `"exposure"` in bits, or the `"log_odds"` against other candidates in nats, which need no ranks.
        neutral: Prompts or texts whose loss must stay (of the answers, where prompts have any); sentences that come with
            the package unless said.
    """

    word: ClassVar[str] = "restoration"
    family: ClassVar[Family] = "explainability"
    population: ClassVar[str] = "units like those that the layers were not chosen on"
    held_fixed: ClassVar[str] = "the weights of all other layers, which read what the restored ones write"
    identified: ClassVar[Identified] = "intervention"
    null: ClassVar[float | None] = 0.0
    assumptions: ClassVar[tuple[str, ...]] = ("the model was trained from the base that is named",)
    limits: ClassVar[tuple[str, ...]] = (
        "a layer that matters only together with others is missed by restoring one at a time",
    )
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast, Canaries)
    under_edits: ClassVar[bool] = False
    base: OtherModel = field(default=None, metadata=OTHER)
    by: Parts = "layer"
    measure: Literal["exposure", "log_odds"] = "exposure"
    neutral: Any = field(default=None, metadata=DATA)

    @property
    def estimand(self) -> str:
        """What the number is."""
        return (
            "by how much the exposure (or the log-odds) of secrets, or the effect of the factor, falls when the layers that "
            "were found on the other half of the data have the weights that they had before training"
        )

    @property
    def contrast(self) -> str:
        """What is compared with what."""
        return f"the model against the same model with the weights of {OTHER['write'](self.base)} in these layers"

    @property
    def scale(self) -> str:
        """The unit of the number."""
        return "bits of exposure (nats for log-odds), or the unit of the outcome"

    @property
    def site(self) -> str:
        """Where."""
        return "each layer" if self.by == "layer" else "attention and MLP of each layer"

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the data."""
        yield from super().problems(data)
        if self.base is None:
            yield "it needs base=, the model before training"
        main, neutral = data["data"], data.get("neutral")
        if neutral is not None and not isinstance(neutral, (PromptSet, Members)):
            yield f"neutral is prompts or texts, and {self._name_of('neutral')} holds a {type(neutral).__name__}"
        if not isinstance(main, self.takes):
            return
        if isinstance(main, Canaries) and not main.inserted.any():
            yield "none of its canaries was shown in training (every count is 0)"
            return
        count = len(np.unique(units_of(shown_of(main))))
        if count < 2 * FEWEST:
            what = "secrets" if isinstance(main, Canaries) else "clusters of pairs"
            yield f"{count} {what} are too few to choose layers on half and test them on the other: bring {2 * FEWEST}"
        if isinstance(main, Canaries) and self.measure == "exposure" and len(main.candidates) > MOST:
            yield f'there are more than {MOST:,} candidates to rank: use measure = "log_odds"'

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say why the outcome cannot be read of pairs; secrets need none."""
        if isinstance(desk.data, Contrast):
            from mechcausal.audits.outcome import unread

            yield from unread(desk.outcome, desk.data)

    def require_fit(self, desk: Desk) -> None:
        """Refuse a base of other sizes, or with another tokenizer."""
        _differing.setdefault(desk.model, {})[self._key(desk)] = self._count(desk)

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards of one prompt it takes."""
        counts, key = _differing.get(desk.model, {}), self._key(desk)
        count = counts[key] if key in counts else self._count(desk)
        ranked = 0.0
        if (
            isinstance(desk.data, Canaries) and self.measure == "exposure"
        ):  # as it is, and with the parts that are named
            ranked = len(shown_of(desk.data)) * forwards_of_a_rank(desk.model, desk.data, "exact", 0)
        rows = (1 + OTHERS) * len(desk.data) if isinstance(desk.data, Canaries) else desk.size
        neutral, _ = neutral_prompts(desk.model, _neutral(desk))
        # On one half as it is, each part alone and all together; on the other as it is and with up to four sets.
        return rows * (count + 2 + 5) / 2 + (0 if neutral is None else 2 * len(neutral)) + ranked

    def _key(self, desk: Desk) -> tuple[str, str]:
        return desk.path(self.base) if isinstance(self.base, str) else OTHER["write"](self.base), self.by

    def _count(self, desk: Desk) -> int:
        """Return how many parts have other weights than in the base."""
        restorer = Restorer(desk.model, other_model(desk, self.base), self.by)
        return sum(restorer.changed[part] > 0 for part in restorer.parts)

    def answer(self, desk: Desk) -> Answer:
        """Return what restoring the layers does to the data that they were not chosen on."""
        data = shown_of(desk.data)
        sides = split(units_of(data), 0.5, seed=[desk.seed, 41], fewest=FEWEST)
        neutral, no_neutral = neutral_prompts(desk.model, _neutral(desk))
        with restoring(desk.model, other_model(desk, self.base), self.by) as restore:
            differing = [part for part in restore.parts if restore.changed[part]]
            cells = [(), *((part,) for part in differing), tuple(differing)]
            first = self._measured(desk, restore, data.take(sides.first), cells, "first half")
            tested = self._tested(desk, restore, differing, first)
            named = [part for part in restore.parts if tested.get(part, {}).get("chosen")]
            drawn = self._drawn(desk, [part for part in differing if part not in named], named, restore.parts)
            cells = [(), tuple(named), tuple(differing), drawn, (OUTSIDE,)]
            second = self._measured(desk, restore, data.take(sides.second), cells, "second half")
            exposed = self._exposures(desk, restore, second.data, named)
            loss = self._losses(desk, restore, neutral, cells[:2])
            unseen = self._never_shown(desk, restore, cells[:2])
        values = exposed if len(exposed) else second.values
        fall = values[0] - values[1]
        estimate = desk.mean(fall, second.clusters) if named else Estimate.exact(0.0, len(fall))
        before, after = desk.mean(values[0], second.clusters), desk.mean(values[1], second.clusters)
        cost = desk.mean(loss[1] - loss[0], neutral.clusters) if neutral is not None else None
        controls = (
            self._random(desk, second, drawn, bool(named)),
            self._as_in_the_base(desk, second, exposed, unseen),
            self._outside(desk, second, restore),
        )
        rows = [self._row(desk, second, name, row) for row, name in enumerate(("none", "found", "all that differ"))]
        rows[1] |= {"parts": ", ".join(named)}
        if len(exposed):
            rows[0] |= {"exposure": before.value}
            rows[1] |= {"exposure": after.value}
        if cost is not None:
            rows[1] |= {"loss_rise": cost.value, "loss_low": cost.low, "loss_high": cost.high}
        return Answer(
            estimate, self._says(desk, restore, differing, named, (before, after, estimate, cost), len(second.data)), controls,
            pd.DataFrame([*rows, *tested.values()]), self._figures(tested, first.data), self._examples(desk, second, exposed),
            n_tests=len(differing), units=tuple(map(float, fall)), unit_clusters=tuple(second.clusters),
            smallest_detectable=detectable(estimate),
            limits=(f"the loss on neutral text was not measured: {no_neutral}",) if no_neutral else (),
        )  # fmt: skip

    def _drawn(self, desk: Desk, spared: Sequence[str], named: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """Return as many other parts, drawn at random: of those that training changed too, as far as there are any."""
        draw, count = np.random.default_rng([desk.seed, 42]), max(1, len(named))
        rest = [part for part in parts if part not in (*named, *spared)]
        pool = [
            *(spared[row] for row in draw.permutation(len(spared))),
            *(rest[row] for row in draw.permutation(len(rest))),
        ]
        return tuple(sorted(pool[:count], key=parts.index))

    def _measured(
        self, desk: Desk, restore: Restorer, data: Any, cells: Sequence[Sequence[str]], name: str  # noqa: ANN401 - pairs or canaries
    ) -> _Half:  # fmt: skip
        """Return the number of each unit as each set of parts is restored; those that differ nowhere are not run again."""
        kept: dict[tuple[str, ...], np.ndarray] = {}
        for cell in desk.bar(cells, "restoring", "set"):
            key = tuple(part for part in cell if restore.changed[part])
            if key in kept:
                continue

            def run(key: tuple[str, ...] = key) -> list[float]:
                restore(key)
                return learned(_apart(desk), data).tolist()

            kept[key] = np.array([number(value) for value in desk.rows.row(f"{name} {', '.join(key)}", run)])
        values = [kept[tuple(part for part in cell if restore.changed[part])] for cell in cells]
        return _Half(data, np.array(values))

    def _tested(self, desk: Desk, restore: Restorer, differing: list[str], first: _Half) -> dict[str, dict[str, Any]]:
        """Return a row for each part that differs, with what restoring it alone takes away."""
        if not differing:
            return {}
        falls = first.values[0] - first.values[1:]
        alone, sign = falls[:-1], 1.0 if falls[-1].mean() >= 0 else -1.0
        adjusted = holm(t_test(alone, first.clusters)[1])
        rows = {}
        for row, part in enumerate(differing):
            mean = desk.mean(alone[row], first.clusters)
            rows[part] = {
                "measure": "part", "parts": part, "weights_changed": restore.changed[part], "fall": mean.value,
                "low": mean.low, "high": mean.high, "p_adjusted": float(adjusted[row]),
                "chosen": bool(adjusted[row] <= 1 - desk.level and sign * mean.value > 0),
            }  # fmt: skip
        return rows

    def _exposures(self, desk: Desk, restore: Restorer, data: Any, named: Sequence[str]) -> np.ndarray:  # noqa: ANN401
        """Return the exposure of each secret as the model is, and with the parts restored, [2 secret]; empty where none is asked for."""
        if self.measure != "exposure" or not isinstance(data, Canaries):
            return np.empty(0)
        speller, rows = Speller(desk.model, data.candidates), []
        for name, parts in (("as it is", ()), (", ".join(named), tuple(named)))[: 1 + bool(named)]:
            rankers: list[Ranker] = []

            def row(unit: int, parts: Sequence[str] = parts, rankers: list[Ranker] = rankers) -> dict[str, Any]:
                if not rankers:
                    restore(parts)
                    rankers.append(Ranker(desk.model, data, batch_size=max(256, desk.batch_size), speller=speller))
                return rankers[0].row(unit)

            numbers = desk.bar(range(len(data)), f"exposure, {name or 'as it is'}", "canary")
            kept = [desk.rows.row(f"exposure {name} {unit}", lambda unit=unit: row(unit)) for unit in numbers]
            rows.append([number(each["exposure"]) for each in kept])
        return np.array(rows if named else rows * 2)

    def _losses(
        self, desk: Desk, restore: Restorer, neutral: PromptSet | None, cells: Sequence[Sequence[str]]
    ) -> np.ndarray:
        if neutral is None:
            return np.empty(0)
        answered = neutral.answer is not None or neutral.answers is not None

        def run(cell: Sequence[str]) -> list[float]:
            restore(cell)
            values = _apart(desk).outcomes(neutral, "logprob" if answered else "loss")
            return (-values if answered else values).tolist()

        return np.array([desk.rows.row(f"neutral {', '.join(cell)}", lambda cell=cell: run(cell)) for cell in cells])

    def _never_shown(self, desk: Desk, restore: Restorer, cells: Sequence[Sequence[str]]) -> Estimate | None:
        """Return what secrets that were never shown lose in log-odds; None where there are none."""
        if not isinstance(desk.data, Canaries) or desk.data.inserted.all():
            return None
        unseen = desk.data.take(~desk.data.inserted)
        half = self._measured(desk, restore, unseen, cells, "never shown")
        return desk.mean(half.values[0] - half.values[1], half.clusters)

    def _random(self, desk: Desk, second: _Half, drawn: Sequence[str], named: bool) -> Control:
        lost = desk.mean(second.values[0] - second.values[3], second.clusters)
        sign = 1.0 if (second.values[0] - second.values[1]).mean() >= 0 else -1.0
        gap = desk.mean(sign * (second.values[3] - second.values[1]), second.clusters)
        says = f"with other parts restored instead, drawn at random ({', '.join(drawn)}), the number falls by {lost}"
        p = gap.at_most(0.0) if named else float("nan")
        return Control("random", says, lost, p, holds=p <= 0.05 if named else None)

    def _as_in_the_base(
        self, desk: Desk, second: _Half, exposed: np.ndarray, unseen: Estimate | None
    ) -> Control:  # fmt: skip
        """Return the control of a model that has not learned it: the base, and the law of exposures in any such model."""
        left = desk.mean(second.values[1] - second.values[2], second.clusters)
        base = desk.mean(second.values[2], second.clusters)
        says = f"in the base the number is {base}; with the parts restored it is larger by {left}"
        p, holds = float("nan"), None
        if len(exposed):
            p = null_mean_p(exposed[1])
            says += (
                f" (log-odds); the exposure that is left has a chance of {p:.2g} in a network that never saw the secrets, "
                f"where its mean is {NULL_MEAN:.3f} bits"
            )
            holds = p > 0.05
        if unseen is not None:
            says += f"; secrets that were never shown lose {unseen} nats"
        return Control("no-learning", says, base, holds=holds)

    def _outside(self, desk: Desk, second: _Half, restore: Restorer) -> Control:
        says = "the embeddings, the last norm and the map to the logits are those of the base"
        if not restore.changed[OUTSIDE]:
            return Control(
                "trivial-input", f"{says}, so restoring them changes nothing", Estimate.exact(0.0), holds=True
            )
        lost = desk.mean(second.values[0] - second.values[4], second.clusters)
        says = (
            f"with the embeddings, the last norm and the map to the logits restored alone, the number falls by {lost}"
        )
        return Control("trivial-input", says, lost)

    def _says(
        self, desk: Desk, restore: Restorer, differing: Sequence[str], named: Sequence[str],
        means: tuple[Estimate, Estimate, Estimate, Estimate | None], n: int,
    ) -> str:  # fmt: skip
        before, after, fall, cost = means
        what = self._what(desk.data)
        name = OTHER["write"](self.base)
        if not differing:
            return f"no weights differ from those of {name}, so there is nothing to restore; {what} of {n} units is {before}"
        of = f"{len(differing)} of {len(restore.parts)} parts have other weights than in {name} ({_listed(differing)})"
        if not named:
            return f"{of}, and restoring none of them alone is seen to change {what}, which is {before}"
        text = (
            f"{of}; with {_listed(named)} restored, which were found on other units, {what} of {n} units goes from "
            f"{before.value:.3g} to {after}: it falls by {fall}"
        )
        return text if cost is None else f"{text}; the loss of neutral text changes by {cost} nats"

    def _what(self, data: Any) -> str:  # noqa: ANN401 - pairs or canaries
        if isinstance(data, Contrast):
            return "the effect on the outcome"
        return "the mean exposure" if self.measure == "exposure" else "the mean log-odds of the secret"

    def _row(self, desk: Desk, second: _Half, name: str, row: int) -> dict[str, Any]:
        mean = desk.mean(second.values[row], second.clusters)
        return {"measure": f"restored: {name}", "value": mean.value, "low": mean.low, "high": mean.high}

    def _figures(self, tested: Mapping[str, Mapping[str, Any]], data: Any) -> tuple[Bars, ...]:  # noqa: ANN401
        if not tested:
            return ()
        bars = tuple(Bar(part, row["fall"], row["low"], row["high"]) for part, row in tested.items())
        unit = "log-odds of the secret (nats)" if isinstance(data, Canaries) else "effect on the outcome"
        return (Bars(bars, "What is lost when one part alone is restored", unit),)

    def _examples(self, desk: Desk, second: _Half, exposed: np.ndarray) -> tuple[Mapping[str, Any], ...]:
        data, values = second.data, second.values
        columns = {"as_it_is": values[0], "restored": values[1], "in_the_base": values[2]}
        if isinstance(data, Contrast):
            return of_pairs(desk.model, data, columns, values[0] - values[1])
        columns |= {"exposure": exposed[0], "exposure_restored": exposed[1]} if len(exposed) else {}
        return tuple(
            {"name": data.names[row], "prompt": data.prompts[row], "secret": data.secrets[row], "count": data.counts[row],
             **{name: float(column[row]) for name, column in columns.items()}}
            for row in range(len(data))
        )  # fmt: skip


def _apart(desk: Desk) -> Desk:
    """Return the desk without what is remembered of the model with other weights."""
    return replace(desk, memory={}, rows=Rows(), quiet=True)


def _neutral(desk: Desk) -> PromptSet | None:
    given = desk.held.get("neutral")
    if isinstance(given, Members):
        return PromptSet.from_text(desk.model, list(given.texts), clusters=list(given.clusters))
    return given


def _listed(parts: Sequence[str]) -> str:
    more = len(parts) - _NAMED
    return ", ".join(parts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
