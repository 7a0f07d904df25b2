"""What was generated, from rows."""

import json

import numpy as np
from runs.test_plan import group

from mechcausal.results.provenance import Provenance
from mechcausal.runs.texts import generated


def test_texts_of_unequal_length_stand_side_by_side():
    row = {"sample": 0, "before": "a", "ended": "stop", "n_tokens": 1, "tokens": [3], "logprob": -1.0}
    rows = [
        json.dumps({"row": {**row, "text": text}, "logprobs": chances})
        for text, chances in (("b", [-1.0]), ("c d", [-0.5, None, -2.0]))
    ]
    made = generated(group(cells=1, prompts=("p", "q")), rows, Provenance("generate", {}, {}, {}, {}))
    assert made.texts == ["b", "c d"]
    np.testing.assert_array_equal(made.examples, [[-1.0, np.nan, np.nan], [-0.5, np.nan, -2.0]])
