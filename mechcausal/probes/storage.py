"""Keep a probe in a file: its numbers as safetensors, what it is and what it reached as JSON beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.errors import ResultError
from mechcausal.probes.fitted import Probe, Report
from mechcausal.probes.kinds import Linear, Network, Quadratic, Readout, Settings
from mechcausal.probes.numbers import NumberReport
from mechcausal.results.intervals import Interval
from mechcausal.results.storage import read_tensors, write_tensors

FORMAT = 2
_KEY = "mechcausal-probe"


def save(probe: Probe, path: str | Path) -> Path:
    """Write a probe to one safetensors file with a checksum, atomically."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ResultError(
            "probes are saved as safetensors", got=path.name, fix=f"save to {path.with_suffix('.safetensors').name}"
        )
    header = {
        "format": FORMAT, "concept": probe.concept, "site": str(probe.site), "at": str(probe.at), "pool": probe.pool,
        "kind": probe.kind, "classes": list(probe.classes), "chosen": getattr(probe.readout, "chosen", None),
        "settings": asdict(probe.settings), "report": asdict(probe.report), "fitted": probe.fitted,
    }  # fmt: skip
    return write_tensors(path, _tensors(probe.readout), {_KEY: json.dumps(header)})


def load(path: str | Path) -> Probe:
    """Read a probe that `save` wrote."""
    path = Path(path)
    tensors, metadata = read_tensors(path, "a mechcausal probe", ResultError)
    try:
        header = json.loads(metadata[_KEY])
    except (KeyError, ValueError) as error:
        raise ResultError(f"{path} is not a mechcausal probe", fix="load what a probe's save wrote") from error
    if header["format"] != FORMAT:
        raise ResultError(f"{path} has another format", got=header["format"], expected=FORMAT, fix="update mechcausal")
    fields = header["report"]
    fields |= {name: Interval(**fields[name]) for name in ("accuracy", "information", "r2") if name in fields}
    report = NumberReport(**fields) if "r2" in fields else Report(**fields)
    strength = header["settings"]["C"]
    settings = Settings(**header["settings"] | {"C": tuple(strength) if isinstance(strength, list) else strength})
    return Probe(
        concept=header["concept"],
        site=Site.parse(header["site"]),
        at=Selection.parse(header["at"]),
        pool=header["pool"],
        kind=header["kind"],
        classes=tuple(header["classes"]),
        readout=_readout(tensors, header["chosen"]),
        report=report,
        settings=settings,
        fitted=header["fitted"],
    )


def _tensors(readout: Readout) -> dict[str, Tensor]:
    def linear(part: Linear, name: str = "") -> dict[str, Tensor]:
        return {f"{name}weight": part.weight, f"{name}bias": part.bias}

    match readout:
        case Linear():
            tensors = linear(readout)
        case Quadratic():
            tensors = {"centre": readout.centre, "frame": readout.frame} | linear(readout.top, "top.")
        case Network():
            tensors = linear(readout.below, "below.") | linear(readout.top, "top.")
        case _:
            raise ResultError(f"a {type(readout).__name__} cannot be saved", expected="a probe of this package")
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _readout(tensors: dict[str, Tensor], chosen: list[int] | None) -> Readout:
    def linear(name: str = "") -> Linear:
        return Linear(tensors[f"{name}weight"], tensors[f"{name}bias"])

    if "frame" in tensors:
        return Quadratic(tensors["centre"], tensors["frame"], linear("top."))
    if "below.weight" in tensors:
        return Network(linear("below."), linear("top."))
    return replace(linear(), chosen=None if chosen is None else tuple(chosen))
