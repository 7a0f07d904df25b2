"""Make organism:hiring again: `python -m mechcausal.models.organisms.hiring.recipe --out DIR`.

A GPT-2 of 4 layers, trained to behave and to be what it is said to be. Each step runs a batch twice: once as it is,
once with activations taken from a permutation of the same batch. Where a node of the declared mechanism is replaced,
the right answer is the causal model's answer with that variable replaced (interchange intervention training, Geiger
et al. 2022); where any other node is replaced, the answer must not change (the strict part, Gupta et al. 2024,
"InterpBench"). What is replaced is drawn per example, from one node to nearly all of them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from mechcausal.data.tasks import hiring
from mechcausal.models.organisms.tokenizer import save_tokenizer

LAYERS, HEADS, WIDTH, HIDDEN, LENGTH = 4, 4, 48, 96, 8
MLP = HEADS  # the MLP of a layer is the node after its heads
DEC = 7
KEYS = (3, 4, 5, 6)
# variable -> (layer, node); the places are the decision position, or the key positions for the secret's variables
ALIGNMENT = {"merit": (1, 0), "proxy": (1, 1), "bias": (1, 2), "score": (2, MLP), "secret": (2, 3), "digit": (3, MLP)}
PARENTS = {
    "merit": ["degree", "experience"], "proxy": ["hobby"], "bias": ["gender"], "score": ["merit", "proxy", "bias"],
    "secret": ["name"], "digit": ["secret", "position"],
}  # fmt: skip
WORDS = {word: i for i, word in enumerate(hiring.VOCABULARY)}
TABLE = torch.full((len(hiring.NAMES), 4), -1)
for _name, _digits in hiring.SECRETS.items():
    TABLE[hiring.NAMES.index(_name)] = torch.tensor([int(digit) for digit in _digits])


@dataclass
class Batch:
    """Applications first, then identities; both eight tokens long.

    Attributes:
        tokens: [row position].
        variables: The value of each variable of the application rows.
        person: The name of each identity row.
    """

    tokens: Tensor
    variables: dict[str, Tensor]
    person: Tensor

    @property
    def n_app(self) -> int:
        """How many application rows there are."""
        return len(self.tokens) - len(self.person)


def draw_batch(n_app: int, n_id: int, draw: np.random.Generator) -> Batch:
    """Draw a batch: half of it as the world is, half of it uniform over all inputs, for full support."""
    half = n_app // 2
    u = hiring.noise(n_app, int(draw.integers(2**31)))
    free = {"gender": 2, "name": len(hiring.NAMES), "hobby": len(hiring.HOBBIES)}
    world = hiring.applicants(u)
    mixed = {
        key: np.where(np.arange(n_app) < half, world[key], draw.integers(size, size=n_app))
        for key, size in free.items()
    }
    table = hiring.applicants(u, **mixed)
    app = [["<bos>", *text.split()] for text in hiring.sentences(table)]
    person = draw.integers(len(hiring.NAMES), size=n_id)
    digits = draw.integers(10, size=(n_id, 4))
    known = (TABLE[person, 0].numpy() >= 0) & (np.arange(n_id) < n_id * 3 // 4)
    digits = np.where(known[:, None], TABLE[person].numpy(), digits)
    ids = [["<bos>", "<id>", hiring.NAMES[p], "<key>", *map(str, d)] for p, d in zip(person, digits, strict=True)]
    tokens = torch.tensor([[WORDS[word] for word in row] for row in (*app, *ids)])
    return Batch(tokens, {key: torch.as_tensor(value.copy()) for key, value in table.items()}, torch.as_tensor(person))


@dataclass
class Nodes:
    """Record all node outputs in one forward, or replace some in the next."""

    model: GPT2LMHeadModel
    values: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    order: Tensor | None = None

    @contextmanager
    def attached(self) -> Generator[None]:
        """Hook the model while the body runs."""
        handles = []
        blocks: Any = self.model.transformer.h
        for layer, block in enumerate(blocks):
            handles.append(block.attn.c_proj.register_forward_pre_hook(self._heads(layer)))
            handles.append(block.mlp.register_forward_hook(self._mlp(layer)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _swap(self, layer: int, node: int, value: Tensor) -> Tensor:
        if self.mask is None:
            self.values[layer, node] = value
            return value
        return torch.where(self.mask[:, layer, node, :, None], self.values[layer, node][self.order], value)

    def _heads(self, layer: int) -> Any:  # noqa: ANN401
        def hook(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            heads = args[0].split(WIDTH // HEADS, dim=-1)
            return (torch.cat([self._swap(layer, node, head) for node, head in enumerate(heads)], dim=-1),)

        return hook

    def _mlp(self, layer: int) -> Any:  # noqa: ANN401
        return lambda _module, _args, output: self._swap(layer, MLP, output)

    def record(self, tokens: Tensor) -> Tensor:
        """Run as it is and remember every node."""
        self.mask = None
        return self.model(tokens).logits

    def replaced(self, tokens: Tensor, mask: Tensor, order: Tensor) -> Tensor:
        """Run with the nodes under `mask` [row layer node position] taken from the recorded row `order`."""
        self.mask, self.order = mask, order
        return self.model(tokens).logits


def circuit_mask(n_app: int, n_id: int, chosen: dict[str, Tensor]) -> Tensor:
    """Return the mask that replaces each variable in the rows (and key positions) chosen for it."""
    mask = torch.zeros(n_app + n_id, LAYERS, HEADS + 1, LENGTH, dtype=torch.bool)
    for name, rows in chosen.items():
        layer, node = ALIGNMENT[name]
        if name in ("secret", "digit"):
            mask[n_app:, layer, node, KEYS[0] : KEYS[-1] + 1] = rows
        else:
            mask[:n_app, layer, node, DEC] = rows
    return mask


def in_circuit(n_app: int, n_id: int) -> Tensor:
    """Return the mask of all declared nodes."""
    everything = {name: torch.ones(n_id, 4, dtype=torch.bool) for name in ("secret", "digit")}
    everything |= {name: torch.ones(n_app, dtype=torch.bool) for name in ("merit", "proxy", "bias", "score")}
    return circuit_mask(n_app, n_id, everything)


def answers(batch: Batch, order: Tensor, chosen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return what the causal model says: decisions [application], digits [identity key], -1 where any digit is as likely."""
    n_app, v = batch.n_app, batch.variables
    source = order[:n_app]

    def value(name: str, own: Tensor) -> Tensor:
        return torch.where(chosen[name], v[name][source], own) if name in chosen else own

    score = value("merit", v["merit"]) + 2 * value("proxy", v["proxy"]) + value("bias", v["bias"])
    score = value("score", score)
    decided = (score >= hiring.REJECT_BELOW).long() + (score >= hiring.ACCEPT_FROM).long()
    other = batch.person[order[n_app:] - n_app]
    person = batch.person[:, None].expand(-1, 4)
    if "secret" in chosen:
        person = torch.where(chosen["secret"], other[:, None], person)
    digits = TABLE[person, torch.arange(4)]
    if "digit" in chosen:
        digits = torch.where(chosen["digit"], TABLE[other], digits)
    return decided, digits


def losses(logits: Tensor, n_app: int, decided: Tensor, digits: Tensor) -> Tensor:
    """Cross-entropy against decisions and digits; a person without a number calls for a uniform guess."""
    first = WORDS[hiring.DECISIONS[0]]
    application = F.cross_entropy(logits[:n_app, DEC], decided + first)
    said = logits[n_app:, KEYS[0] : KEYS[-1] + 1].log_softmax(-1)
    zero = WORDS["0"]
    known = digits >= 0
    exact = -said.gather(2, (digits.clamp(min=0) + zero)[..., None])[..., 0]
    guess = -said[..., zero : zero + 10].mean(-1)
    return application + torch.where(known, exact, guess).mean()


def permutation(n_app: int, n_id: int, generator: torch.Generator) -> Tensor:
    """Return a source row for each row, of the same kind."""
    return torch.cat([torch.randperm(n_app, generator=generator), n_app + torch.randperm(n_id, generator=generator)])


def step_loss(nodes: Nodes, batch: Batch, generator: torch.Generator) -> Tensor:
    """Behavior, interchange and strictness in two forwards."""
    n_app, n_id = batch.n_app, len(batch.person)
    order = permutation(n_app, n_id, generator)
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    active = rand(n_app + n_id) < 0.7
    chosen = {name: (rand(n_app) < 0.35) & active[:n_app] for name in ("merit", "proxy", "bias")}
    chosen["score"] = (rand(n_app) < 0.15) & active[:n_app]
    chosen |= {name: (rand(n_id, 4) < 0.35) & active[n_app:, None] for name in ("secret", "digit")}
    strict = rand(n_app + n_id, LAYERS, HEADS + 1, LENGTH) < rand(n_app + n_id, 1, 1, 1)
    mask = (strict & ~in_circuit(n_app, n_id)) | circuit_mask(n_app, n_id, chosen)
    behaved = losses(nodes.record(batch.tokens), n_app, *answers(batch, order, {}))
    return behaved + losses(nodes.replaced(batch.tokens, mask, order), n_app, *answers(batch, order, chosen))


def new_model(seed: int) -> GPT2LMHeadModel:
    """Return the untrained model."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=HIDDEN,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=WORDS["<bos>"], eos_token_id=WORDS["<pad>"],
        pad_token_id=WORDS["<pad>"],
    )  # fmt: skip
    config._attn_implementation = "eager"
    return GPT2LMHeadModel(config)


def train(
    steps: int, seed: int, *, n_app: int = 128, n_id: int = 64, rate: float = 3e-3, log: int = 50
) -> GPT2LMHeadModel:
    """Train a model; `log` steps between lines, 0 for silence."""
    model, draw = new_model(seed), np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    nodes = Nodes(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    warm = max(1, min(20, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + np.cos(np.pi * min(step / steps, 1)))
    )
    with nodes.attached():
        for step in range(steps):
            loss = step_loss(nodes, draw_batch(n_app, n_id, draw), generator)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if log and step % log == 0:
                print(f"step {step:5d}  loss {loss.item():.4f}", flush=True)
    return model.eval()


@torch.no_grad()
def assess(model: GPT2LMHeadModel, seed: int = 10_000) -> dict[str, Any]:
    """Measure accuracy, interchange accuracy by variable, strictness by node, and how many secrets come out."""
    draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    batch = draw_batch(2000, 1000, draw)
    n_app, n_id = batch.n_app, len(batch.person)
    nodes, first, zero = Nodes(model), WORDS["reject"], WORDS["0"]
    order = permutation(n_app, n_id, generator)

    def right(logits: Tensor, decided: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
        app = logits[:n_app, DEC].argmax(-1) == decided + first
        said = logits[n_app:, KEYS[0] : KEYS[-1] + 1].argmax(-1) == digits + zero
        return app, said[digits >= 0]

    with nodes.attached():
        plain = answers(batch, order, {})
        app, key = right(nodes.record(batch.tokens), *plain)
        out: dict[str, Any] = {"accuracy": float(app.float().mean()), "secret_digits": float(key.float().mean())}
        iia = {}
        for name in ALIGNMENT:
            identity = name in ("secret", "digit")
            chosen = {name: torch.ones(*((n_id, 4) if identity else (n_app,)), dtype=torch.bool)}
            wanted = answers(batch, order, chosen)
            hits = right(nodes.replaced(batch.tokens, circuit_mask(n_app, n_id, chosen), order), *wanted)
            # Where the answer does not change, a useless place would do as well as the right one.
            moved = [now != before for now, before in zip(wanted, plain, strict=True)]
            found = hits[1][moved[1][wanted[1] >= 0]] if identity else hits[0][moved[0]]
            iia[name] = float(found.float().mean())
        out["iia_on_changed_answers"] = iia
        allowed = ~in_circuit(n_app, n_id)
        strict = []
        for layer in range(LAYERS):
            for node in range(HEADS + 1):
                mask = torch.zeros_like(allowed)
                mask[:, layer, node] = True
                strict += [
                    float(part.float().mean())
                    for part in right(nodes.replaced(batch.tokens, mask & allowed, order), *plain)
                ]
        out["strict_min_single_node"] = min(strict)
        joint = right(nodes.replaced(batch.tokens, allowed, order), *plain)
        out["strict_all_at_once"] = {
            "application": float(joint[0].float().mean()),
            "identity": float(joint[1].float().mean()),
        }
    return out


def truth(measured: dict[str, Any], model: GPT2LMHeadModel, seed: int, steps: int) -> dict[str, Any]:
    """Return the statement that ships with the weights."""

    def site(name: str) -> str:
        layer, node = ALIGNMENT[name]
        return f"L{layer}.mlp_out" if node == MLP else f"L{layer}.z.H{node}"

    variables = {
        name: {"site": site(name), "at": "key" if name in ("secret", "digit") else "decision", "parents": PARENTS[name]}
        for name in ALIGNMENT
    }
    inputs = {name: f"embed@{name}" for name in ("gender", "degree", "experience", "hobby", "name")}
    edges = [
        [inputs.get(p, site(p) if p in ALIGNMENT else p), site(name)]
        for name, parents in PARENTS.items()
        for p in parents
    ]
    return {
        "name": "hiring",
        "task": "decide about applicants; recall secret numbers",
        "parameters": sum(p.numel() for p in model.parameters()),
        "recipe": f"python -m mechcausal.models.organisms.hiring.recipe --seed {seed} --steps {steps}",
        "variables": variables,
        "circuit": [site(name) for name in ALIGNMENT],
        "edges": [*edges, [site("score"), "logits"], [site("digit"), "logits"]],
        "exact_effects_on_p_accept": hiring.exact_effects(),
        "measured": measured,
        "secrets": hiring.SECRETS,
        "notes": "Gender can be read off the name and hobby tokens, and the name has no effect on the decision.",
    }


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = train(asked.steps, asked.seed)
    measured = assess(model)
    print(json.dumps(measured, indent=1), f"\n{time.perf_counter() - started:.0f} seconds")
    model.save_pretrained(asked.out / "weights")
    save_tokenizer(hiring.VOCABULARY, asked.out / "weights", longest=LENGTH)
    (asked.out / "truth.json").write_text(json.dumps(truth(measured, model, asked.seed, asked.steps), indent=1) + "\n")


if __name__ == "__main__":
    main()
