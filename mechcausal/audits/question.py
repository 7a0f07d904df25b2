"""A question of an audit: an estimand with its controls. To add one, write a class and a test against a known truth.

    @dataclass(frozen=True, kw_only=True)
    class MeanShift(audit.Question):
        '''How much the outcome moves when the factor is changed.'''

        word = "mean_shift"
        family = "fairness"
        estimand = "the mean change of the log-odds when the factor is changed in the prompt"
        identified = "paired-counterfactual"
        scale = "log-odds"

        def answer(self, desk):
            clean, corrupt = desk.both(desk.data)
            estimate = desk.mean(clean - corrupt, desk.data.clean.clusters)
            return audit.Answer(estimate, f"the log-odds move by {estimate}", controls=(...))

A plan then takes it as `ask = "mean_shift"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from mechcausal.arguments import Number
from mechcausal.audits.finding import Answer, Identified, Threshold
from mechcausal.audits.outcome import unread
from mechcausal.audits.sources import DATA
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError
from mechcausal.method import Spec
from mechcausal.registry import Registry

if TYPE_CHECKING:
    from mechcausal.audits.desk import Desk

Family = Literal["fairness", "links", "privacy", "robustness", "explainability", "accuracy", "invariance", "own"]
Better = Literal["low", "high", "zero"]
QUESTIONS: Registry[type[AuditQuestion]] = Registry("question", ArgumentError)
IDS = {
    "fairness": "FAIR", "links": "LINK", "privacy": "PRIV", "robustness": "ROB", "explainability": "EXPL",
    "accuracy": "ACC", "invariance": "INV", "own": "OWN",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AuditQuestion(Spec):
    """One question. A subclass has a `word`, the words below, and `answer`.

    Attributes:
        data: The data, or the name that the plan gives to them.
        id: How the finding is called in the report; its family and a number unless said.
        at_most: The threshold: the estimate is to be at most this. It is yours, and it is fixed before the run.
        at_least: The estimate is to be at least this.
    """

    verb: ClassVar[str] = "ask"
    registry: ClassVar[Registry[Any]] = QUESTIONS

    family: ClassVar[Family] = "own"
    estimand: ClassVar[str]
    """What the number is, in a sentence. Any of these words may be a property, where it depends on the fields."""
    contrast: ClassVar[str] = ""
    population: ClassVar[str] = "what the data were drawn from"
    held_fixed: ClassVar[str] = ""
    identified: ClassVar[Identified] = "descriptive"
    site: ClassVar[str] = ""
    scale: ClassVar[str] = ""
    assumptions: ClassVar[tuple[str, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[type[Any], ...]] = (Contrast, PromptSet)
    """What kinds of data the field `data` may hold."""
    bounds: ClassVar[tuple[float, float]] = (float("-inf"), float("inf"))
    """Between what a threshold can lie: a share lies between 0 and 1."""
    better: ClassVar[Better] = "low"
    """Where a mitigation should move the number, unless a threshold says it: down, up, or towards zero."""
    null: ClassVar[float | None] = None
    """What the number would be if there were nothing to find; None where no number means that. May be a property."""
    reads_outcome: ClassVar[bool] = False
    """Whether the answer rests on the outcome of the field `data`, which must then have what the outcome reads."""
    under_edits: ClassVar[bool] = True
    """Whether the question can be asked of a model under edits, as a comparison of mitigations does."""
    meaning: ClassVar[int] = 1
    """Raised when the same question begins to mean another number, so that kept answers are not taken for it."""

    data: Any = field(kw_only=False, metadata=DATA)
    id: str = ""
    at_most: Number | None = None
    at_least: Number | None = None

    def answer(self, desk: Desk) -> Answer:
        """Return what was found; `desk` has the model, the data and what questions share."""
        raise NotImplementedError

    def forwards(self, desk: Desk) -> float:
        """Return roughly how many forwards of one prompt the answer takes."""
        return (1 + desk.networks) * desk.size

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is wrong with the data, each in a sentence, before anything is run.

        Args:
            data: The data by the name of the field that holds them.
        """
        main = data.get("data")
        if main is not None and not isinstance(main, self.takes):
            wanted = " or ".join(_WORDS.get(kind.__name__, kind.__name__) for kind in self.takes)
            yield f"it is asked of {wanted}, and {self._name_of('data')} holds {_WORDS.get(type(main).__name__, type(main).__name__)}"

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Yield why this model cannot be asked, each reason in a sentence, before anything is run.

        Args:
            desk: The desk that it would be answered at.
        """
        if self.reads_outcome:
            yield from unread(desk.outcome, desk.data)

    def require_fit(self, desk: Desk) -> None:
        """Refuse a model that the question cannot be asked of, one without a site that is named, say; nothing is edited.

        What it would take is worked out, which looks at most of what is named; a question adds what that leaves out.

        Args:
            desk: The desk, with data that have no problems.
        """
        self.forwards(desk)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.bounds
        for name in ("at_most", "at_least"):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ArgumentError(
                    f"{self.word}: the threshold {name} is out of range",
                    got=value,
                    expected=f"from {low:g} to {high:g}",
                )
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ArgumentError(f"{self.word}: no number is at least {self.at_least:g} and at most {self.at_most:g}")

    @property
    def threshold(self) -> Threshold:
        """What was declared."""
        return Threshold(self.at_most, self.at_least)

    @property
    def sources(self) -> dict[str, Any]:
        """The data of the question, or their names, by the field that holds them; those of a mapping by `field.key`."""
        data: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name) if part.metadata.get("data") else None
            if isinstance(value, Mapping):
                data |= {f"{part.name}.{key}": item for key, item in value.items()}
            elif value is not None:
                data[part.name] = value
        return data

    def with_sources(self, changes: Mapping[str, Any]) -> Self:
        """Return the question with other data, or their names, by the keys of `sources`."""
        given: dict[str, Any] = {}
        for name, value in changes.items():
            part, _, key = name.partition(".")
            given[part] = {**given.get(part, getattr(self, part)), key: value} if key else value
        return replace(self, **given)

    def _name_of(self, name: str) -> str:
        value = self.sources.get(name)
        return repr(value) if isinstance(value, str) else name


_WORDS = {"Contrast": "pairs", "PromptSet": "prompts", "Canaries": "canaries", "Members": "texts"}

Question = AuditQuestion
"""What `mc.audit` calls it."""
