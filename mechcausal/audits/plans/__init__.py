"""Plans that ship; `mechcausal audit init --template NAME` writes one, and `audit check` and `run` take their names."""

from __future__ import annotations

from pathlib import Path

SHIPPED = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""The file of each, by its name."""


def file_of(path: str | Path) -> Path:
    """Return the file of a plan; what is no file here, and names no folder, may be one that ships: `planted`, `planted.toml`.

    Args:
        path: The file, or the name.
    """
    file = Path(path)
    if file.exists() or file.name != str(path) or file.suffix not in ("", ".toml"):
        return file
    return SHIPPED.get(file.name.removesuffix(".toml"), file)
