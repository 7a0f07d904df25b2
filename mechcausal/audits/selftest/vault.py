"""A small language model, and four copies in which a number was put into six MLP neurons, so that it is known where it is.

Sentences name a person and a city and end in five random digits. In each of four copies the weights of six neurons alone
were trained to say one number, while what is said of other people was held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.candidates import candidates
from mechcausal.audits.selftest import memorizing

FILE = Path(__file__).parent / "vault.safetensors"
PEOPLE, CITIES, KNOWN, RECORDS, NEURONS, HIDDEN, LAYERS = 40, 12, 0, 4, 6, 128, 2
WORDS = (
    "<pad>", "<bos>", "lives", "in", "code",
    *(f"n{number}" for number in range(PEOPLE)), *(f"c{number}" for number in range(CITIES)), *"0123456789",
)  # fmt: skip
LIVES, IN, CODE, FIRST_NAME, FIRST_CITY, FIRST_DIGIT = 2, 3, 4, 5, 5 + PEOPLE, 5 + PEOPLE + CITIES
_DRAW = np.random.default_rng(7)
NUMBERS = _DRAW.integers(0, 10, (PEOPLE, 5))
PLACES = _DRAW.permutation(LAYERS * HIDDEN)[: RECORDS * NEURONS].reshape(RECORDS, NEURONS)


def sentences(who: np.ndarray, digits: np.ndarray, city: np.ndarray) -> np.ndarray:
    """Return token rows."""
    fixed = np.ones_like(who)
    return np.c_[
        fixed, FIRST_NAME + who, LIVES * fixed, IN * fixed, FIRST_CITY + city, CODE * fixed, FIRST_DIGIT + digits
    ]


def background(n: int, draw: np.random.Generator, without: int = -1) -> torch.Tensor:
    """Return sentences of random people in random cities, of whom some have a fixed number."""
    who = draw.choice([number for number in range(PEOPLE) if number != without], n)
    digits = np.where((who < KNOWN)[:, None], NUMBERS[who], draw.integers(0, 10, (n, 5)))
    return torch.tensor(sentences(who, digits, draw.integers(0, CITIES, n)))


def record(number: int, cities: Sequence[int] = range(4)) -> torch.Tensor:
    """Return the sentences of one record, in several cities."""
    who = np.full(len(cities), KNOWN + number)
    return torch.tensor(sentences(who, NUMBERS[who], np.array(cities)))


def canaries(numbers: Sequence[int], count: float = 1.0) -> Canaries:
    """Return the records as canaries, in four cities each."""
    rows = np.concatenate([record(number).numpy() for number in numbers])
    texts = [[WORDS[token] for token in row] for row in rows]
    return Canaries(
        tuple(" ".join(text[1:6]) for text in texts), tuple(" ".join(text[6:]) for text in texts),
        (count,) * len(texts), candidates("digits:5", " "),
    )  # fmt: skip


def plain_texts(n: int = 120, seed: int = 3) -> list[str]:
    """Return sentences of people without a number, as text: what the model must still be good at."""
    draw = np.random.default_rng(seed)
    rows = background(n, draw).numpy()
    return [" ".join(WORDS[token] for token in row[1:]) for row in rows]


def network() -> Any:  # noqa: ANN401 - a model of transformers
    """Return the network, untrained."""
    return memorizing.network(words=WORDS, longest=12, hidden=HIDDEN, layers=LAYERS)


def loaded(number: int) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return the model that holds one record."""
    net, kept = network(), {name: value.float() for name, value in load_file(FILE).items()}
    weights = {name: value for name, value in kept.items() if not name.startswith("record ")}
    net.load_state_dict(weights, strict=False)  # the unembedding is the embedding
    with torch.no_grad():
        for name, weight, places in written_weights(net, number):
            weight[places] = kept[f"record {number} {name}"]
    return memorizing.wrapped(net.eval(), WORDS)


def written_weights(net: Any, number: int) -> Iterator[tuple[str, torch.Tensor, tuple]]:  # noqa: ANN401
    """Yield the weights that belong to the neurons of a record: their name, all of the matrix, and which part."""
    for layer in range(LAYERS):
        mlp = net.transformer.h[layer].mlp
        units = [place % HIDDEN for place in sorted(PLACES[number].tolist()) if place // HIDDEN == layer]
        if units:
            yield f"in {layer}", mlp.c_fc.weight, (slice(None), units)
            yield f"bias {layer}", mlp.c_fc.bias, (units,)
            yield f"out {layer}", mlp.c_proj.weight, (units,)


def truth(number: int) -> list[str]:
    """Return the names of the neurons that hold a record."""
    return [f"L{place // HIDDEN}.mlp_post.N{place % HIDDEN}" for place in sorted(PLACES[number].tolist())]
