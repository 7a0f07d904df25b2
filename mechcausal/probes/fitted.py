"""The probe: something that reads a concept at one place, with what it reached on examples it had not seen."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.errors import UnsupportedError
from mechcausal.probes.held_out import HeldOut, entropy
from mechcausal.probes.kinds import Linear, Readout, Settings
from mechcausal.probes.numbers import NumberReport
from mechcausal.results.intervals import Interval

_NONE = float("nan")


@dataclass(frozen=True)
class Report:
    """What a probe reached on held-out examples, and what its controls reached.

    Attributes:
        accuracy: The share of held-out examples that it reads right, with an interval clustered.
        guess: The share of the most frequent class: what knowing nothing reaches.
        balanced_accuracy: The mean over classes of the share read right.
        auc: The area under the ROC curve (mean over folds, and over classes against the rest).
        information: How many bits the probe gains over whoever knows the shares of the classes, with an interval.
        bits: The mean surprise of the true class.
        entropy: The surprise of whoever knows the shares of the classes alone.
        folds: How many folds there were.
        control: The accuracy on control tasks; selectivity is accuracy minus this.
        selectivity: See `control`.
        types: How many types the control tasks had.
        mdl: The length of the online code, bits per label.
        compression: How many times shorter that is than without a probe.
        p: The p-value of the accuracy by shuffled labels.
        permutations: How many shuffles.
        bayes: What the best possible reader of what stands before the position reaches, where that is known.
    """

    accuracy: Interval
    guess: float
    balanced_accuracy: float
    auc: float
    information: Interval
    bits: float
    entropy: float
    folds: int
    control: float = _NONE
    selectivity: float = _NONE
    types: int = 0
    mdl: float = _NONE
    compression: float = _NONE
    p: float = _NONE
    permutations: int = 0
    bayes: float = _NONE

    @classmethod
    def of(cls, held_out: HeldOut, **controls: Any) -> Report:  # noqa: ANN401 - the fields of the controls
        """Take the numbers of a cross-validation."""
        return cls(
            held_out.accuracy, float(held_out.guesses.mean()), held_out.balanced_accuracy, held_out.auc, held_out.information, held_out.bits, entropy(held_out.y),
            len(np.unique(held_out.fold)), **controls,
        )  # fmt: skip

    def lines(self) -> list[str]:
        """Say it in words."""
        accuracy = self.accuracy
        lines = [
            f"  held-out accuracy {accuracy.estimate:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}], "
            f"guessing {self.guess:.3f}, n {accuracy.n} in {accuracy.n_clusters} clusters, {self.folds} folds",
            f"  AUC {self.auc:.3f}, {self.information.estimate:.3f} bits read of {self.entropy:.3f}",
        ]
        if np.isfinite(self.selectivity):
            lines.append(
                f"  selectivity {self.selectivity:.3f}: random labels for {self.types} types reach {self.control:.3f}"
            )
        elif self.types:
            lines.append(f"  no control task: {self.types} type of input; pass types=...")
        if np.isfinite(self.mdl):
            lines.append(
                f"  online code {self.mdl:.3f} bits a label, {self.compression:.2f} times shorter than without"
            )
        if np.isfinite(self.p):
            lines.append(f"  p {self.p:.3g} by {self.permutations} exchanges of labels")
        if np.isfinite(self.bayes):
            lines.append(f"  the best possible reader reaches {self.bayes:.3f}")
        return lines

    def row(self) -> dict[str, Any]:
        """Return the numbers as columns of a table."""
        names = (
            "guess", "balanced_accuracy", "auc", "bits", "entropy", "control", "selectivity", "mdl", "compression", "p",
            "bayes",
        )  # fmt: skip
        columns = {}
        for name, interval in (("accuracy", self.accuracy), ("information", self.information)):
            columns |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return columns | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe.

    Attributes:
        concept: What it reads.
        site: Where.
        at: At which positions.
        pool: What became of several positions: `"mean"`, `"max"` or `"each"` on its own.
        kind: What kind of probe it is.
        classes: The names of the classes, in the order of the scores; none where it reads a number.
        readout: The function behind it, fitted to all examples.
        report: What the same procedure reached on held-out examples.
        settings: How it was fitted.
        fitted: What it was fitted to: numbers of examples and clusters, digests of prompts and weights.
    """

    concept: str
    site: Site
    at: Selection
    pool: str
    kind: str
    classes: tuple[str, ...]
    readout: Readout
    report: Report | NumberReport
    settings: Settings = field(default_factory=Settings)
    fitted: dict[str, Any] = field(default_factory=dict)

    @property
    def linear(self) -> bool:
        """Whether the scores are linear in the activation."""
        return isinstance(self.readout, Linear)

    @property
    def direction(self) -> Tensor:
        """The direction it reads along, [feature], towards the second class or larger numbers; [class feature] for more."""
        weight = self._linear.weight
        return weight[0] if len(self.classes) <= 2 else weight

    @property
    def w(self) -> Tensor:
        """The same as `direction`."""
        return self.direction

    @property
    def bias(self) -> Tensor:
        """What is added, a number; one for each class where there are more than two."""
        bias = self._linear.bias
        return bias[0] if len(self.classes) <= 2 else bias

    @property
    def chosen(self) -> tuple[int, ...]:
        """The coordinates that a sparse probe reads."""
        return self._linear.chosen or tuple(range(self._linear.weight.shape[1]))

    @property
    def _linear(self) -> Linear:
        if not isinstance(self.readout, Linear):
            raise UnsupportedError(f"a {self.kind} probe has no direction", fix="use kind='logistic' or 'means'")
        return self.readout

    def scores(self, x: Tensor | np.ndarray) -> Tensor:
        """Return the log-odds of the second class, or the number, [example]; the logits of all classes where there are more.

        Args:
            x: Activations of the site, [... feature]; gradients pass through.
        """
        x = torch.as_tensor(x)
        raw = self.readout(x.reshape(-1, x.shape[-1]))
        return raw.reshape(x.shape[:-1]) if len(self.classes) <= 2 else raw.reshape(*x.shape[:-1], -1)

    def predict(self, x: Tensor | np.ndarray) -> np.ndarray:
        """Return the name of the likeliest class of each example, or the number."""
        scores = self.scores(x).detach()
        if not self.classes:
            return scores.cpu().numpy()
        code = (scores > 0).long() if len(self.classes) == 2 else scores.argmax(-1)
        return np.asarray(self.classes)[code.cpu().numpy()]

    def save(self, path: str | Path) -> Path:
        """Write the probe to one safetensors file; `probes.load` reads it."""
        from mechcausal.probes.storage import save

        return save(self, path)

    def summary(self) -> str:
        """Say what it reads, how well, and what its controls reach."""
        pooled = "" if self.at.is_single or self.at.name else f", {self.pool} over positions"
        classes = f" ({' / '.join(self.classes)})" if self.classes else ""
        head = f"probe of {self.concept}{classes} at {self.site}{self.at}{pooled}, {self.kind}"
        return "\n".join([head, *self.report.lines()])

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"
