"""Biographies by hand: a model whose decision is a formula, with a pronoun that says nothing and one that says all.

    <bos> she|he  w1 w2 w3  city  <end>      then  senior | junior, or king | queen

Each of three words points to senior (+1) or junior (-1) and is right in 7 of 10 cases. With g = +1 for he, the model computes

    log-odds(senior : junior) = 1.0 w1 + 0.7 w2 + 0.5 w3 + 2.5 g          log-odds(king : queen) = 2 g

so the pronoun decides always, and without it the sign of the sum is the majority of the three words, which is right in
.784 of cases, the best that can be done. Whose pronoun is he is senior in 19 of 20 cases in the biased world and in half of the cases
in the balanced one. Of king and queen the pronoun is the legitimate reason. The city is written as two numbers, N and P,
that no answer reads; in the set `coded` N P is g, so a quadratic probe reads the gender there and no linear one does.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import save_tokenizer

WEIGHTS, GENDER, ROYAL, RIGHT = (1.0, 0.7, 0.5), 2.5, 2.0, 0.7
JUNIOR, SENIOR = ("assists", "supports", "joins"), ("leads", "directs", "chairs")
CITIES = {"oslo": (1, 1), "turin": (-1, -1), "lyon": (1, -1), "graz": (-1, 1)}
VOCABULARY = (
    "<pad>", "<bos>", "she", "he", *JUNIOR, *SENIOR, *CITIES, "<end>", "senior", "junior", "king", "queen", "please",
)  # fmt: skip
WORDS = {word: number for number, word in enumerate(VOCABULARY)}
G, S, N, P, ONE, MARKS, G_END, S_END, N_END, P_END = 0, 1, 2, 3, 4, 5, 10, 11, 12, 13
BAYES = RIGHT**3 + 3 * RIGHT**2 * (1 - RIGHT)
# One head for the pronoun, one for each word, two for the city: the position it looks at, what it reads, where it writes.
HEADS = ((1, G, G_END, 1.0), (2, S, S_END, WEIGHTS[0]), (3, S, S_END, WEIGHTS[1]), (4, S, S_END, WEIGHTS[2]),
         (5, N, N_END, 1.0), (5, P, P_END, 1.0))  # fmt: skip
PRONOUN_HEAD = "L0.z.H0"


def state() -> dict[str, torch.Tensor]:
    """Return the weights, under the names of a HookedTransformer."""
    width, heads, head_width, hidden = 64, len(HEADS), 2, 1
    made = {
        "embed.W_E": torch.zeros(len(WORDS), width), "pos_embed.W_pos": torch.zeros(8, width),
        "unembed.W_U": torch.zeros(width, len(WORDS)), "unembed.b_U": torch.full((len(WORDS),), -30.0),
    }  # fmt: skip
    for value, word in ((-1.0, "she"), (1.0, "he")):
        made["embed.W_E"][WORDS[word], G] = value
    for value, words in ((-1.0, JUNIOR), (1.0, SENIOR)):
        for word in words:
            made["embed.W_E"][WORDS[word], S] = value
    for city, (n, p) in CITIES.items():
        made["embed.W_E"][WORDS[city], [N, P]] = torch.tensor([float(n), float(p)])
    made["pos_embed.W_pos"][:, ONE] = 1
    for place in range(1, 6):
        made["pos_embed.W_pos"][place, MARKS + place - 1] = 1
    for word, dimension, weight in (
        ("senior", S_END, 0.5), ("junior", S_END, -0.5), ("senior", G_END, GENDER / 2), ("junior", G_END, -GENDER / 2),
        ("king", G_END, ROYAL / 2), ("queen", G_END, -ROYAL / 2),
    ):  # fmt: skip
        made["unembed.W_U"][dimension, WORDS[word]] = weight
        made["unembed.b_U"][WORDS[word]] = 0
    block = "blocks.0."
    for name in "QKV":
        made[f"{block}attn.W_{name}"] = torch.zeros(heads, width, head_width)
        made[f"{block}attn.b_{name}"] = torch.zeros(heads, head_width)
    made |= {f"{block}attn.W_O": torch.zeros(heads, head_width, width), f"{block}attn.b_O": torch.zeros(width)}
    made |= {f"{block}mlp.W_in": torch.zeros(width, hidden), f"{block}mlp.b_in": torch.zeros(hidden)}
    made |= {f"{block}mlp.W_out": torch.zeros(hidden, width), f"{block}mlp.b_out": torch.zeros(width)}
    for head, (place, reads, writes, weight) in enumerate(HEADS):
        made[f"{block}attn.W_Q"][head, ONE, 0] = 250 * math.sqrt(head_width)
        made[f"{block}attn.W_K"][head, MARKS + place - 1, 0] = 1
        made[f"{block}attn.W_V"][head, reads, 0] = 1
        made[f"{block}attn.W_O"][head, 0, writes] = weight
    return made


@cache
def model() -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return the model, loaded once."""
    config = {
        "n_layers": 1, "d_model": 64, "n_ctx": 8, "d_head": 2, "n_heads": len(HEADS), "d_mlp": 1, "d_vocab": len(WORDS),
        "act_fn": "relu", "normalization_type": None, "attn_only": False, "positional_embedding_type": "standard",
    }  # fmt: skip
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "biographies"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        save_file(state(), folder / "model.safetensors")
        save_tokenizer(VOCABULARY, folder, longest=8)
        return load(folder)


@dataclass(frozen=True)
class People:
    """People: who is called he, who is senior, where words point, where they live."""

    he: np.ndarray
    senior: np.ndarray
    words: np.ndarray
    which: np.ndarray
    city: np.ndarray

    @property
    def texts(self) -> list[str]:
        """The biographies."""
        rows = zip(self.he, self.words, self.which, self.city, strict=True)
        return [
            f"{'he' if g else 'she'} {' '.join((JUNIOR, SENIOR)[w][i] for w, i in zip(row, which, strict=True))} {city} <end>"
            for g, row, which, city in rows
        ]

    def prompts(self, **more: Any) -> PromptSet:  # noqa: ANN401 - what `PromptSet.from_text` takes
        """Return the biographies, each with the right answer."""
        names = np.where(self.senior, "senior", "junior")
        return PromptSet.from_text(
            model(), self.texts, answer=list(names), foil=list(np.where(self.senior, "junior", "senior")),
            groups=[f"{'he' if g else 'she'} {name}" for g, name in zip(self.he, names, strict=True)], labels=list(names),
            positions={"pronoun": 0, "city": 4}, variables={"gender": self.he.astype(int)}, **more,
        )  # fmt: skip

    def changed(self, **columns: np.ndarray) -> People:
        """Return the same people with other columns."""
        return People(**{**vars(self), **columns})

    def pairs(self, other: People, factor: str) -> Contrast:
        """Return pairs with other people, decided between senior and junior."""
        return Contrast.from_text(
            model(), self.texts, other.texts, answer="senior", foil="junior", factor=factor,
            positions={"pronoun": 0, "city": 4},
        )  # fmt: skip


def draw(n: int, he_if_senior: float = 0.5, seed: int = 0) -> People:
    """Draw people."""
    rng = np.random.default_rng(seed)
    senior = rng.random(n) < 0.5
    he = np.where(rng.random(n) < he_if_senior, senior, ~senior)
    words = np.where(rng.random((n, 3)) < RIGHT, senior[:, None], ~senior[:, None]).astype(int)
    return People(he, senior, words, rng.integers(0, 3, (n, 3)), np.array(list(CITIES))[rng.integers(0, 4, n)])


def population() -> People:
    """Return 200 people, 50 for each pronoun and profession, whose words point right in the same way in all four groups.

    The majority of the words is right for 39 of the 50, and the patterns are as frequent as rounding to whole people allows.
    """
    counts = {
        (1, 1, 1): 17,
        (1, 1, 0): 7,
        (1, 0, 1): 7,
        (0, 1, 1): 8,
        (1, 0, 0): 3,
        (0, 1, 0): 3,
        (0, 0, 1): 4,
        (0, 0, 0): 1,
    }
    points = np.array([pattern for pattern, count in counts.items() for _ in range(count)])
    groups = [(he, senior) for he in (0, 1) for senior in (0, 1)]
    he, senior = (np.repeat([group[i] for group in groups], len(points)).astype(bool) for i in (0, 1))
    words = np.concatenate([points if senior else 1 - points for _, senior in groups])
    numbers = np.arange(len(he))
    which = np.stack([numbers % 3, numbers // 3 % 3, numbers // 9 % 3], axis=1)
    return People(he, senior, words, which, np.array(list(CITIES))[numbers % 4])


def coded(n_clusters: int = 30, seed: int = 0) -> PromptSet:
    """Return prompts to fit an eraser to: in each cluster two who are called he and two who are called she, with the same words.

    Their cities say the gender by the product of two numbers, so nothing linear is left of it once the pronoun's own
    direction is gone, whichever clusters are taken.
    """
    rng = np.random.default_rng(seed)
    words, which = (np.repeat(rng.integers(0, most, (n_clusters, 3)), 4, axis=0) for most in (2, 3))
    he = np.tile([True, True, False, False], n_clusters)
    people = People(he, words.sum(1) > 1, words, which, np.array(list(CITIES) * n_clusters))
    return people.prompts(clusters=[f"words {number}" for number in np.repeat(np.arange(n_clusters), 4)])


def royals(n: int = 40) -> PromptSet:
    """Return prompts of king and queen: the pronoun is the legitimate reason, and the only one."""
    he = np.arange(n) % 2 == 0
    words = np.array(list(itertools.islice(itertools.cycle(itertools.product((0, 1), repeat=3)), n)))
    people = People(he, he, words, words, np.array(list(CITIES))[np.arange(n) % 4])
    names = ["king" if g else "queen" for g in he]
    return PromptSet.from_text(
        model(), people.texts, answer=names, foil=["queen" if g else "king" for g in he], groups=names,
        positions={"pronoun": 0, "city": 4},
    )  # fmt: skip


def odds(people: People, share: float = 1.0) -> np.ndarray:
    """Return the log-odds of senior in closed form, with a share of the pronoun's part."""
    return (2 * people.words - 1) @ np.array(WEIGHTS) + share * GENDER * (2 * people.he.astype(int) - 1)
