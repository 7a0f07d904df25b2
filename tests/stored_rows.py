"""Made-up rows of a run, for tests of its store."""

import numpy as np
import pyarrow as pa

from mechcausal.runs.store import ROW

GROUP, OTHER = "a" * 64, "b" * 64


def table(cells, prompts, *, group=GROUP, error=None, shift=0.0, **columns):
    """Return one row for each cell and prompt; the value says which, so a lost or exchanged row shows."""
    cell, prompt = (part.ravel() for part in np.meshgrid(cells, prompts, indexing="ij"))
    n = len(cell)
    numbers = {} if error else {"value": cell * 1000.0 + prompt + shift, "base": prompt * 1.0}
    given = {
        "group": [group] * n, "cell": cell.astype(np.uint64), "prompt": prompt.astype(np.uint64), **numbers,
        "error": [error] * n, **columns,
    }  # fmt: skip
    missing = {name: [None] * n for name in ROW.names if name not in given}
    return pa.table({name: (given | missing)[name] for name in ROW.names}, schema=ROW)


def pairs(rows):
    """Return the keys and values of rows, in their order."""
    return list(zip(*(rows[name].to_pylist() for name in ("cell", "prompt", "value")), strict=True))


def every(cells, prompts):
    """Return what `pairs` says of all rows of `table`."""
    return [(cell, prompt, cell * 1000.0 + prompt) for cell in cells for prompt in prompts]
