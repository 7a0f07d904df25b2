"""The result of a method as the bytes that a row holds, and back: what `save` writes, whatever the kind of result."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mechcausal.errors import ResultError

_PARQUET, _CIRCUIT, _PROBE, _FOLDER, _AUDIT = b"PAR1", b"circuit\n", b"probe\n", b"folder\n", b"audit\n"


def packed(result: Any) -> bytes:  # noqa: ANN401 - any result
    """Return the bytes of a result.

    Args:
        result: What a method returned, or the folder of a dictionary.
    """
    from mechcausal.audits.report import Report
    from mechcausal.circuits.circuit import Circuit
    from mechcausal.probes.fitted import Probe
    from mechcausal.results.kinds import Kept

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if isinstance(result, Path):
            return _FOLDER + _archive(result)
        if isinstance(result, Report):
            return _AUDIT + json.dumps(result.to_json(), ensure_ascii=False).encode()
        if isinstance(result, Circuit):
            return _CIRCUIT + result.save(folder / "circuit.json").read_bytes()
        if isinstance(result, Probe):
            return _PROBE + result.save(folder / "probe.safetensors").read_bytes()
        if isinstance(result, Kept):
            return result.save(folder / "result.parquet").read_bytes()  # type: ignore[attr-defined]
        if hasattr(type(result), "load") and hasattr(result, "save"):  # a circuit of features
            result.save(folder / "kept")
            kind = f"{type(result).__module__}:{type(result).__qualname__}\n".encode()
            return _FOLDER + kind + _archive(folder / "kept")
    raise ResultError(f"a {type(result).__name__} cannot be kept in a run", fix="run this method from Python")


def unpacked(blob: bytes) -> Any:  # noqa: ANN401 - any result
    """Return the result that `packed` made bytes of; of a dictionary the `Folder`, which a model loads it from."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        if blob.startswith(_PARQUET):
            from mechcausal.results.result import load

            return _read(load, path / "result.parquet", blob)
        if blob.startswith(_CIRCUIT):
            from mechcausal.circuits.circuit import Circuit

            return _read(Circuit.load, path / "circuit.json", blob.removeprefix(_CIRCUIT))
        if blob.startswith(_PROBE):
            from mechcausal.probes.storage import load as load_probe

            return _read(load_probe, path / "probe.safetensors", blob.removeprefix(_PROBE))
        if blob.startswith(_AUDIT):
            from mechcausal.audits.report import Report

            return Report.from_json(json.loads(blob.removeprefix(_AUDIT)))
        if blob.startswith(_FOLDER):
            rest = blob.removeprefix(_FOLDER)
            if not rest.startswith(b"mechcausal."):
                return Folder(rest)
            kind, _, archive = rest.partition(b"\n")
            Folder(archive).write(path / "kept")
            from mechcausal.circuits.features.circuit import FeatureCircuit

            if kind.decode() == f"{FeatureCircuit.__module__}:{FeatureCircuit.__qualname__}":
                return FeatureCircuit.load(path / "kept")
    raise ResultError("a row holds a result of an unknown kind", fix="update mechcausal")


class Folder:
    """A folder that a row holds, such as that of a dictionary.

    Args:
        archive: Its files, as a tar.
    """

    def __init__(self, archive: bytes) -> None:
        self.archive = archive

    def write(self, path: Path) -> Path:
        """Write the folder."""
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as tar:
            tar.extractall(path, filter="data")
        return path


def _read(load: Callable[[Path], Any], path: Path, content: bytes) -> Any:  # noqa: ANN401
    path.write_bytes(content)
    return load(path)


def _archive(folder: Path) -> bytes:
    """Return the files of a folder as a tar that says nothing of when and by whom they were written."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info = tarfile.TarInfo(path.relative_to(folder).as_posix())
                info.size, info.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    tar.addfile(info, file)
    return buffer.getvalue()
