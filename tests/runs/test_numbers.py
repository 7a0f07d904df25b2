"""A result is made again of the numbers in its rows."""

import subprocess
import sys

import numpy as np
import pandas as pd

import mechcausal as mc
from mechcausal.runs.numbers import influence_of, more_of, result_of
from mechcausal.runs.sweeps import cells_of, numbers_of


def test_reading_a_run_needs_no_torch():
    code = "import sys, mechcausal as mc; mc.Run; import mechcausal.runs.collecting, mechcausal.runs.page, mechcausal.runs.diffing; print([m for m in ('torch', 'transformer_lens') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_result_is_made_again_of_its_numbers(hiring):
    pairs, spec = mc.contrast("hiring/gender", hiring, n=12), mc.methods.Ablating(sites="z")
    whole = spec.run(hiring, pairs)
    assert whole.influence is not None  # the mean is estimated on the same prompts, which widens the intervals
    numbers = {name: np.array(values) for name, values in numbers_of(whole).items()}
    where = cells_of(spec, hiring, pairs).rows
    again = result_of(where, numbers, whole.provenance, whole.groups, whole.clusters)
    pd.testing.assert_frame_equal(again.frame, whole.frame)
    bare = result_of(
        where, {k: v for k, v in numbers.items() if k != "influence"}, whole.provenance, whole.groups, whole.clusters
    )
    assert not np.allclose(bare.frame["change_low"], whole.frame["change_low"])


def test_influence_is_written_exactly():
    values = [0.1, 1 / 3, float(np.nextafter(1, 2))]
    assert influence_of([more_of(value) for value in values]).tolist() == values
    assert influence_of([None, None]) is None
    assert more_of(None) is None
