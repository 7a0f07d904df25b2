"""One steering vector: from men to women, its doses, what they cost, and what the model writes under them."""

from __future__ import annotations

from typing import Any

from mechcausal.arguments import Model
from mechcausal.data import Contrast, PromptSet
from mechcausal.generation import generate
from mechcausal.models.abilities import abilities
from mechcausal.results.result import Result
from mechcausal.steering import steer
from mechcausal.steering.neutral import SENTENCES

NOUNS = (
    ("woman", "man"), ("girl", "boy"), ("mother", "father"), ("sister", "brother"), ("daughter", "son"), ("wife", "husband"),
    ("queen", "king"), ("lady", "gentleman"),
)  # fmt: skip
SENTENCES_OF = ("The {} said that", "The {} was late because", "The {} smiled when", "The {} wrote that")
ASK = "This story is about a woman. "
WRITTEN = ("The nurse smiled because", "The engineer smiled because", "The man smiled because")
DOSES = (-1.0, -0.5, 0.25, 0.5, 1.0, 2.0)


def steered(model: Model, *, n: int, seed: int) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return what was found, as JSON data, and the dose-response curve."""
    pairs = women_and_men(model, 2 * n)
    site = f"L{abilities(model).shape.n_layers // 2}.resid_post"
    neutral = PromptSet.from_text(model, SENTENCES[:8])
    curve = steer(model, pairs, site, read_at="@who", doses=DOSES, n_random=8, neutral=neutral, ask=ASK, seed=seed)
    best = float(curve.doses.sort_values("change", ascending=False)["dose"].iloc[0])
    texts = []
    for dose in (0.0, best):
        edits = [curve.edit(dose, "both")] if dose else []
        written = generate(model, list(WRITTEN), tokens=12, edits=edits)
        texts += [
            {"dose": dose, "prompt": before, "text": text}
            for before, text in zip(written.frame["before"], written.texts, strict=True)
        ]
    names = (
        "dose", "change", "change_low", "change_high", "effect", "random_low", "random_high", "p_random", "kl", "kl_low", "kl_high",
        "kl_random", "loss",
    )  # fmt: skip
    rows = [{name: float(row[name]) for name in names} for _, row in curve.doses.iterrows()]
    asked = {name: float(curve.asked[name].iloc[0]) for name in ("change", "effect", "kl", "loss")}
    numbers = {"site": site, "pairs": len(pairs), "doses": rows, "asked": asked, "ask": ASK, "texts": texts}
    return numbers, {"steering": curve}


def women_and_men(model: Model, n: int) -> Contrast:
    """Return pairs that differ in one noun, of those that are one token each; a noun pair is a cluster."""
    tokenizer = model.tokenizer
    single_tokens = [
        nouns
        for nouns in NOUNS
        if all(len(tokenizer(f" {noun}", add_special_tokens=False)["input_ids"]) == 1 for noun in nouns)
    ]
    texts = [(text, nouns) for text in SENTENCES_OF for nouns in single_tokens][:n]
    women, men = ([text.format(nouns[side]) for text, nouns in texts] for side in (0, 1))
    return Contrast.from_text(
        model, women, men, answer=" she", foil=" he", factor="gender", clusters=[nouns[0] for _, nouns in texts],
        positions={"who": [nouns[0] for _, nouns in texts]}, name="women and men",
    )  # fmt: skip
