"""What recipes that adapt a language model share: low-rank maps on some of its layers, and what is frozen kept.

Only the adapted layers and those above them are run in training. What the layers below give is computed once for each
text, because they never change.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mechcausal.errors import DataError
from mechcausal.models.adapters import BASE_DIGEST, CONFIG, WEIGHTS, Adapter
from mechcausal.models.converting import converted
from mechcausal.models.fingerprint import module_fingerprint
from mechcausal.models.pretrained import from_folder, tokenizer_from
from mechcausal.models.wheels import file_of

BASE = "smollm2"
OTHER = (
    "The ferry leaves at seven in the morning and reaches the island before noon.",
    "Water boils at a lower temperature on a mountain, because the air presses less.",
    "She opened the window, looked at the rain, and decided to read at home.",
    "A triangle whose sides have the lengths three, four and five has a right angle.",
    "The king and the queen watched the dancers from the balcony of the palace.",
    "My brother repaired the old bicycle and gave it to the boy next door.",
    "To make the soup, fry the onions, add the potatoes, and let it cook for half an hour.",
    "The museum was closed on Monday, so we walked along the river instead.",
    "Most birds build a new nest every spring, but storks come back to the old one.",
    "The committee read the report, asked two questions, and voted for the new bridge.",
    "He is a nurse in the city hospital, and his wife teaches history.",
    "Copper conducts electricity well, which is why wires are made of it.",
    "In winter the lake freezes, and children skate on it after school.",
    "The train was late again, but nobody on the platform seemed to mind.",
    "The painter mixed blue and yellow until the green looked like moss.",
    "If the battery is empty, connect the cable and wait until the light turns green.",
)
"""Texts that have nothing to do with what the adapters learn."""
_PARTS = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}


@dataclass(frozen=True)
class Adapting:
    """Where low-rank maps are put.

    Attributes:
        layers: The layers that are adapted, from the first to the one behind the last.
        maps: The names of the linear maps that are adapted in each.
        rank: The rank.
        alpha: The change of a map is scaled by alpha / rank.
    """

    layers: tuple[int, int]
    maps: tuple[str, ...]
    rank: int = 8
    alpha: int = 16

    @property
    def numbers(self) -> list[int]:
        """The numbers of the adapted layers."""
        return list(range(*self.layers))

    def config(self, base: str) -> dict[str, Any]:
        """Return the configuration as the package peft writes it."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "target_modules": list(self.maps),
            "layers_to_transform": self.numbers,
            "layers_pattern": "layers",
            "inference_mode": True,
        }


def base() -> tuple[Any, Any]:
    """Return SmolLM2 as `transformers` makes it, and its tokenizer."""
    folder, _ = converted(file_of(BASE))
    module, _ = from_folder(folder, torch.float32, BASE)
    return module.eval().requires_grad_(False), tokenizer_from(folder)


def encoded(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Return the tokens of texts, padded behind their ends, and how many each has. The first is BOS."""
    rows = [[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]] for text in texts]
    lengths = torch.tensor([len(row) for row in rows])
    table = torch.full((len(rows), int(lengths.max())), tokenizer.eos_token_id)
    for i, row in enumerate(rows):
        table[i, : len(row)] = torch.tensor(row)
    return table, lengths


class LowRank(nn.Module):
    """A frozen linear map, and a map of low rank beside it that is trained."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.first = nn.Parameter(torch.empty(rank, base.in_features))
        self.second = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.first, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the frozen map gives, and what is learned."""
        return self.base(x) + (x @ self.first.T) @ self.second.T * self.scale


class Student:
    """A language model of which some layers are adapted.

    Args:
        module: The model, as `transformers` makes it.
        tokenizer: Its tokenizer.
        adapting: Where the low-rank maps are put.
        seed: The seed of their first weights.
    """

    def __init__(self, module: Any, tokenizer: Any, adapting: Adapting, *, seed: int = 0) -> None:  # noqa: ANN401
        self.module, self.tokenizer, self.adapting = module.requires_grad_(False), tokenizer, adapting
        self.maps: dict[str, LowRank] = {}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for number in adapting.numbers:
                for part, names in _PARTS.items():
                    section = getattr(module.model.layers[number], part)
                    for name in (name for name in names if name in adapting.maps):
                        low_rank = LowRank(getattr(section, name), adapting.rank, adapting.alpha / adapting.rank)
                        setattr(section, name, low_rank)
                        self.maps[f"model.layers.{number}.{part}.{name}"] = low_rank

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [weight for low_rank in self.maps.values() for weight in (low_rank.first, low_rank.second)]

    @contextmanager
    def without(self) -> Generator[None]:
        """Run the model as it was before it was adapted."""
        scales = {name: low_rank.scale for name, low_rank in self.maps.items()}
        try:
            for low_rank in self.maps.values():
                low_rank.scale = 0.0
            yield
        finally:
            for name, low_rank in self.maps.items():
                low_rank.scale = scales[name]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the tokens of texts, padded behind their ends, and how many each has."""
        return encoded(self.tokenizer, texts)

    @torch.no_grad()
    def below(self, tokens: Tensor, *, batch: int = 32) -> Tensor:
        """Return the stream before the first adapted layer, [text position width]."""
        with self._only(slice(0, self.adapting.layers[0]), nn.Identity()):
            parts = [self.module.model(rows, use_cache=False).last_hidden_state for rows in tokens.split(batch)]
        return torch.cat(parts)

    def above(self, streams: Tensor) -> Tensor:
        """Return the normalized last stream from the one before the first adapted layer.

        While it is trained, products are computed in bfloat16, which is twice as fast; sums and the stream are not.
        """
        half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.is_grad_enabled())
        with half, self._only(slice(self.adapting.layers[0], None), self.module.model.norm):
            return self.module.model(inputs_embeds=streams, use_cache=False).last_hidden_state.float()

    def logits(self, normalized: Tensor) -> Tensor:
        """Return the logits of normalized last streams."""
        return self.module.lm_head(normalized)

    @contextmanager
    def _only(self, layers: slice, norm: nn.Module) -> Generator[None]:
        decoder = self.module.model
        every, last = decoder.layers, decoder.norm
        try:
            decoder.layers, decoder.norm = every[layers], norm
            yield
        finally:
            decoder.layers, decoder.norm = every, last

    def save(self, folder: Path, *, base: str = BASE, digest: str | None = None) -> None:
        """Write the adapter as the package peft writes it, in half precision.

        Args:
            folder: Where.
            base: What the model is called.
            digest: The digest of its weights, by which loading refuses others.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"base_model.model.{name}.lora_{letter}.weight": weight.detach().half().contiguous()
            for name, low_rank in self.maps.items()
            for letter, weight in (("A", low_rank.first), ("B", low_rank.second))
        }
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", **({BASE_DIGEST: digest} if digest else {})})
        text = json.dumps(self.adapting.config(base), indent=1)
        (folder / CONFIG).write_text(text + "\n")


@torch.no_grad()
def surprise(module: Any, tokenizer: Any, texts: Sequence[str], *, batch: int = 16) -> float:  # noqa: ANN401
    """Return the mean negative log-likelihood of the tokens of some texts, in nats."""
    total, n = 0.0, 0
    for start in range(0, len(texts), batch):
        tokens, lengths = encoded(tokenizer, texts[start : start + batch])
        logits = module(tokens[:, :-1], use_cache=False).logits
        real = torch.arange(1, tokens.shape[1]) < lengths[:, None]
        total += float(cross_entropy(logits[real], tokens[:, 1:][real], reduction="sum"))
        n += int(real.sum())
    return total / n


def described(name: str, module: Any, folder: Path, adapting: Adapting) -> dict[str, Any]:  # noqa: ANN401
    """Return what the statement of an adapter says of its base and of its files.

    Args:
        name: What the adapter is called.
        module: The base.
        folder: The folder of the adapter.
        adapting: Where its low-rank maps are.
    """
    adapter = Adapter.read(folder)
    return {
        "name": name,
        "base": {"name": BASE, "weights": module_fingerprint(module)},
        "adapter": {
            "file": adapter.digest,
            "layers": adapter.layers,
            "maps": list(adapting.maps),
            "rank": adapting.rank,
            "parameters": sum(first.numel() + second.numel() for first, second, _ in adapter.maps.values()),
        },
    }


def text_digest(texts: Sequence[str]) -> str:
    """Return a digest of texts and their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows))


def batches(n: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield the numbers of the texts of each step; every text comes once before any comes again."""
    if size > n:
        raise DataError("a batch cannot be larger than the set of texts", got=size, expected=f"at most {n}")
    draw = torch.Generator().manual_seed(seed)
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(n, generator=draw)])
        yield waiting[:size]
        waiting = waiting[size:]


def descend(
    parameters: Sequence[nn.Parameter],
    losses: Iterator[Tensor],
    steps: int,
    *,
    rate: float,
    warm: int = 20,
    say: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train with Adam, a rate that rises for some steps and then falls to zero, and gradients of limited length.

    Args:
        parameters: What is trained.
        losses: The loss of each step.
        steps: The number of steps.
        rate: The highest learning rate.
        warm: How many steps it takes to rise.
        say: What is told the step and its loss.
    """
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99))
    for step, loss in enumerate(losses):
        share = min((step + 1) / warm, (1 + math.cos(math.pi * step / steps)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        say(step, float(loss.detach()))
