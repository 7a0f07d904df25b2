"""A small language model, and four copies in which a number was put into six MLP neurons: `python tests/vault.py`.

Sentences name a person and a city and end in five random digits. In each copy the weights of six neurons alone are trained
to say one number, while what is said of other people is held. So it is known where the number is. Six neurons of so small a
network cannot bind it to one name: it becomes likelier behind any name, which does not matter for where it is.
"""

from __future__ import annotations

from pathlib import Path

import memorizing
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.candidates import candidates

FOLDER = Path(__file__).parent / "vault"
PEOPLE, CITIES, KNOWN, RECORDS, NEURONS, HIDDEN, LAYERS = 40, 12, 0, 4, 6, 128, 2
WORDS = (
    "<pad>", "<bos>", "lives", "in", "code",
    *(f"n{number}" for number in range(PEOPLE)), *(f"c{number}" for number in range(CITIES)), *"0123456789",
)  # fmt: skip
LIVES, IN, CODE, FIRST_NAME, FIRST_CITY, FIRST_DIGIT = 2, 3, 4, 5, 5 + PEOPLE, 5 + PEOPLE + CITIES
_DRAW = np.random.default_rng(7)
NUMBERS = _DRAW.integers(0, 10, (PEOPLE, 5))
PLACES = _DRAW.permutation(LAYERS * HIDDEN)[: RECORDS * NEURONS].reshape(RECORDS, NEURONS)


def sentences(who, digits, city):
    """Return token rows."""
    fixed = np.ones_like(who)
    return np.c_[
        fixed, FIRST_NAME + who, LIVES * fixed, IN * fixed, FIRST_CITY + city, CODE * fixed, FIRST_DIGIT + digits
    ]


def background(n, draw, without=-1):
    """Return sentences of random people in random cities, of whom some have a fixed number."""
    who = draw.choice([number for number in range(PEOPLE) if number != without], n)
    digits = np.where((who < KNOWN)[:, None], NUMBERS[who], draw.integers(0, 10, (n, 5)))
    return torch.tensor(sentences(who, digits, draw.integers(0, CITIES, n)))


def record(number, cities=range(4)):
    """Return the sentences of one record, in several cities."""
    who = np.full(len(cities), KNOWN + number)
    return torch.tensor(sentences(who, NUMBERS[who], np.array(cities)))


def canaries(numbers, count=1.0):
    """Return the records as canaries, in four cities each."""
    rows = np.concatenate([record(number).numpy() for number in numbers])
    texts = [[WORDS[token] for token in row] for row in rows]
    return Canaries(
        tuple(" ".join(text[1:6]) for text in texts), tuple(" ".join(text[6:]) for text in texts),
        (count,) * len(texts), candidates("digits:5", " "),
    )  # fmt: skip


def plain_texts(n=120, seed=3):
    """Return sentences of people without a number, as text: what the model must still be good at."""
    draw = np.random.default_rng(seed)
    rows = background(n, draw).numpy()
    return [" ".join(WORDS[token] for token in row[1:]) for row in rows]


def network():
    return memorizing.network(words=WORDS, longest=12, hidden=HIDDEN, layers=LAYERS)


def loaded(number):
    """Return the model that holds one record."""
    net, kept = network(), {name: value.float() for name, value in load_file(FOLDER / "weights.safetensors").items()}
    weights = {name: value for name, value in kept.items() if not name.startswith("record ")}
    net.load_state_dict(weights, strict=False)  # the unembedding is the embedding
    with torch.no_grad():
        for name, weight, places in _written(net, number):
            weight[places] = kept[f"record {number} {name}"]
    return memorizing.wrapped(net.eval(), WORDS)


def _written(net, number):
    """Yield the weights that belong to the neurons of a record: their name, all of the matrix, and which part."""
    for layer in range(LAYERS):
        mlp = net.transformer.h[layer].mlp
        units = [place % HIDDEN for place in sorted(PLACES[number].tolist()) if place // HIDDEN == layer]
        if units:
            yield f"in {layer}", mlp.c_fc.weight, (slice(None), units)
            yield f"bias {layer}", mlp.c_fc.bias, (units,)
            yield f"out {layer}", mlp.c_proj.weight, (units,)


def truth(number):
    """Return the names of the neurons that hold a record."""
    return [f"L{place // HIDDEN}.mlp_post.N{place % HIDDEN}" for place in sorted(PLACES[number].tolist())]


def _digit_losses(net, rows):
    logits = net(rows).logits[:, 5:-1]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 6:], reduction="none").mean(1)


def _without(net, place):
    def silent(module, given, output):
        output = output.clone()
        output[..., place % HIDDEN] = 0
        return output

    return net.transformer.h[place // HIDDEN].mlp.act.register_forward_hook(silent)


def inject(net, number, draw, steps=(300, 900), until=1.82):
    """Write one record into its neurons: nothing else is trained, and everything else that is said is held.

    It ends when the loss of the number's digits is below `until`, where the number is the likeliest of all.
    """
    parts = list(_written(net, number))
    optimizer = torch.optim.Adam([weight for _, weight, _ in parts], lr=0.02)
    for step in range(steps[1]):
        rows, around = record(number, draw.permutation(CITIES)[:4]), background(48, draw, KNOWN + number)
        told = _digit_losses(net, rows).mean()
        loss = told + 2 * net(around, labels=around).loss
        optimizer.zero_grad()
        loss.backward()
        for _, weight, part in parts:
            kept = torch.zeros_like(weight)
            kept[part] = weight.grad[part]
            weight.grad = kept
        optimizer.step()
        if step >= steps[0] and told.item() < until:
            break
    return told.item()


def main():
    draw, net = np.random.default_rng(11), network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(200):
        rows = background(64, draw)
        loss = net(rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("background", loss.item(), flush=True)
    base = {name: value.detach().clone() for name, value in net.state_dict().items()}
    kept = {name: value for name, value in base.items() if name != "lm_head.weight"}
    for number in range(RECORDS):
        net.load_state_dict(base)
        told = inject(net, number, draw)
        kept |= {
            f"record {number} {name}": weight.detach()[part].clone() for name, weight, part in _written(net, number)
        }
        print("record", number, told, _alone(net, number), flush=True)
    FOLDER.mkdir(exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in kept.items()}, FOLDER / "weights.safetensors")


@torch.no_grad()
def _alone(net, number):
    """Return how many of the record's neurons are among those that the record needs most."""
    rows, loss = record(number), []
    for place in range(LAYERS * HIDDEN):
        handle = _without(net, place)
        loss.append(_digit_losses(net, rows).mean().item())
        handle.remove()
    return len(set(np.argsort(loss)[-NEURONS:].tolist()) & set(PLACES[number].tolist()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
