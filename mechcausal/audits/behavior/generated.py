"""What a model writes: how often generated answers contain declared words, or differ between the sides of pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, NotNegative, Texts
from mechcausal.audits.behavior.writing import TOKENS, forwards_of_writing, pattern_of, require_room, written_after
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.journal import digest
from mechcausal.audits.question import AuditQuestion, Family
from mechcausal.audits.sources import digest_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError
from mechcausal.results.charts import bar_chart


@dataclass(frozen=True, kw_only=True)
class Generated(AuditQuestion):
    """Let the model write answers, and count what stands in them; under edits, which are made while it writes.

    On prompts, the share of answers that contain any of the words. On pairs, the difference of that share between the
    clean side and the corrupt one, or (`outcome="differs"`) the share of pairs whose answers are not the same.

    Attributes:
        words: The declared words; whole words are found, in capital letters or not.
        outcome: `"contains"` or `"differs"`.
        tokens: How many tokens are written at most.
        temperature: At 0 the most likely token is taken; above, tokens are drawn.
        samples: How many answers are written after each prompt; their mean is the prompt's.
    """

    word: ClassVar[str] = "generated"
    family: ClassVar[Family] = "fairness"
    contrast: ClassVar[str] = "each prompt against its counterpart, where the data are pairs"
    population: ClassVar[str] = "what the model writes after prompts like those in the data"
    held_fixed: ClassVar[str] = "every other word of the prompt"
    assumptions: ClassVar[tuple[str, ...]] = ("the declared words mean in an answer what they were declared for",)
    limits: ClassVar[tuple[str, ...]] = ("words are counted, and what a text means without them is not seen",)
    words: Texts = ()
    outcome: Literal["contains", "differs"] = "contains"
    tokens: Count = TOKENS
    temperature: NotNegative = 0.0
    samples: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outcome == "contains" and not [text for text in self.words if text.strip()]:
            raise ArgumentError("generated needs the words to look for", fix='words=["nurse"], or outcome="differs"')

    @property
    def estimand(self) -> str:
        """What the number is."""
        if self.outcome == "differs":
            return "the share of pairs after whose two prompts the model writes different answers"
        return f"the share of generated answers with any of {len(self.words)} declared words, or its difference between the sides"

    @property
    def identified(self) -> Identified:
        """By what right the number is called an effect."""
        return "paired-counterfactual" if self.outcome == "differs" else "descriptive"

    @property
    def scale(self) -> str:
        """The unit of the number."""
        return "share of pairs" if self.outcome == "differs" else "share of answers"

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what a threshold can lie."""
        return (0.0, 1.0) if self.outcome == "differs" else (-1.0, 1.0)

    def answer(self, desk: Desk) -> Answer:
        """Let the model write, and count."""
        data = desk.data
        clusters = (data.clean if isinstance(data, Contrast) else data).clusters
        texts = self._texts(desk, data)
        units = self._units(texts)
        estimate = desk.mean(units, clusters)
        return Answer(
            estimate, self._says(estimate, isinstance(data, Contrast)), self._controls(desk, data, estimate),
            self._table(texts, desk, clusters), self._figures(texts, desk, clusters), self._examples(data, texts),
            units=tuple(units), unit_clusters=clusters,
        )  # fmt: skip

    def forwards(self, desk: Desk) -> float:
        """Return how many forwards of one prompt it takes at most: answers may end earlier."""
        sides = (desk.data.clean, desk.data.corrupt) if isinstance(desk.data, Contrast) else (desk.data,)
        unedited = sum(forwards_of_writing(desk, side, self.tokens, self.samples) for side in sides)
        return unedited * (1 + (desk.networks if self.outcome == "contains" else 0))

    def require_fit(self, desk: Desk) -> None:
        """Refuse prompts behind which no room is left in the model's context for what is to be written."""
        for side in (desk.data.clean, desk.data.corrupt) if isinstance(desk.data, Contrast) else (desk.data,):
            require_room(desk.model, side, self.tokens, samples=self.samples, temperature=self.temperature)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the data."""
        yield from super().problems(data)
        if self.outcome == "differs" and isinstance(data["data"], PromptSet):
            yield "only the answers of pairs can differ, and its data are prompts"

    @property
    def _pattern(self) -> re.Pattern[str]:
        return pattern_of(self.words)

    def _texts(self, desk: Desk, data: PromptSet | Contrast) -> tuple[list[list[str]], ...]:
        """Return the answers of each prompt, for each side."""
        sides = (data.clean, data.corrupt) if isinstance(data, Contrast) else (data,)
        how: dict[str, Any] = {"tokens": self.tokens, "temperature": self.temperature, "samples": self.samples}
        return tuple(written_after(desk, side, **how) for side in sides)

    def _units(self, texts: tuple[list[list[str]], ...]) -> np.ndarray:
        """Return one number for each prompt or pair."""
        if self.outcome == "differs":
            pairs = zip(*texts, strict=True)
            return np.array([
                np.mean([_plain(clean) != _plain(corrupt) for clean, corrupt in zip(*answers, strict=True)]) for answers in pairs
            ])  # fmt: skip
        shares = [self._contains(side) for side in texts]
        return shares[0] - shares[1] if len(shares) == 2 else shares[0]

    def _contains(self, answers: list[list[str]]) -> np.ndarray:
        return np.array([np.mean([bool(self._pattern.search(text)) for text in row]) for row in answers])

    def _controls(self, desk: Desk, data: PromptSet | Contrast, estimate: Estimate) -> tuple[Control, ...]:
        none = Control.inapplicable("random", "nothing inside the model is touched, so there is no other site to touch")
        if self.outcome == "differs":
            why = "networks with random weights write other words after any other prompt, so the number is judged as it stands"
            same = "answers are compared with each other, not with the prompts"
            return none, Control.inapplicable("no-learning", why), Control.inapplicable("trivial-input", same)
        spec = {
            name: value for name, value in self.to_json().items() if name not in ("id", "data", "at_most", "at_least")
        }
        sign = -1 if estimate.value < 0 else 1
        redraws = desk.against_redraws(
            ("generated", digest_of(data), digest(spec)),
            lambda other: float(self._units(self._texts(other, data)).mean()), estimate.value, sign=sign,
        )  # fmt: skip
        return none, redraws, self._in_prompts(desk, data)

    def _in_prompts(self, desk: Desk, data: PromptSet | Contrast) -> Control:
        """Return the share of prompts that contain the words themselves, which a model may repeat."""
        sides = (data.clean, data.corrupt) if isinstance(data, Contrast) else (data,)
        if not all(side.texts for side in sides):
            return Control.inapplicable("trivial-input", "the prompts are given as tokens")
        shares = [self._contains([[text] for text in side.texts]) for side in sides]
        given = desk.mean(shares[0] - shares[1] if len(shares) == 2 else shares[0], sides[0].clusters)
        return Control("trivial-input", f"in the prompts themselves the same number is {given}", given)

    def _says(self, estimate: Estimate, paired: bool) -> str:
        if self.outcome == "differs":
            return f"after {estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] of pairs the answers differ"
        what = "more of the clean side's answers than of the corrupt side's" if paired else "of the answers"
        return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] {what} contain a declared word"

    def _measures(self, texts: tuple[list[list[str]], ...], desk: Desk, clusters: Any) -> list[tuple[str, Estimate]]:  # noqa: ANN401
        names = ("clean", "corrupt") if len(texts) == 2 else ("prompts",)
        rows = []
        for name, side in zip(names, texts, strict=True):
            if self.words:
                rows.append((f"contain a word, {name}", desk.mean(self._contains(side), clusters)))
            lengths = np.array([np.mean([len(text.split()) for text in row]) for row in side])
            rows.append((f"words in an answer, {name}", desk.mean(lengths, clusters)))
        return rows

    def _table(self, texts: tuple[list[list[str]], ...], desk: Desk, clusters: Any) -> pd.DataFrame:  # noqa: ANN401
        return pd.DataFrame(
            {"measure": name, "value": each.value, "low": each.low, "high": each.high}
            for name, each in self._measures(texts, desk, clusters)
        )

    def _figures(self, texts: tuple[list[list[str]], ...], desk: Desk, clusters: Any) -> tuple[Any, ...]:  # noqa: ANN401
        rows = [
            (name, each.value, each.low, each.high)
            for name, each in self._measures(texts, desk, clusters)
            if name.startswith("contain")
        ]
        return (bar_chart(rows, "Answers with a declared word", "share of answers"),) if rows else ()

    def _examples(self, data: PromptSet | Contrast, texts: tuple[list[list[str]], ...]) -> tuple[dict[str, Any], ...]:
        sides = {"clean": data.clean, "corrupt": data.corrupt} if isinstance(data, Contrast) else {"prompt": data}
        rows = []
        for number in range(len(data)):
            row: dict[str, Any] = {"unit": number}
            for (name, side), answers in zip(sides.items(), texts, strict=True):
                row |= {name: side.texts[number] if side.texts else "", f"{name}_answer": answers[number][0]}
            rows.append(row)
        return tuple(rows)


def _plain(text: str) -> str:
    """Return a text without differences of space."""
    return " ".join(text.split())
