"""How many threads a command uses."""

from __future__ import annotations

import os


def use_one_thread() -> None:
    """Use one thread unless the user chose a number: for small models several are far slower."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
