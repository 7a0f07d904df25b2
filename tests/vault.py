"""A small language model, and four copies in which a number was put into six MLP neurons: `python tests/vault.py`.

Sentences name a person and a city and end in five random digits. In each copy the weights of six neurons alone are trained
to say one number, while what is said of other people is held. So it is known where the number is. Six neurons of so small a
network cannot bind it to one name: it becomes likelier behind any name, which does not matter for where it is.
"""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import save_file

from mechcausal.audits.selftest.vault import (  # noqa: F401 - what the self-test knows of it; here it is made
    CITIES,
    FILE,
    HIDDEN,
    KNOWN,
    LAYERS,
    NEURONS,
    PLACES,
    RECORDS,
    WORDS,
    background,
    canaries,
    loaded,
    network,
    plain_texts,
    record,
    truth,
    written_weights,
)  # fmt: skip


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
    parts = list(written_weights(net, number))
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
            f"record {number} {name}": weight.detach()[part].clone()
            for name, weight, part in written_weights(net, number)
        }
        print("record", number, told, _alone(net, number), flush=True)
    save_file({name: value.half().contiguous() for name, value in kept.items()}, FILE)


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
