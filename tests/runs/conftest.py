"""Runs and folders that tests of runs share."""

import os
import tempfile
from pathlib import Path

import pytest
from runs.trials import HEADS, experiment, step

STEPS = (
    {**HEADS, "each": {"metric": ["logit_diff", "prob"]}},
    step("stream", "patch", sites="resid_pre"),
    step("silenced", "ablate", sites="z"),
    step("zeroed", "ablate", sites="z", do="zero"),
    step("estimated", "attribute", sites="z"),
    step("direct", "direct_logit_attribution"),
    step("paths", "path_patch", senders={"from": "heads", "top": 2}, receivers="L2.mlp_out", metric="logit_diff"),
    step("together", "patch", sites={"from": "heads", "top": 2, "joint": True}),
    step("none", "patch", sites={"from": "heads", "least": 100.0}),
    step("found", "discover", method="eap"),
    step("judged", "evaluate_circuit", "others", circuit={"from": "found"}, random=1, minimality=2),
    step("mediated", "mediate", mediators="z"),
    step("written", "generate", "prompts", tokens=1),
)
PROMPTS = {"task": "hiring", "n": 10}


def everything(**more):
    """Return an experiment with a step of every kind."""
    data = {
        "gender": {"contrast": "hiring/gender", "n": 20},
        "others": {"contrast": "hiring/gender", "n": 20, "seed": 7},
    }
    return experiment(*STEPS, data=data | {"prompts": PROMPTS}, **more)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return a run of every kind of step, to be read and not to be changed."""
    return everything().run(tmp_path_factory.mktemp("runs") / "finished", quiet=True)


@pytest.fixture
def quick_folder(tmp_path):
    """A folder in memory where there is one: what is written hundreds of times need not wait for a disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
