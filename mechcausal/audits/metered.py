"""Questions that may read another metric than the outcome of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mechcausal.audits.desk import Desk
from mechcausal.audits.outcome import unread
from mechcausal.audits.question import AuditQuestion
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.patching.sweep import MetricSpec


@dataclass(frozen=True, kw_only=True)
class OfMetric(AuditQuestion):
    """A question about the outcome of the plan, or about a metric of its own.

    Attributes:
        metric: What is read off the model; the outcome of the plan unless said.
    """

    meaning: ClassVar[int] = 2
    metric: MetricSpec | None = None

    @property
    def reads_outcome(self) -> bool:
        """Whether it reads the outcome of the plan."""
        return self.metric is None

    def metric_at(self, desk: Desk) -> Metric:
        """Return what is read off the model of a desk."""
        return desk.outcome if self.metric is None else metric_of(self.metric)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the data: for one thing, that they have not what a metric of its own reads."""
        yield from super().problems(data)
        if self.metric is not None:
            yield from unread(metric_of(self.metric), data.get("data"))
