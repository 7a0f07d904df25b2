"""The last word of each row that failed, compared with a plain record of what happened."""

import numpy as np
import pyarrow as pa
import pytest
from stored_rows import GROUP, OTHER, table

from mechcausal.runs.store import Store


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_is_what_a_plain_record_says(tmp_path, seed):
    draw = np.random.default_rng(seed)
    store, last, succeeded = Store(tmp_path, writing=True), {}, set()
    for number in range(12):
        parts = []
        for group in (GROUP, OTHER):
            for cell in draw.choice(4, draw.integers(1, 4), replace=False).tolist():
                for prompt in draw.choice(3, draw.integers(1, 3), replace=False).tolist():
                    if draw.random() < 0.1:
                        parts.append(table([cell], [prompt], group=group))
                        succeeded.add((group, cell, prompt))
                    else:
                        parts.append(table([cell], [prompt], group=group, error=f"OSError: {number}"))
                        last[group, cell, prompt] = f"OSError: {number}"
        assert store.commit(pa.concat_tables(parts))
    expected = [(*key, error) for key, error in sorted(last.items()) if key not in succeeded]
    for reader in (store, Store(tmp_path)):
        table_left = reader.failed()
        assert list(zip(*(column.to_pylist() for column in table_left), strict=True)) == expected
        assert table_left.schema == pa.schema(
            [store.rows(GROUP).schema.field(name) for name in table_left.column_names]
        )
