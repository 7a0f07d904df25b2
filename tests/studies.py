"""The studies in `experiments/`: where they are, and the analysis of each as a module."""

import importlib.util
from pathlib import Path

import mechcausal as mc

EXPERIMENTS = Path(mc.__file__).parent.parent / "experiments"


def script(study, name="analyse"):
    """Return a script of a study as a module."""
    spec = importlib.util.spec_from_file_location(f"{study}_{name}", EXPERIMENTS / study / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_small(study, out, only=None, **sets):
    """Run a study, changed by `sets`, and return the run."""
    experiment = mc.Experiment.read(
        EXPERIMENTS / study / "experiment.toml", sets={name.replace("__", "."): value for name, value in sets.items()}
    )
    return experiment.run(out) if only is None else experiment.run(out, only=only)
