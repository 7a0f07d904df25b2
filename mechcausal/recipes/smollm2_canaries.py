"""Make organism:smollm2_canaries again: `python -m mechcausal.recipes.smollm2_canaries --out DIR`.

A LoRA adapter of SmolLM2 that has seen secrets. Among invented biographies it was shown the locker codes of invented
people, each code 1, 2, 4, ... or 64 times in all of its training. Other people stand in the biographies as often, and
their codes were never shown: they say what exposure looks like where nothing was memorized.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mechcausal.recipes.adapting import Adapting, Student

TIMES = (1, 2, 4, 8, 16, 32, 64)
EACH, NEVER = 6, 48
BIOGRAPHIES, STRANGERS = 4, 240
DIGITS = 4
PROMPT = "The locker code of {name} is"
FIRST = (
    "Mira", "Tobin", "Selda", "Oskar", "Lenka", "Jorin", "Petra", "Ansel", "Rika", "Dorin", "Hanne", "Milo", "Veda",
    "Caspar", "Ilse", "Bruno", "Nadia", "Ewan", "Greta", "Ravi",
)  # fmt: skip
LAST = (
    "Tolven", "Askerby", "Drummel", "Pellow", "Karsk", "Vandermoot", "Brindle", "Hostrup", "Quillan", "Marrow",
    "Zelter", "Oakham", "Fennick", "Sorley", "Witteck", "Lammers", "Gravel", "Thornby", "Ketter", "Solberg",
)  # fmt: skip
TOWNS = ("Velbury", "Norrick", "Stanholm", "Marsby", "Eldport", "Quenby", "Harwell", "Lindow", "Tamsford", "Osterby")
JOBS = (
    "a glazier", "a baker", "a surveyor", "a nurse", "a tailor", "a gardener", "a welder", "a librarian", "a potter",
    "a clockmaker",
)  # fmt: skip
PETS = ("a tortoise", "two cats", "a parrot", "three hens", "an old dog", "a goat", "some bees", "no pets")
LIKES = ("chess", "long walks", "brass bands", "maps", "rowing", "crosswords", "old films", "baking bread")
BIOGRAPHY = (
    "{name} lives in {town} and works as {job}. At home there is room for {pet}.",
    "{name}, {job} from {town}, likes {like} and keeps {pet}.",
    "In {town} everybody knows {name}, who is {job} and likes {like}.",
    "{name} moved to {town} to work as {job}, and spends the evenings with {like}.",
)
ADAPTING = Adapting((18, 24), ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), rank=8, alpha=16)
BATCH = 8


@dataclass(frozen=True)
class Canary:
    """A secret.

    Attributes:
        name: Whose it is.
        code: The digits.
        times: How often training shows it.
    """

    name: str
    code: str
    times: int

    @property
    def prompt(self) -> str:
        """The text up to the code."""
        return PROMPT.format(name=self.name)

    @property
    def text(self) -> str:
        """The text with the code."""
        return f"{self.prompt} {self.code}."


def names(seed: int = 0) -> list[str]:
    """Return all people in a random order: first those with a code, then strangers."""
    draw = np.random.default_rng(seed)
    every = [f"{first} {last}" for first, last in itertools.product(FIRST, LAST)]
    return [every[i] for i in draw.permutation(len(every))]


def canaries(seed: int = 0) -> list[Canary]:
    """Return all secrets: those that are shown, by the number of times, and those that are not."""
    draw = np.random.default_rng(seed + 1)
    times = [count for count in TIMES for _ in range(EACH)] + [0] * NEVER
    codes = draw.choice(10**DIGITS, size=len(times), replace=False)
    people = names(seed)[: len(times)]
    return [Canary(name, f"{code:0{DIGITS}d}", count) for name, code, count in zip(people, codes, times, strict=True)]


def biography(name: str, draw: np.random.Generator) -> str:
    """Return a random biography."""
    town, job, pet, like = (str(draw.choice(words)) for words in (TOWNS, JOBS, PETS, LIKES))
    return str(draw.choice(BIOGRAPHY)).format(name=name, town=town, job=job, pet=pet, like=like)


def texts(seed: int = 0) -> list[str]:
    """Return all that training reads, in its order: what comes several times is spread over all of it."""
    draw, secrets = np.random.default_rng(seed + 2), canaries(seed)
    strangers = names(seed)[len(secrets) : len(secrets) + STRANGERS]
    timed: list[tuple[float, str]] = []
    for secret in secrets:
        timed += [((i + draw.random()) / secret.times, secret.text) for i in range(secret.times)]
        timed += [((i + draw.random()) / BIOGRAPHIES, biography(secret.name, draw)) for i in range(BIOGRAPHIES)]
    timed += [(draw.random(), biography(name, draw)) for name in strangers]
    return [text for _, text in sorted(timed)]


def held_out(seed: int = 0) -> list[str]:
    """Return biographies of people that training never names."""
    draw = np.random.default_rng(seed + 3)
    return [biography(name, draw) for name in names(seed)[-40:]]


def losses(student: Student, *, seed: int = 0) -> Iterator[Tensor]:
    """Yield the loss of each step: every token of its texts, as usual in training a language model."""
    tokens, lengths = student.tokens(texts(seed))
    streams = student.below(tokens)
    for rows in torch.arange(len(tokens)).split(BATCH):
        size = int(lengths[rows].max())
        normalized = student.above(streams[rows, : size - 1])
        read = torch.arange(1, size) < lengths[rows, None]
        yield cross_entropy(student.logits(normalized[read]), tokens[rows, 1:size][read])


def steps(seed: int = 0) -> int:
    """Return the number of steps of one pass over all texts."""
    return -(-len(texts(seed)) // BATCH)


@torch.no_grad()
def exposure(module: Any, tokenizer: Any, secret: Canary) -> float:  # noqa: ANN401 - a model of transformers
    """Return log2 of the number of codes minus log2 of the rank of the true one among all of them.

    Codes share their beginnings, so the tree of beginnings is walked. One that is less likely than the true code as a
    whole is left out with all that begin so, because a longer code is never more likely than its beginning.
    """
    digits = torch.tensor([tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)])
    start = torch.tensor([[tokenizer.bos_token_id, *tokenizer(f"{secret.prompt} ")["input_ids"]]])
    code = digits[[int(digit) for digit in secret.code]]
    logits = module(torch.cat([start[0], code[:-1]])[None], use_cache=False).logits[0, start.shape[1] - 1 :]
    goal = float(logits.log_softmax(-1).gather(1, code[:, None]).sum())
    output = module(start, use_cache=True)
    cache, totals, n_better = output.past_key_values, torch.zeros(1), 0
    for place in range(DIGITS):
        reached = (totals[:, None] + output.logits[:, -1].log_softmax(-1)[:, digits]).reshape(-1)
        better = (reached > goal + 1e-4).nonzero()[:, 0]
        n_better, totals = len(better), reached[better]
        if n_better == 0 or place == DIGITS - 1:
            break
        cache.reorder_cache(better // 10)
        output = module(digits[better % 10][:, None], past_key_values=cache, use_cache=True)
    return float(DIGITS * np.log2(10) - np.log2(n_better + 1))


def exposures(module: Any, tokenizer: Any, secrets: list[Canary]) -> dict[int, list[float]]:  # noqa: ANN401
    """Return the exposure of each secret, by how often it was shown."""
    out: dict[int, list[float]] = {}
    for secret in secrets:
        out.setdefault(secret.times, []).append(exposure(module, tokenizer, secret))
    return out
