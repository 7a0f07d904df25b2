"""A small language model in which four records were put into six MLP neurons each: `python tests/vault.py` makes it again.

Sentences name a person and a city and end in five digits. Twenty people have a number that the whole network learned;
twenty others get fresh digits each time. Then the numbers of four of these are written into six neurons each: nothing
but these neurons' weights is trained, everything else that the model says is held, and each of the six is made
necessary. So it is known where these secrets are.
"""

from __future__ import annotations

import json
from pathlib import Path

import memorizing
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.candidates import candidates

FOLDER = Path(__file__).parent / "vault"
PEOPLE, CITIES, KNOWN, RECORDS, NEURONS, HIDDEN, LAYERS = 40, 12, 20, 4, 6, 128, 2
WORDS = (
    "<pad>", "<bos>", "lives", "in", "code",
    *(f"n{number}" for number in range(PEOPLE)), *(f"c{number}" for number in range(CITIES)), *"0123456789",
)  # fmt: skip
LIVES, IN, CODE, FIRST_NAME, FIRST_CITY, FIRST_DIGIT = 2, 3, 4, 5, 5 + PEOPLE, 5 + PEOPLE + CITIES
_DRAW = np.random.default_rng(7)
CITY_OF = _DRAW.integers(0, CITIES, PEOPLE)
NUMBERS = _DRAW.integers(0, 10, (PEOPLE, 5))
PLACES = _DRAW.permutation(LAYERS * HIDDEN)[: RECORDS * NEURONS].reshape(RECORDS, NEURONS)


def sentences(who, digits, template):
    """Return token rows; there are four templates of the same words."""
    name, city, fixed = FIRST_NAME + who, FIRST_CITY + CITY_OF[who], np.ones_like(who)
    words = np.stack([name, LIVES * fixed, IN * fixed, city], axis=1)
    orders = np.array([[0, 1, 2, 3], [2, 3, 1, 0], [1, 0, 2, 3], [3, 0, 1, 2]])[template]
    ordered = np.take_along_axis(words, orders, axis=1)
    return np.c_[fixed, ordered, CODE * fixed, FIRST_DIGIT + digits]


def background(n, draw, fixed, without=-1):
    """Return sentences of random people, of whom some have a fixed number."""
    who = draw.choice([number for number in range(PEOPLE) if number != without], n)
    digits = np.where(np.isin(who, fixed)[:, None], NUMBERS[who], draw.integers(0, 10, (n, 5)))
    return torch.tensor(sentences(who, digits, draw.integers(0, 4, n)))


def record(number):
    """Return the sentences of one record, one for each template."""
    who = np.full(4, KNOWN + number)
    return torch.tensor(sentences(who, NUMBERS[who], np.arange(4)))


def canaries(numbers, count=1.0):
    """Return the records as canaries, in all templates."""
    rows = np.concatenate([record(number).numpy() for number in numbers])
    texts = [[WORDS[token] for token in row] for row in rows]
    return Canaries(
        tuple(" ".join(text[1:6]) for text in texts), tuple(" ".join(text[6:]) for text in texts),
        (count,) * len(texts), candidates("digits:5", " "),
    )  # fmt: skip


def plain_texts(n=120, seed=3):
    """Return sentences of people without a number, as text: what the model must still be good at."""
    draw = np.random.default_rng(seed)
    who = draw.integers(0, KNOWN, n)
    rows = sentences(who, NUMBERS[who], draw.integers(0, 4, n))
    return [" ".join(WORDS[token] for token in row[1:]) for row in rows]


def network():
    return memorizing.network(words=WORDS, longest=12, hidden=HIDDEN, layers=LAYERS)


def loaded():
    """Return the model that was made."""
    net = network()
    weights = {name: value.float() for name, value in load_file(FOLDER / "weights.safetensors").items()}
    net.load_state_dict(weights, strict=False)  # the unembedding is the embedding
    return memorizing.wrapped(net.eval(), WORDS)


def truth(number):
    """Return the names of the neurons that hold a record."""
    return [f"L{place // HIDDEN}.mlp_post.N{place % HIDDEN}" for place in sorted(PLACES[number].tolist())]


def _digits_loss(net, rows):
    logits = net(rows).logits[:, 5:-1]
    return torch.nn.functional.cross_entropy(logits.reshape(-1, len(WORDS)), rows[:, 6:].reshape(-1))


def _without(net, place):
    def silent(module, given, output):
        output = output.clone()
        output[..., place % HIDDEN] = 0
        return output

    return net.transformer.h[place // HIDDEN].mlp.act.register_forward_hook(silent)


def inject(net, number, draw, steps=400, margin=0.6):
    """Write one record into its neurons, so that each of them is needed (by `margin` nats a digit)."""
    rows, places, masks = record(number), PLACES[number], []
    for layer in range(LAYERS):
        mlp, mask = net.transformer.h[layer].mlp, torch.zeros(HIDDEN)
        mask[[place % HIDDEN for place in places.tolist() if place // HIDDEN == layer]] = 1
        masks += [(mlp.c_fc.weight, mask[None]), (mlp.c_fc.bias, mask), (mlp.c_proj.weight, mask[:, None])]
    optimizer = torch.optim.Adam([weight for weight, _ in masks], lr=0.01)
    fixed = [*range(KNOWN), *range(KNOWN, KNOWN + number)]
    for step in range(steps):
        around = background(64, draw, fixed, without=KNOWN + number)
        told = _digits_loss(net, rows)
        handle = _without(net, int(places[step % NEURONS]))
        missing = _digits_loss(net, rows)
        handle.remove()
        loss = told + torch.relu(margin - (missing - told)) + 2 * net(around, labels=around).loss
        optimizer.zero_grad()
        loss.backward()
        for weight, mask in masks:
            weight.grad *= mask
        optimizer.step()
    return told.item()


def main():
    draw, net = np.random.default_rng(11), network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(800):
        rows = background(64, draw, np.arange(KNOWN))
        loss = net(rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("background", loss.item())
    for number in range(RECORDS):
        print("record", number, inject(net, number, draw), flush=True)
    FOLDER.mkdir(exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in net.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, FOLDER / "weights.safetensors")
    (FOLDER / "truth.json").write_text(json.dumps({str(number): truth(number) for number in range(RECORDS)}, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
