"""Numbers and tables as JSON, whatever stands in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a question puts into a table
    """Return JSON data: NaN as null, infinity as text, numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def number(value: Any) -> float:  # noqa: ANN401 - JSON data
    """Return the number that `plain` made JSON data of."""
    return float("nan") if value is None else float(value)
