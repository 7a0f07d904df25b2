"""A small compiler: from what each head looks at and each MLP looks up to the weights of a transformer.

A program names the dimensions of the residual stream. Words and positions switch some dimensions on. A head looks at
the positions with the highest score and copies dimensions from there (the mean, if several have that score). An MLP
looks up rows of a table. The answers read the final stream:

    Program(
        embed={"<pad>": {}, "<bos>": {"bos": 1}, "x": {"x": 1}, "a": {}},
        places=[{"one": 1}] * 4,
        blocks=[Block(heads=[Head(look={("one", "bos"): 1}, copy={"x": "first x"})])],
        answers={"x": {"x": 10}},
    ).weights()

There is no layer norm and nothing is trained. A score of one is `SHARP` after scaling. A position that a head does not
look at therefore has weight exp(-250), which is zero in single precision, so patterns are exact. It is an error to
read a dimension that nothing has written before, so a misspelled name is noticed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mechcausal.data.tasks.definition import Task
from mechcausal.errors import ModelError, did_you_mean
from mechcausal.models.hooked import forward
from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import save_tokenizer

SHARP = 250.0
Values = Mapping[str, float]


@dataclass(frozen=True)
class Head:
    """An attention head.

    Attributes:
        look: The score of a position: the sum over (dimension here, dimension there) of weight x here x there. The
            highest score takes all the attention; equal scores share it. A difference of one is enough.
        copy: For each dimension that is read there, the dimension that it is written to here.
    """

    look: Mapping[tuple[str, str], float] = field(default_factory=dict)
    copy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row of a lookup table.

    Attributes:
        write: The dimensions that are written if the row applies.
        on: The dimensions that must be 1. They hold 0 or 1.
        equals: A dimension that holds a number, and the number.
    """

    write: Values
    on: Sequence[str] = ()
    equals: tuple[str, float] | None = None


@dataclass(frozen=True)
class Lookup:
    """An MLP that writes the sum of the rows that apply.

    Attributes:
        rows: The table.
        numbers: All values of each dimension that holds numbers.
    """

    rows: Sequence[Row] = ()
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """One layer: heads side by side, then an MLP."""

    heads: Sequence[Head] = ()
    mlp: Lookup = field(default_factory=Lookup)


class Neuron(NamedTuple):
    """relu(sum of weight x dimension + bias), with the dimensions it writes to."""

    reads: dict[str, float]
    bias: float
    writes: dict[str, float]


@dataclass(frozen=True)
class Program:
    """A transformer described in named dimensions.

    Attributes:
        embed: For each word of the vocabulary, in order, the dimensions it switches on.
        places: For each position, beginning with the BOS token, the dimensions it switches on.
        blocks: The layers.
        answers: For each word that can be an answer, the dimensions its logit reads.
    """

    embed: Mapping[str, Values]
    places: Sequence[Values]
    blocks: Sequence[Block]
    answers: Mapping[str, Values]

    def __post_init__(self) -> None:
        written = {name for values in (*self.embed.values(), *self.places) for name in values}
        for layer, block in enumerate(self.blocks):
            for head in block.heads:
                _refuse_unwritten([*(name for pair in head.look for name in pair), *head.copy], written, layer)
            written |= {name for head in block.heads for name in head.copy.values()}
            for neuron in neurons(block.mlp):
                _refuse_unwritten(neuron.reads, written, layer)
            written |= {name for row in block.mlp.rows for name in row.write}
        _refuse_unwritten([name for values in self.answers.values() for name in values], written, "the answers")
        unknown = [word for word in self.answers if word not in self.embed]
        if unknown:
            raise ModelError(f"the answer {unknown[0]!r} is not in the vocabulary", fix="give it an entry in embed")

    @property
    def dimensions(self) -> dict[str, int]:
        """The number of each named dimension of the residual stream, in the order in which they are first written."""
        return {name: number for number, name in enumerate(dict.fromkeys(self._written()))}

    def _written(self) -> Iterator[str]:
        for values in (*self.embed.values(), *self.places):
            yield from values
        for block in self.blocks:
            for head in block.heads:
                yield from head.copy.values()
            for row in block.mlp.rows:
                yield from row.write

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as of a HookedTransformer."""
        heads = [head for block in self.blocks for head in block.heads]
        channels = [len({here for here, _ in head.look}) for head in heads] + [len(_targets(head)) for head in heads]
        return {
            "n_layers": len(self.blocks),
            "d_model": len(self.dimensions),
            "n_ctx": len(self.places),
            "d_head": max(channels, default=1),
            "n_heads": max(len(block.heads) for block in self.blocks),
            "d_mlp": max(1, *(len(neurons(block.mlp)) for block in self.blocks)),
            "d_vocab": len(self.embed),
            "act_fn": "relu",
            "normalization_type": None,
            "attn_only": False,
            "positional_embedding_type": "standard",
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict, under the names of a HookedTransformer."""
        config, number = self.config, self.dimensions
        word = {text: i for i, text in enumerate(self.embed)}
        width, vocabulary = config["d_model"], config["d_vocab"]
        state = {
            "embed.W_E": torch.zeros(vocabulary, width),
            "pos_embed.W_pos": torch.zeros(config["n_ctx"], width),
            "unembed.W_U": torch.zeros(width, vocabulary),
            "unembed.b_U": torch.zeros(vocabulary),
        }
        for row, values in enumerate(self.embed.values()):
            for name, value in values.items():
                state["embed.W_E"][row, number[name]] = value
        for row, values in enumerate(self.places):
            for name, value in values.items():
                state["pos_embed.W_pos"][row, number[name]] = value
        for text, values in self.answers.items():
            for name, value in values.items():
                state["unembed.W_U"][number[name], word[text]] = value
        for layer, block in enumerate(self.blocks):
            parts = _attention(block.heads, number, config) | _mlp(block.mlp, number, config)
            state |= {f"blocks.{layer}.{name}": value for name, value in parts.items()}
        return state

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.weights(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(self.config, indent=1) + "\n")
        save_tokenizer(list(self.embed), folder, longest=len(self.places))


def one_hot(name: str, values: Iterable[Any]) -> dict[Any, str]:
    """Return a dimension name for each value: `one_hot("length", [2, 3])` is {2: "length 2", 3: "length 3"}."""
    return {value: f"{name} {value}" for value in values}


def subspace(program: Program, address: str, *rows: str | Values) -> dict[str, Any]:
    """Return a part of the network as hypotheses take it: a site, its position, and rows that span a subspace.

    Each row is a named dimension of the stream, or a sum of several.
    """
    site, at = address.split("@")
    basis = np.zeros((len(rows), len(program.dimensions)))
    for i, row in enumerate(rows):
        for name, value in ({row: 1.0} if isinstance(row, str) else row).items():
            basis[i, program.dimensions[name]] = value
    return {"site": site, "at": at, "basis": basis.astype(int).tolist()}


def accuracy(folder: Path, task: Task) -> float:
    """Return how often the model in a folder gives the task's answer, over all texts the task can write."""
    model = load(folder)
    table, _ = task.scm.enumerate()
    _, first = np.unique(np.array(task.write(table)), return_index=True)
    prompts = task.prompts(model, table={name: column[first] for name, column in table.items()})
    logits = forward(model, prompts).logits[torch.arange(len(prompts)), prompts.read_columns]
    assert prompts.answer is not None  # a task always says the answer
    return float((logits.argmax(-1) == prompts.answer).double().mean())


def neurons(lookup: Lookup) -> list[Neuron]:
    """Return the neurons of a lookup table."""
    return [neuron for row in lookup.rows for neuron in _row(row, lookup.numbers)]


def _row(row: Row, numbers: Mapping[str, Sequence[float]]) -> list[Neuron]:
    """Write a row as neurons whose sum is 1 where it applies and 0 elsewhere.

    A row of switches takes one neuron, relu(sum - n + 1). A number is compared with two thresholds. Each threshold is a
    ramp that reaches 1 (or 0) well before the next value, so a rounding error of the number has no effect.
    """
    switches = dict.fromkeys(row.on, 1.0)
    all_on = Neuron(switches, 1.0 - len(switches), dict(row.write))
    if row.equals is None:
        return [all_on]
    name, value = row.equals
    values = np.unique(numbers.get(name, ()))
    if value not in values:
        raise ModelError(f"{name!r} never has the value {value}", expected=str(values.tolist()))
    steep = 2.0 ** math.ceil(math.log2(2 / np.diff(values).min())) if len(values) > 1 else 1.0
    closed = 2.0 ** math.ceil(math.log2(steep * float(np.ptp(values)) + 1))
    place = int(np.searchsorted(values, value))
    made = [] if place else [all_on]
    for edge, sign in ((place - 1, 1.0), (place, -1.0)):
        if not 0 <= edge < len(values) - 1:
            continue
        threshold = float(values[edge] + values[edge + 1]) / 2
        reads = {name: steep} | dict.fromkeys(switches, closed)
        bias = -steep * threshold - closed * len(switches)
        made += [
            Neuron(reads, bias + half, {target: 2 * half * sign * amount for target, amount in row.write.items()})
            for half in (0.5, -0.5)
        ]
    return made


def _targets(head: Head) -> list[str]:
    return list(dict.fromkeys(head.copy.values()))


def _attention(heads: Sequence[Head], number: Mapping[str, int], config: Mapping[str, Any]) -> dict[str, Tensor]:
    width, head_width, count = config["d_model"], config["d_head"], config["n_heads"]
    parts: dict[str, Tensor] = {}
    for name in "QKV":
        parts[f"attn.W_{name}"] = torch.zeros(count, width, head_width)
        parts[f"attn.b_{name}"] = torch.zeros(count, head_width)
    parts["attn.W_O"], parts["attn.b_O"] = torch.zeros(count, head_width, width), torch.zeros(width)
    for place, head in enumerate(heads):
        # A head needs one channel for each dimension of its query, and one for each dimension that it writes.
        channel = {here: i for i, here in enumerate(dict.fromkeys(here for here, _ in head.look))}
        for (here, there), weight in head.look.items():
            parts["attn.W_Q"][place, number[here], channel[here]] = SHARP * math.sqrt(head_width)
            parts["attn.W_K"][place, number[there], channel[here]] = weight
        for i, target in enumerate(_targets(head)):
            parts["attn.W_O"][place, i, number[target]] = 1
            for source in (source for source, to in head.copy.items() if to == target):
                parts["attn.W_V"][place, number[source], i] = 1
    return parts


def _mlp(lookup: Lookup, number: Mapping[str, int], config: Mapping[str, Any]) -> dict[str, Tensor]:
    width, hidden = config["d_model"], config["d_mlp"]
    w_in, b_in, w_out = torch.zeros(width, hidden), torch.zeros(hidden), torch.zeros(hidden, width)
    for i, neuron in enumerate(neurons(lookup)):
        for name, weight in neuron.reads.items():
            w_in[number[name], i] = weight
        b_in[i] = neuron.bias
        for name, weight in neuron.writes.items():
            w_out[i, number[name]] = weight
    return {"mlp.W_in": w_in, "mlp.b_in": b_in, "mlp.W_out": w_out, "mlp.b_out": torch.zeros(width)}


def _refuse_unwritten(names: Iterable[str], written: set[str], reader: int | str) -> None:
    for name in names:
        if name not in written:
            where = f"layer {reader}" if isinstance(reader, int) else reader
            raise ModelError(
                f"{where} would read the dimension {name!r}, which nothing has written by then",
                fix=did_you_mean(name, sorted(written)),
            )
