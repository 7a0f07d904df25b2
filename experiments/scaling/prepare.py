"""Write what the study of costs runs on: small models of random weights, and pairs of random words. See README.md.

Weights are random because cost does not depend on them. All words of a pair differ, so that no cell is answered
without a run.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechcausal.organisms.tokenizer import BOS, PAD, save_tokenizer

HERE = Path(__file__).parent
WIDTH, WORDS = 128, 500
BASE = {"layers": 4, "heads": 4, "positions": 16, "pairs": 16}
# What else is tried of each, all others being as in the base; a model of base size is among those of other depths.
LAYERS, HEADS, POSITIONS, PAIRS = (2, 4, 8, 16), (2, 8, 16), (8, 32, 64), (8, 32, 64)


def shapes() -> dict[str, tuple[int, int]]:
    """Return layers and heads of each model."""
    by_layers = {f"layers_{count}": (count, BASE["heads"]) for count in LAYERS}
    return by_layers | {f"heads_{count}": (BASE["layers"], count) for count in HEADS}


def sizes() -> dict[str, tuple[int, int]]:
    """Return how many tokens and pairs each file of pairs has; no two files share a pair, which would be run once."""
    by_positions = {f"positions_{count}": (count, BASE["pairs"]) for count in POSITIONS}
    by_pairs = {f"pairs_{count}": (BASE["positions"], count) for count in PAIRS}
    return {"warm": (BASE["positions"], 2), "base": (BASE["positions"], BASE["pairs"])} | by_positions | by_pairs


def model(layers: int, heads: int) -> GPT2LMHeadModel:
    """Return a GPT-2 of random weights, large enough for effects that can be seen."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=WORDS, n_layer=layers, n_head=heads, n_embd=WIDTH, n_positions=max(POSITIONS), bos_token_id=1,
        eos_token_id=0, initializer_range=0.05,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def pairs(positions: int, count: int, seed: int) -> list[dict[str, str]]:
    """Return pairs of so many tokens, the first of which begins every text."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.sample(vocabulary()[2:], 2) for _ in range(positions - 1)]
        clean, corrupt = (" ".join(side) for side in zip(*words, strict=True))
        answer, foil = draw.sample(vocabulary()[2:], 2)
        rows.append({"clean": clean, "corrupt": corrupt, "answer": answer, "foil": foil})
    return rows


def vocabulary() -> list[str]:
    """Return the words."""
    return [PAD, BOS, *(f"w{number}" for number in range(WORDS - 2))]


def prepare(folder: Path) -> None:
    """Write models and pairs; what is there already stays."""
    for name, (layers, heads) in shapes().items():
        place = folder / "models" / name
        if not (place / "config.json").is_file():
            model(layers, heads).save_pretrained(place)
            save_tokenizer(vocabulary(), place, longest=max(POSITIONS))
    for seed, (name, (positions, count)) in enumerate(sizes().items()):
        lines = [json.dumps(row) for row in pairs(positions, count, seed)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "made", help="the folder of models and pairs")
    folder = parser.parse_args().out
    prepare(folder)
    print(f"models and pairs  {folder}")


if __name__ == "__main__":
    main()
