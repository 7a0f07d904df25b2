"""The table of a run, with the proof that it is whole: no row is missing, none is damaged, and equal rows agree."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mechcausal.results.storage import replacing
from mechcausal.runs.run import Run

_MOST = 5  # rows of a kind that are named


def problems(run: Run) -> list[str]:
    """Return everything that is wrong with the rows of a run, each with where it is; nothing where the run is sound."""
    wrong = run.store.check()
    wrong += [f"step {step} waits for an earlier step" for step in run.plan.waiting]
    failed = {(row["group"], row["cell"], row["prompt"]): row["error"] for row in run.store.failed().to_pylist()}
    for group in run.plan.distinct:
        there = run.done(group)
        missing = [(int(i), int(j)) for i, j in zip(*(~there).nonzero(), strict=True)]
        for i, j in missing[:_MOST]:
            prompt = int(group.distinct[j])
            key = group.key, int(group.cell_digests[i]), int(group.prompt_digests[prompt])
            cell = group.cells[i]
            where = f"step {group.step}, {cell['site']}{cell['at']}, prompt {prompt}"
            wrong.append(f"{where}: " + (f"failed: {failed[key]}" if key in failed else "missing"))
        if len(missing) > _MOST:
            wrong.append(f"step {group.step}: {len(missing) - _MOST} more rows are missing or failed")
    return wrong


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as parquet or CSV, atomically."""
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            mixed = [name for name in table if table[name].map(type).nunique() > 1 and table[name].dtype == object]
            plain = table.assign(
                **{name: table[name].map(lambda value: None if value is None else str(value)) for name in mixed}
            )
            plain.to_parquet(temporary, index=False)
    return path
