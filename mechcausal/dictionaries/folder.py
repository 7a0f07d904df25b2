"""Dictionaries on disk, in the folder format of sae-lens: read and used without it, written so that it can read them.

    cfg.json                    the architecture and its sizes, as sae-lens writes them
    sae_weights.safetensors     W_enc [d_in feature], W_dec [feature d_out], biases, thresholds
    mechcausal.json             ours: site, model and its digest, how it was trained; absent in folders of others

What sae-lens computes for these architectures is a few lines each, so a dictionary can be used wherever sae-lens itself
cannot be imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mechcausal.errors import DataError, ModelError, NumericsError, UnsupportedError
from mechcausal.results.storage import checksum, read_json, require_room, seal, sealed_json, write_folder

CONFIG, WEIGHTS, FACTS = "cfg.json", "sae_weights.safetensors", "mechcausal.json"
_NEEDS = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "transcoder": ("b_enc",),
    "jumprelu_transcoder": ("b_enc", "threshold"),
}
ARCHITECTURES = tuple(_NEEDS)


class SparseCoder(nn.Module):
    """A sparse autoencoder or transcoder of one of the usual architectures.

    Attributes:
        architecture: `standard`, `topk`, `jumprelu`, `gated`, `transcoder` or `jumprelu_transcoder`.
        k: How many features of a token are active at most, for `topk`.
        subtracts_bias: Whether `b_dec` is subtracted from what is encoded.
        ranks_by_norm: Whether `topk` ranks features by what they add, decoder norms included.
        scale: The factor of each feature's activation after it was selected: 1, or the decoder norm once it is folded.
    """

    W_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    b_enc: Tensor
    b_gate: Tensor
    b_mag: Tensor
    r_mag: Tensor
    threshold: Tensor
    scale: Tensor
    rank: Tensor

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.architecture = str(config["architecture"])
        self.k = int(config.get("k") or 0)
        self.subtracts_bias = bool(config.get("apply_b_dec_to_input", True)) and "transcoder" not in self.architecture
        self.ranks_by_norm = bool(config.get("rescale_acts_by_decoder_norm", False))
        for name in ("W_enc", "W_dec", "b_dec", *_NEEDS[self.architecture]):
            self.register_buffer(name, weights[name].detach().clone())
        norms = self.W_dec.norm(dim=-1)
        # Ranked by norm, an activation is divided by the norm again when it is decoded.
        self.register_buffer("scale", 1 / norms.clamp(min=1e-12) if self.ranks_by_norm else torch.ones_like(norms))
        self.register_buffer("rank", norms if self.ranks_by_norm else torch.ones_like(norms))

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of activations, [... feature] from [... d_in]."""
        x = x.to(self.W_enc.dtype)
        x = x - self.b_dec if self.subtracts_bias else x
        if self.architecture == "gated":
            magnitude = torch.relu(x @ (self.W_enc * self.r_mag.exp()) + self.b_mag)
            return magnitude * (x @ self.W_enc + self.b_gate > 0) * self.scale
        before = (x @ self.W_enc + self.b_enc) * self.rank
        active = torch.relu(before)
        if "jumprelu" in self.architecture:
            active = active * (before > self.threshold)
        if self.architecture == "topk":
            values, index = before.topk(self.k, dim=-1, sorted=False)
            active = torch.zeros_like(before).scatter(-1, index, values.relu())
        return active * self.scale

    def decode(self, feature_acts: Tensor, /) -> Tensor:
        """Return the reconstruction, [... d_out] from [... feature]."""
        return feature_acts @ self.W_dec + self.b_dec

    def folded(self) -> SparseCoder:
        """Return the same dictionary with decoder rows of length 1, so that activations compare across features."""
        norms = self.W_dec.norm(dim=-1).clamp(min=1e-12)
        made = SparseCoder.__new__(SparseCoder)
        nn.Module.__init__(made)
        for name in ("architecture", "k", "subtracts_bias", "ranks_by_norm"):
            setattr(made, name, getattr(self, name))
        for name, value in self.named_buffers():
            made.register_buffer(name, value.clone())
        made.W_dec, made.scale = self.W_dec / norms[:, None], self.scale * norms
        return made


class UnitRows:
    """Any linear dictionary with decoder rows of length 1: what each feature adds per unit has length 1."""

    def __init__(self, dictionary: Any) -> None:  # noqa: ANN401 - a Dictionary
        self.dictionary = dictionary
        self.norms = dictionary.W_dec.detach().norm(dim=-1).clamp(min=1e-12)
        self.W_dec = dictionary.W_dec.detach() / self.norms[:, None]

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of activations, [... feature]."""
        return self.dictionary.encode(x) * self.norms

    def decode(self, feature_acts: Tensor, /) -> Tensor:
        """Return the reconstruction, [... d_out]."""
        return self.dictionary.decode(feature_acts / self.norms)


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        config: What `cfg.json` says.
        weights: The tensors.
        facts: What `mechcausal.json` says; empty in a folder of others.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether the architecture is one of those that are read here."""
        normalised = self.config.get("normalize_activations", "none") not in ("none", None, False)
        scaled = "scaling_factor" in self.weights or bool(self.config.get("finetuning_scaling_factor"))
        return self.config.get("architecture") in ARCHITECTURES and not normalised and not scaled

    @property
    def hook(self) -> str | None:
        """The hook name that the folder tells, under any of the names there have been."""
        return self._told("hook_name", "hook_point")

    @property
    def hook_out(self) -> str | None:
        """The hook name of what a transcoder writes."""
        return self._told("hook_name_out", "hook_point_out")

    @property
    def model_name(self) -> str | None:
        """The model that the folder tells."""
        return self.facts.get("model") or self._told("model_name")

    def _told(self, *names: str) -> str | None:
        places = (self.config.get("metadata") or {}, self.config)
        return next((str(place[name]) for place in places for name in names if place.get(name)), None)

    def coder(self) -> SparseCoder:
        """Return the dictionary, as it is on disk."""
        architecture = self.config["architecture"]
        missing = [name for name in ("W_enc", "W_dec", "b_dec", *_NEEDS[architecture]) if name not in self.weights]
        if missing:
            raise ModelError(
                f"the weights of this {architecture} dictionary lack {', '.join(missing)}", got=", ".join(self.weights)
            )
        if architecture == "topk" and not 0 < int(self.config.get("k") or 0) <= self.weights["W_enc"].shape[1]:
            raise ModelError("a topk dictionary says how many features are active", got=f"k = {self.config.get('k')}")
        return SparseCoder(self.config, self.weights)


def read(path: str | Path) -> Folder:
    """Read the folder of a dictionary; what is missing, broken or not finite is said in one sentence."""
    path = Path(path)
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            what = f"has no {name}" if path.is_dir() else "is not a folder"
            raise ModelError(
                f"{path} {what}, so it holds no dictionary",
                fix="train one: mechcausal sae train MODEL --site SITE -o FOLDER",
            )
    try:
        config = json.loads((path / CONFIG).read_text())
        facts = _facts(path / FACTS)
        weights = load_file(path / WEIGHTS)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise ModelError(f"the dictionary in {path} cannot be read", got=str(error).splitlines()[0][:150]) from error
    for name, word in ((WEIGHTS, "weights_sha256"), (CONFIG, "config_sha256")):
        if word in facts and facts[word] != checksum(path / name):
            raise ModelError(
                f"{name} in {path} is not the file that its {FACTS} describes", fix="write the folder again"
            )
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericsError(f"the weights {name} of the dictionary in {path} hold NaN or infinity")
    return Folder(_of_today(config), weights, facts)


def _facts(path: Path) -> dict[str, Any]:
    """Return what we say of a folder; nothing in a folder of others. Older folders have no checksum of it."""
    if not path.is_file():
        return {}
    facts = json.loads(path.read_text())
    if not isinstance(facts, dict):
        raise ModelError(f"{path} does not describe a dictionary", got=type(facts).__name__, expected="a mapping")
    return read_json(path, "the facts of a dictionary", ModelError) if "checksum" in facts else facts


def holding(path: str | Path, facts: Mapping[str, Any]) -> Folder | None:
    """Return what a folder holds if it is the dictionary that these facts describe; None if another, none, or unfinished."""
    if not all((Path(path) / name).is_file() for name in (FACTS, CONFIG, WEIGHTS)):
        return None
    folder = read(path)
    expected = json.loads(json.dumps(dict(facts)))
    return folder if all(folder.facts.get(name) == value for name, value in expected.items()) else None


def _of_today(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as version 6 of sae-lens and later write it."""
    config.setdefault("architecture", "standard")
    function = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    if config["architecture"] == "standard" and function == "topk":
        config |= {"architecture": "topk", "k": (config.get("activation_fn_kwargs") or {}).get("k")}
    elif function not in ("relu", "topk"):
        config["architecture"] = f"{config['architecture']} with {function}"
    return config


def require_ours(path: str | Path, size: int | None = None, *, files: int = 1) -> Path:
    """Raise before a training if its dictionary cannot be written into a folder; a dictionary of others is not replaced.

    Args:
        path: The folder.
        size: How many bytes the weights will take.
        files: How many files they are spread over.
    """
    there = Path(path).is_dir()
    path = require_room(path, size, folder=True, files=files)
    if not there:  # it appears when it is written
        path.rmdir()
    _refuse_others(path)
    return path


def _refuse_others(path: Path) -> None:
    theirs = [name for name in (CONFIG, WEIGHTS) if (path / name).exists()]
    if theirs and not (path / FACTS).is_file():
        raise DataError(
            f"{path} holds a dictionary that is not ours", got=f"{theirs[0]} without {FACTS}",
            fix="choose another folder, or move its files away",
        )  # fmt: skip


def write(path: str | Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Write the folder of a dictionary: all of it or nothing. Files of others in the folder stay.

    Args:
        path: The folder.
        config: What `cfg.json` is to say.
        weights: The tensors.
        facts: What `mechcausal.json` is to say.
    """
    if config.get("architecture") not in ARCHITECTURES:
        raise UnsupportedError("this architecture has no folder", got=config.get("architecture"))
    _refuse_others(Path(path))

    def files(room: Path) -> None:
        (room / CONFIG).write_text(json.dumps(dict(config), indent=1, sort_keys=True) + "\n")
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, room / WEIGHTS)
        sums = {"weights_sha256": checksum(room / WEIGHTS), "config_sha256": checksum(room / CONFIG)}
        (room / FACTS).write_bytes(sealed_json(dict(facts) | sums, sort_keys=True))
        seal(room / FACTS)

    # With the facts first, a folder left in between is known as ours, and refused because its files are not those described.
    return write_folder(path, files, (FACTS, CONFIG, WEIGHTS))
