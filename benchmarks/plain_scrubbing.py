"""Causal scrubbing spelled out: one forward for every node of the tree and every example, nothing reused.

This is what the package is compared with. It shares the declarations (`Node`, `Place`, `PromptSet`) and the drawn
indices, and nothing that computes: the forward is a GPT-2 written out below, from the weights of the `transformers`
model. `evaluate` goes example by example, without padding, to be obviously right; `evaluate_batched` is the same tree
over batches of examples, to be a fair opponent in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Selection, Site
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.data.prompts import PromptSet

Writes = dict[str, list[Callable[[Tensor], Tensor]]]
Seen = dict[str, Tensor]


class Draw(Protocol):
    """What one node sees: for each example the row of its input, of its unimportant input, of each lone component's."""

    x: np.ndarray
    o: np.ndarray | None
    components: Mapping[Site, np.ndarray]


@dataclass
class Evaluation:
    """The logits of every example at its read position, and what they took.

    Attributes:
        logits: One row for each example.
        forwards: How many forwards of one example were run.
        token_layers: How many tokens all layers together computed; a forward ends at the last layer it needs.
    """

    logits: Tensor
    forwards: int
    token_layers: int

    def logprob(self, references: PromptSet) -> np.ndarray:
        """Return the log-probability of each reference's own answer."""
        assert references.answer is not None
        return self.logits.log_softmax(-1).gather(1, references.answer[:, None])[:, 0].numpy()


class PlainGPT2:
    """A GPT-2 written out, with a place to change each activation as it is computed."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a GPT2LMHeadModel
        self.weights = {name: value.detach() for name, value in model.state_dict().items()}
        self.config = model.config
        self.n_layers, self.n_heads, self.d_model = model.config.n_layer, model.config.n_head, model.config.n_embd
        self.forwards = self.token_layers = 0

    def __call__(self, tokens: Tensor, mask: Tensor, writes: Writes | None = None, n_layers: int | None = None) -> Seen:
        """Return every activation, after the writes, by the printed name of its site.

        With `n_layers` the run ends after so many layers, and there are no logits.
        """
        depth = self.n_layers if n_layers is None else n_layers
        self.forwards += len(tokens)
        self.token_layers += tokens.numel() * depth
        seen: Seen = {}

        def at(place: str, value: Tensor) -> Tensor:
            for write in (writes or {}).get(place, ()):
                value = write(value)
            seen[place] = value
            return value

        # Real tokens are numbered from 0, wherever the padding is.
        starts = mask.long().argmax(1, keepdim=True)
        index = (torch.arange(tokens.shape[1])[None] - starts).clamp(min=0)
        hidden = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1) | ~mask[:, None, None, :]
        w = self.weights
        x = at("embed", w["transformer.wte.weight"][tokens]) + w["transformer.wpe.weight"][index]
        for layer in range(depth):
            here, block = f"L{layer}", f"transformer.h.{layer}"
            x = at(f"{here}.resid_pre", x)
            joined = self._linear(f"{block}.attn.c_attn", self._norm(f"{block}.ln_1", x))
            cut = [part.unflatten(-1, (self.n_heads, -1)) for part in joined.chunk(3, dim=-1)]
            q, k, v = (at(f"{here}.{name}", part) for name, part in zip("qkv", cut, strict=True))
            scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
            scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
            pattern = at(f"{here}.pattern", scores.softmax(-1))
            z = at(f"{here}.z", torch.einsum("bhqk,bkhd->bqhd", pattern, v))
            attn_out = at(f"{here}.attn_out", self._linear(f"{block}.attn.c_proj", z.flatten(2)))
            x = at(f"{here}.resid_mid", x + attn_out)
            inside = self._linear(f"{block}.mlp.c_fc", self._norm(f"{block}.ln_2", x))
            post = at(f"{here}.mlp_post", self._activation(inside))
            mlp_out = at(f"{here}.mlp_out", self._linear(f"{block}.mlp.c_proj", post))
            x = at(f"{here}.resid_post", x + mlp_out)
        if n_layers is None:
            seen["logits"] = self._norm("transformer.ln_f", x) @ w["lm_head.weight"].T
        return seen

    def contribution(self, site: Site, value: Tensor) -> Tensor:
        """Return what a value of this site adds to the stream, [... d_model]; linear, so differences pass through."""
        out = {"z": "attn.c_proj", "mlp_post": "mlp.c_proj"}.get(site.component)
        if out is None and site.neuron is None:
            return value
        if out is None:
            return value[..., None] * torch.eye(self.d_model, dtype=value.dtype)[site.neuron]
        matrix = self.weights[f"transformer.h.{site.layer}.{out}.weight"]
        if site.neuron is not None:
            return value[..., None] * matrix[site.neuron]
        if site.head is not None:
            return value @ matrix.unflatten(0, (self.n_heads, -1))[site.head]
        return (value.flatten(-2) if site.component == "z" else value) @ matrix

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def _norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.pow(2).mean(-1, keepdim=True) + self.config.layer_norm_epsilon).sqrt()
        return centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def _activation(self, x: Tensor) -> Tensor:
        if self.config.activation_function == "relu":
            return x.relu()
        assert self.config.activation_function == "gelu_new"
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def evaluate(
    model: PlainGPT2, root: Node, prompts: PromptSet, draws: Mapping[str, Draw], references: Sequence[int] | np.ndarray
) -> Evaluation:
    """Scrub one example at a time, by plain recursion; the draws and the references are rows of the prompts."""
    model.forwards = model.token_layers = 0
    logits = [_OneExample(model, prompts, draws, n).logits(root, int(row)) for n, row in enumerate(references)]
    return Evaluation(torch.stack(logits), model.forwards, model.token_layers)


class _OneExample:
    """The recursion for one reference example, whose draws have one number."""

    def __init__(self, model: PlainGPT2, prompts: PromptSet, draws: Mapping[str, Draw], number: int) -> None:
        self.model, self.prompts, self.draws, self.number = model, prompts, draws, number

    def logits(self, root: Node, reference: int) -> Tensor:
        if not root.children:
            row, shift, seen = reference, 0, self.model(*self._real(reference))
        else:
            row = self._other(root)
            shift = self._shift(root, row)
            seen = self._runs(root, ["logits"])["logits"]
        read = self.prompts.take([row]).read_columns[0] - self.prompts.starts[row]
        return seen["logits"][0, int(read) + shift]

    def values(self, node: Node, other: int) -> list[Tensor]:
        """Return the value of each part at the positions it selects, [position ...].

        For an estimate it is what is to be added where the parent runs its other input.
        """
        row = int(self.draws[node.name].x[self.number])
        if node.estimate is not None:
            return [self._estimated(node, row) - self._estimated(node, other)]
        if not node.children:
            seen = self.model(*self._real(row))
            return [_view(seen, part.site)[0, self._places(part, row)] for part in node.parts]
        mine = self._other(node)
        shift = self._shift(node, mine)
        runs = self._runs(node, [_entry(part.site) for part in node.parts])
        return [
            _view(runs[_entry(part.site)], part.site)[0, self._places(part, mine, shift)] for part in node.parts
        ]  # fmt: skip

    def _estimated(self, node: Node, row: int) -> Tensor:
        (part,) = node.parts
        estimate = torch.as_tensor(node.estimate(self.prompts.take([row])))[0]
        return estimate.reshape(len(self._places(part, row)), *_feature_shape(self.model, part.site))

    def _runs(self, node: Node, readers: Sequence[str]) -> dict[str, Seen]:
        """Run the node's other input with its children in place; one run for each stream at which it reads."""
        other = self._other(node)
        shift = self._shift(node, other)
        tokens, mask = self._real(other)
        for child in node.children:
            if child.is_mask:
                shown = int(self.draws[child.name].x[self.number])
                tokens, mask = self.prompts.tokens[[other]], self.prompts.mask[[shown]]
        writes = self._lone_components(node)
        for child in node.children:
            if child.edge == "all" and not child.is_mask:
                for part, value in zip(child.parts, self.values(child, other), strict=True):
                    added = child.estimate is not None
                    write = _putting(part, value, self._places(part, other, shift), added=added)
                    writes.setdefault(str(part.site.whole), []).append(write)
        seen = self.model(tokens, mask, writes)
        direct = [child for child in node.children if child.edge == "direct"]
        if not direct:
            return dict.fromkeys(readers, seen)
        delta = torch.zeros_like(seen["embed"])
        for child in direct:
            for part, value in zip(child.parts, self.values(child, other), strict=True):
                places = self._places(part, other, shift)
                change = value if child.estimate is not None else value - _view(seen, part.site)[0, places]
                change = _inside(part, change)
                delta[0, places] += self.model.contribution(part.site, change)
        runs = {}
        for stream in dict.fromkeys(readers):
            place = f"L{self.model.n_layers - 1}.resid_post" if stream == "logits" else stream
            runs[stream] = self.model(tokens, mask, _with(writes, place, lambda x: x + delta))
        return runs

    def _lone_components(self, node: Node) -> Writes:
        """Return the writes that give each component that no child covers its value on a prompt of its own."""
        writes: Writes = {}
        for site, rows in self.draws[node.name].components.items():
            value = _view(self.model(*self._real(int(rows[self.number]))), site)[0]
            write = _putting(Place(site), value, list(range(len(value))))
            writes.setdefault(str(site.whole), []).append(write)
        return writes

    def _other(self, node: Node) -> int:
        rows = self.draws[node.name].o
        assert rows is not None
        return int(rows[self.number])

    def _shift(self, node: Node, other: int) -> int:
        """Return the column of the first real token: padding is kept only where another mask is laid over it."""
        return int(self.prompts.starts[other]) if any(child.is_mask for child in node.children) else 0

    def _real(self, row: int) -> tuple[Tensor, Tensor]:
        tokens = torch.tensor([self.prompts.real_tokens_of(row)])
        return tokens, torch.ones_like(tokens, dtype=torch.bool)

    def _places(self, part: Place, row: int, shift: int = 0) -> list[int]:
        columns = self.prompts.take([row]).select(part.at)[0].nonzero().flatten()
        return (columns - self.prompts.starts[row] + shift).tolist()


def _putting(part: Place, value: Tensor, places: Sequence[int], *, added: bool = False) -> Callable[[Tensor], Tensor]:
    """Return the write that sets a part, or adds to it, within its subspace, at these positions of the one example."""

    def write(activation: Tensor) -> Tensor:
        new = activation.clone()
        here = _view({str(part.site.whole): new}, part.site)[0]
        for place, wanted in zip(places, value, strict=True):
            here[place] += _inside(part, wanted if added else wanted - here[place])
        return new

    return write


def evaluate_batched(
    model: PlainGPT2,
    root: Node,
    prompts: PromptSet,
    draws: Mapping[str, Draw],
    references: Sequence[int] | np.ndarray,
    batch_size: int = 64,
) -> Evaluation:
    """Scrub batches of examples: the same tree, one forward of each example for each node, no longer than needed."""
    model.forwards = model.token_layers = 0
    rows = np.asarray(references)
    tree = _Batched(model, prompts, draws)
    chunks = [np.arange(start, min(start + batch_size, len(rows))) for start in range(0, len(rows), batch_size)]
    return Evaluation(
        torch.cat([tree.logits(root, rows[chunk], chunk) for chunk in chunks]), model.forwards, model.token_layers
    )


class _Batched:
    """The recursion for many examples at once; `numbers` picks their draws."""

    def __init__(self, model: PlainGPT2, prompts: PromptSet, draws: Mapping[str, Draw]) -> None:
        self.model, self.prompts, self.draws = model, prompts, draws
        self.columns: dict[Selection, Tensor] = {}

    def logits(self, root: Node, references: np.ndarray, numbers: np.ndarray) -> Tensor:
        if not root.children:
            rows = references
            seen = self.model(self.prompts.tokens[rows], self.prompts.mask[rows])
        else:
            rows = self._other(root, numbers)
            seen = self._runs(root, numbers, ["logits"])["logits"]
        return seen["logits"][torch.arange(len(rows)), self.prompts.read_columns[rows]]

    def values(self, node: Node, numbers: np.ndarray, other: np.ndarray) -> list[Tensor]:
        """Return the value of each part at the positions it selects, [example position ...]."""
        rows = self.draws[node.name].x[numbers]
        if node.estimate is not None:
            return [self._estimated(node, rows) - self._estimated(node, other)]
        if not node.children:
            last = max(0 if part.site.layer is None else part.site.layer for part in node.parts)
            seen = self.model(self.prompts.tokens[rows], self.prompts.mask[rows], n_layers=last + 1)
            return [self._cut(seen, part, rows) for part in node.parts]
        runs = self._runs(node, numbers, [_entry(part.site) for part in node.parts])
        return [self._cut(runs[_entry(part.site)], part, self._other(node, numbers)) for part in node.parts]

    def _estimated(self, node: Node, rows: np.ndarray) -> Tensor:
        (part,) = node.parts
        estimate = torch.as_tensor(node.estimate(self.prompts.take(rows)))
        return estimate.reshape(
            len(rows), int(self._selected(part.at)[rows][0].sum()), *_feature_shape(self.model, part.site)
        )

    def _runs(self, node: Node, numbers: np.ndarray, readers: Sequence[str]) -> dict[str, Seen]:
        other = self._other(node, numbers)
        last = None if "logits" in readers else max(part.site.layer for part in node.parts) + 1
        tokens, mask = self.prompts.tokens[other], self.prompts.mask[other]
        writes: Writes = {}
        for site, rows in self.draws[node.name].components.items():
            source_rows = rows[numbers]
            seen = self.model(self.prompts.tokens[source_rows], self.prompts.mask[source_rows], n_layers=site.layer + 1)
            self._put(writes, Place(site), self._cut(seen, Place(site), source_rows), other)
        direct = []
        for child in node.children:
            if child.is_mask:
                mask = self.prompts.mask[self.draws[child.name].x[numbers]]
            elif child.edge == "direct":
                added = child.estimate is not None
                direct += [
                    (part, value, added)
                    for part, value in zip(child.parts, self.values(child, numbers, other), strict=True)
                ]
            else:
                for part, value in zip(child.parts, self.values(child, numbers, other), strict=True):
                    self._put(writes, part, value, other, added=child.estimate is not None)
        if not direct:
            return dict.fromkeys(readers, self.model(tokens, mask, writes, n_layers=last))
        latest = max(-1 if part.site.layer is None else part.site.layer for part, _, _ in direct)
        seen = self.model(tokens, mask, writes, n_layers=max(latest + 1, 1))
        delta = torch.zeros_like(seen["embed"])
        for part, value, added in direct:
            change = _inside(part, value if added else value - self._cut(seen, part, other))
            delta[self._selected(part.at)[other]] += self.model.contribution(part.site, change).flatten(0, 1)
        runs = {}
        for stream in dict.fromkeys(readers):
            place = f"L{self.model.n_layers - 1}.resid_post" if stream == "logits" else stream
            runs[stream] = self.model(tokens, mask, _with(writes, place, lambda x: x + delta), n_layers=last)
        return runs

    def _other(self, node: Node, numbers: np.ndarray) -> np.ndarray:
        rows = self.draws[node.name].o
        assert rows is not None
        return rows[numbers]

    def _cut(self, seen: Seen, part: Place, rows: np.ndarray) -> Tensor:
        value = _view(seen, part.site)[self._selected(part.at)[rows]]
        return value.unflatten(0, (len(rows), -1))

    def _put(self, writes: Writes, part: Place, value: Tensor, rows: np.ndarray, *, added: bool = False) -> None:
        mask = self._selected(part.at)[rows]

        def write(activation: Tensor) -> Tensor:
            new = activation.clone()
            here = _view({str(part.site.whole): new}, part.site)
            before = here[mask]
            given = value.flatten(0, 1)
            here[mask] = before + _inside(part, given if added else given - before)
            return new

        writes.setdefault(str(part.site.whole), []).append(write)

    def _selected(self, at: Selection) -> Tensor:
        if at not in self.columns:
            self.columns[at] = self.prompts.select(at)
        return self.columns[at]


def distinct_inputs(root: Node, draws: Mapping[str, Draw]) -> int:
    """Count the different inputs on which each node of the tree has to be computed, summed over nodes.

    What a leaf gives depends on its own prompt; what an inner node gives depends on its other prompt, its components'
    prompts and what its children were given. Estimates and masks are not computed by the network.
    """
    total = 0

    def visit(node: Node) -> list[tuple[Any, ...]]:
        nonlocal total
        draw = draws[node.name]
        if not node.children:
            inputs = [(int(row),) for row in draw.x]
            runs = int(node.estimate is None and not node.is_mask)
        else:
            assert draw.o is not None
            columns = [list(map(int, draw.o)), *(list(map(int, rows)) for rows in draw.components.values())]
            inputs = list(zip(*columns, *(visit(child) for child in node.children), strict=True))
            streams = {_entry(part.site) for part in node.parts}
            runs = 1
            total += sum(len(set(rows.tolist())) for rows in draw.components.values())
            if any(child.edge == "direct" for child in node.children):
                runs = 1 + max(len(streams), 1)  # first, what the direct children give in this run
        total += len(set(inputs)) * runs
        return inputs

    visit(root)
    return total


def _view(seen: Seen, site: Site) -> Tensor:
    """Return the view of a site, [batch position ...]; the positions of an attention pattern are its queries."""
    values = seen[str(site.whole)]
    values = values.movedim(1, 2) if site.component == "pattern" else values
    if site.head is not None:
        return values[:, :, site.head]
    return values if site.neuron is None else values[..., site.neuron]


def _feature_shape(model: PlainGPT2, site: Site) -> tuple[int, ...]:
    if site.neuron is not None:
        return ()
    if site.component == "mlp_post":
        return tuple(model.weights[f"transformer.h.{site.layer}.mlp.c_fc.bias"].shape)
    if site.component in ("q", "k", "v", "z"):
        width = model.d_model // model.n_heads
        return (width,) if site.head is not None else (model.n_heads, width)
    return (model.d_model,)


def _inside(part: Place, change: Tensor) -> Tensor:
    """Project a change onto the part's subspace."""
    if not part.basis:
        return change
    rows = torch.tensor(part.basis, dtype=torch.float64)
    return change @ (rows.T @ torch.linalg.solve(rows @ rows.T, rows)).to(change.dtype)


def _entry(site: Site) -> str:
    """Return the stream that a site reads."""
    if site.component in ("mlp_post", "mlp_out"):
        return f"L{site.layer}.resid_mid"
    return f"L{site.layer}.{site.component if site.component in ('resid_mid', 'resid_post') else 'resid_pre'}"


def _with(writes: Writes, place: str, last: Callable[[Tensor], Tensor]) -> Writes:
    return writes | {place: [*writes.get(place, []), last]}
