"""What was generated, from rows with a text each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.results.provenance import Provenance
from mechcausal.runs.plan import Group


def generated(group: Group, rows: Sequence[str], provenance: Provenance) -> Any:  # noqa: ANN401 - a Generated
    """Return the result of a group of texts.

    Args:
        group: The group.
        rows: What each row says, in the order of the prompts.
        provenance: Where the texts come from.
    """
    from mechcausal.generation.generated import Generated

    read = [json.loads(row) for row in rows]
    frame = pd.DataFrame([{"prompt": number, **row["row"]} for number, row in enumerate(read)])
    longest = max(len(row["logprobs"]) for row in read)
    chances = np.full((len(read), longest), np.nan)
    for number, row in enumerate(read):
        values = [np.nan if value is None else value for value in row["logprobs"]]
        chances[number, : len(values)] = values
    return Generated(frame, provenance, chances, {}, group.groups, group.clusters)
