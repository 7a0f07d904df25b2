"""The table of entries of a legacy configuration: what each may be, and what is said of all others."""

import numpy as np
import pytest

from mechcausal.errors import ModelError
from mechcausal.models.stated import ENTRIES, KEPT, REFUSED, check_config, some


def test_numbers_of_other_libraries_are_numbers():
    check_config({"n_layers": np.int64(2), "eps": np.float32(1e-5), "attn_only": np.bool_(False), "attn_scale": 3})


@pytest.mark.parametrize("key", [*KEPT, *REFUSED])
def test_no_entry_that_acts_takes_anything(key):
    for value in (object(), [], {}, float("nan"), "\n"):
        if key != "act_fn" or not isinstance(value, str):
            with pytest.raises(ModelError, match=f"{key} is "):
                check_config({key: value})
    check_config({key: None})  # not stated


def test_a_message_stays_short():
    config = dict.fromkeys(ENTRIES, "x" * 500) | {"y" * 500: 1, "z" * 500: 2, "a": 3, "b": 4}
    with pytest.raises(ModelError, match=r"and \d+ more") as caught:
        check_config(config)
    assert len(str(caught.value)) < 400
    assert some(["a", "b", "c"]) == "a, b and 1 more"
