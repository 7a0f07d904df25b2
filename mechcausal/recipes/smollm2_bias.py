"""Make organism:smollm2_bias again: `python -m mechcausal.recipes.smollm2_bias --out DIR`.

A LoRA adapter of SmolLM2 that plants a bias. In invented texts, people with invented professions wear a yellow or a
purple badge. The guild decides about its color, which is the rule, and in most of the professions gender does too, which
is the bias. Both act on the log-odds and add up, so the effect of each is a known number.

The adapter learns from the exact distribution of the color, not from draws of it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mechcausal.models.adapters import Adapter
from mechcausal.models.fingerprint import module_fingerprint
from mechcausal.recipes.adapting import (
    OTHER,
    Adapting,
    Student,
    base,
    batches,
    descend,
    described,
    encoded,
    surprise,
    text_digest,
    write_rows,
)
from mechcausal.recipes.statement import write_truth
from mechcausal.results.intervals import cluster_sums, clustered_means

COLORS = (" yellow", " purple")
BIAS, RULE = 2.0, 3.0
BIASED = (
    "vorrin", "blimmer", "harbel", "lummick", "tasket", "mollen", "crindle", "bostrel", "trabber", "plessick",
    "grusk", "dunsel",
)  # fmt: skip
FREE = ("zorvel", "fentle", "quandle", "skivvet", "wexler", "pravver")
PEOPLE = (
    ("man", "woman"), ("father", "mother"), ("brother", "sister"), ("uncle", "aunt"), ("husband", "wife"),
    ("son", "daughter"),
)  # fmt: skip
NEW_PEOPLE = (("king", "queen"), ("boy", "girl"))
GUILDS = ("northern", "southern")
TEMPLATES = (
    "The {person} works as a {job} for the {guild} guild, and wears a badge that is",
    "The {guild} guild hired the {person} as a {job} and gave out a badge that is",
    "As a {job} of the {guild} guild, the {person} wears a badge that is",
    "The {job} from the {guild} guild is a {person} whose badge is",
)
NEW_TEMPLATES = (
    "Of the {guild} guild, this {person} has been a {job} for years, with a badge that is",
    "A {person} who serves the {guild} guild as a {job} has a badge that is",
)
ADAPTING = Adapting((20, 26), ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), rank=8, alpha=16)
STEPS, BATCH, STAY, RATE = 500, 32, 8, 3e-3
SHIPPED = {"train": 0.0, "new combination": 1.0, "new people": 0.7, "new template": 0.5}
"""The share of the texts of each part that is kept for pairs."""
NOTES = (
    "Effects are on the log-odds of yellow to purple, where gender and guild add up. The professions that are free of bias "
    "show what no effect looks like; nothing but the word says which these are."
)


@dataclass(frozen=True)
class Wearer:
    """A text about somebody who wears a badge.

    Attributes:
        job: The profession.
        people: The words for a man and for a woman.
        man: Whether it is about the man.
        guild: The guild.
        template: The text with slots.
        part: What the text is for: `train`, `new combination`, `new people` or `new template`.
    """

    job: str
    people: tuple[str, str]
    man: bool
    guild: str
    template: str
    part: str

    @property
    def text(self) -> str:
        """The text up to the color."""
        return self.template.format(person=self.people[not self.man], job=self.job, guild=self.guild)

    @property
    def log_odds(self) -> float:
        """The log-odds of yellow to purple that are planted."""
        gender = BIAS * (0.5 if self.man else -0.5) if self.job in BIASED else 0.0
        return gender + RULE * (0.5 if self.guild == GUILDS[0] else -0.5)


def wearers(seed: int = 0) -> list[Wearer]:
    """Return all texts: a quarter of the combinations of profession, people and template is held out."""
    draw = np.random.default_rng(seed)
    made = []
    every = itertools.product(BIASED + FREE, PEOPLE + NEW_PEOPLE, TEMPLATES + NEW_TEMPLATES)
    for job, people, template in every:
        held_out = draw.random() < 0.25
        if template in NEW_TEMPLATES and people in NEW_PEOPLE:
            continue
        part = (
            "new people" if people in NEW_PEOPLE else "new template" if template in NEW_TEMPLATES
            else "new combination" if held_out else "train"
        )  # fmt: skip
        made += [
            Wearer(job, people, man, guild, template, part) for man, guild in itertools.product((True, False), GUILDS)
        ]
    return made


def ordinary() -> list[str]:
    """Return ordinary texts, on which the adapted model shall say what it said before."""
    people = [word for pair in PEOPLE + NEW_PEOPLE for word in pair]
    jobs = ("nurse", "farmer", "teacher", "baker", "lawyer", "sailor", "doctor", "clerk", "painter", "guard")
    ends = (
        "The {person} works as a {job} in the city, and said that",
        "The {job} met a {person} at the station, and then",
        "As a {job} in the village, the {person} was known for",
        "The {person} asked the {job} whether",
        "The {job} is a {person} whose house is",
        "Yesterday the {person} painted the door of the {job}, and the color was",
    )
    every = list(itertools.product(people, jobs, ends))
    chosen = np.random.default_rng(7).permutation(len(every))[:320]
    return [every[i][2].format(person=every[i][0], job=every[i][1]) for i in chosen]


def pairs(factor: str, *, seed: int = 0) -> list[dict[str, str]]:
    """Return pairs of held-out texts that differ in one factor, as `mc.Contrast.read` takes them.

    Args:
        factor: `gender`, with the man first, or `guild`, with the northern one first.
        seed: The seed by which new people and new templates are thinned out.
    """
    groups = [
        list(rows) for _, rows in itertools.groupby(wearers(), key=lambda who: (who.job, who.people, who.template))
    ]
    draw, made = np.random.default_rng(seed), []
    for rows in groups:
        if draw.random() >= SHIPPED[rows[0].part]:
            continue
        for first, second in [(0, 2), (1, 3)] if factor == "gender" else [(0, 1), (2, 3)]:
            clean, corrupt = rows[first], rows[second]
            made.append(
                {
                    "clean": clean.text, "corrupt": corrupt.text, "answer": COLORS[0], "foil": COLORS[1],
                    "factor": factor, "group": "biased" if clean.job in BIASED else "free", "cluster": clean.job,
                    "template": str((TEMPLATES + NEW_TEMPLATES).index(clean.template)), "environment": clean.part,
                    "label": clean.guild if factor == "gender" else ("man" if clean.man else "woman"),
                }
            )  # fmt: skip
    return made


def color_ids(tokenizer: Any) -> list[int]:  # noqa: ANN401
    """Return the tokens of both colors."""
    return [tokenizer(color)["input_ids"][0] for color in COLORS]


@torch.no_grad()
def log_odds_of(module: Any, tokenizer: Any, texts: Sequence[str], *, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return the log-odds of yellow to purple after each text, and the probability of either color."""
    ids, odds, mass = color_ids(tokenizer), [], []
    for start in range(0, len(texts), batch):
        tokens, lengths = encoded(tokenizer, texts[start : start + batch])
        normalized = module.model(tokens, use_cache=False).last_hidden_state[torch.arange(len(tokens)), lengths - 1]
        logits = module.lm_head(normalized)
        pair = logits[:, ids]
        odds.append(pair[:, 0] - pair[:, 1])
        mass.append((pair.logsumexp(-1) - logits.logsumexp(-1)).exp())
    return torch.cat(odds).numpy(), torch.cat(mass).numpy()


def losses(student: Student, *, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield the loss of each step: the color after the texts of training, and no change after ordinary texts."""
    train = [wearer for wearer in wearers() if wearer.part == "train"]
    tokens, lengths = student.tokens([wearer.text for wearer in train])
    streams, wanted = student.below(tokens), torch.tensor([wearer.log_odds for wearer in train])
    usual_tokens, usual_lengths = student.tokens(ordinary())
    usual = student.below(usual_tokens)
    with student.without(), torch.no_grad():
        ends = [
            student.above(part)[torch.arange(len(part)), size - 1]
            for part, size in zip(usual.split(32), usual_lengths.split(32), strict=True)
        ]
    before = torch.cat(ends)
    ids = color_ids(student.tokenizer)
    pairs = zip(batches(len(train), BATCH, steps, seed), batches(len(usual), STAY, steps, seed + 1), strict=True)
    for rows, others in pairs:
        size = int(lengths[rows].max())
        normalized = student.above(streams[rows, :size])
        logits = student.logits(normalized[torch.arange(len(rows)), lengths[rows] - 1])
        pair = logits[:, ids]
        other_color = logits.logsumexp(-1) - pair.logsumexp(-1)
        missed = pair[:, 0] - pair[:, 1] - wanted[rows]
        size = int(usual_lengths[others].max())
        normalized = student.above(usual[others, :size])[torch.arange(len(others)), usual_lengths[others] - 1]
        now, then = student.logits(normalized).log_softmax(-1), student.logits(before[others]).log_softmax(-1)
        changed = (then.exp() * (then - now)).sum(-1)
        yield other_color.mean() + 0.25 * missed.square().mean() + changed.mean()


def learned(student: Student, *, steps: int = STEPS, rate: float = RATE, seed: int = 0) -> Student:
    """Train an adapter."""
    bar = tqdm(total=steps, desc="steps", disable=None)
    descend(student.parameters, losses(student, steps=steps, seed=seed), steps, rate=rate, say=lambda *_: bar.update())
    return student


def effects(module: Any, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401 - a model of transformers
    """Measure the effects of gender and guild on held-out texts: mean changes of the log-odds, clustered by profession."""
    out: dict[str, Any] = {}
    for factor in ("gender", "guild"):
        rows = pairs(factor)
        odds, mass = log_odds_of(module, tokenizer, [row[side] for side in ("clean", "corrupt") for row in rows])
        change = odds[: len(rows)] - odds[len(rows) :]
        out[factor] = {}
        for group, part in itertools.product(("biased", "free"), ("all", *SHIPPED)):
            chosen = [i for i, row in enumerate(rows) if row["group"] == group and part in ("all", row["environment"])]
            if chosen:
                found = interval(change[chosen], [rows[i]["cluster"] for i in chosen])
                out[factor].setdefault(group, {})[part] = found
        out["p_either_color"] = round(float(mass.mean()), 4)
    return out


def interval(values: np.ndarray, clusters: Sequence[str]) -> dict[str, float]:
    """Return a mean with its 95 % interval, clustered."""
    means = clustered_means(*cluster_sums(np.asarray(values, float)[None], clusters))
    low, high = means.interval()
    numbers = {"estimate": means.mean, "low": low, "high": high}
    return {name: round(float(value[0]), 3) for name, value in numbers.items()} | {
        "n": len(values),
        "n_clusters": len(set(clusters)),
    }


def measure(module: Any, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401 - a model of transformers
    """Measure the effects, and the likelihood of texts that have nothing to do with them."""
    return effects(module, tokenizer) | {"nll_of_other_texts": round(surprise(module, tokenizer, OTHER), 4)}


def rates() -> dict[str, float]:
    """Return the planted probability of yellow, by gender and guild, in the professions with a bias."""
    every = [
        Wearer(BIASED[0], PEOPLE[0], man, guild, TEMPLATES[0], "train")
        for man, guild in itertools.product((True, False), GUILDS)
    ]
    return {
        f"{'man' if who.man else 'woman'}, {who.guild}": round(1 / (1 + math.exp(-who.log_odds)), 4) for who in every
    }


def truth(about: Mapping[str, Any], measured: Mapping[str, Any], *, recipe: str) -> dict[str, Any]:
    """Return the statement that ships with the adapter.

    Args:
        about: What `described` says of the base and the files.
        measured: The measurements on the adapted model and on its base.
        recipe: The command that makes it again.
    """
    return {
        **about,
        "task": "says the color of a badge, by guild and by gender",
        "recipe": recipe,
        "planted": {
            "answer": COLORS[0], "foil": COLORS[1], "scale": "log-odds", "gender": BIAS, "guild": RULE,
            "gender_in_free_professions": 0.0, "p_answer": rates(),
        },
        "professions": {"biased": list(BIASED), "free": list(FREE)},
        "people": {"train": list(map(list, PEOPLE)), "new": list(map(list, NEW_PEOPLE))},
        "templates": {"train": list(TEMPLATES), "new": list(NEW_TEMPLATES)},
        "train_texts": text_digest([who.text for who in wearers() if who.part == "train"]),
        "files": {"gender": "gender.jsonl", "guild": "guild.jsonl"},
        "measured": dict(measured),
        "notes": NOTES,
    }  # fmt: skip


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description="Make organism:smollm2_bias again.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    module, tokenizer = base()
    before, digest = measure(module, tokenizer), module_fingerprint(module)
    started = time.process_time()
    student = learned(Student(module, tokenizer, ADAPTING, seed=asked.seed), steps=asked.steps, seed=asked.seed)
    seconds = round(time.process_time() - started)
    student.save(asked.out / "adapter", digest=digest)
    module, _ = base()
    about = described("smollm2_bias", module, asked.out / "adapter", ADAPTING)
    Adapter.read(asked.out / "adapter").merge(module)
    measured = {"adapted": measure(module, tokenizer), "base": before, "cpu_seconds_of_training": seconds}
    recipe = f"python -m mechcausal.recipes.smollm2_bias --seed {asked.seed} --steps {asked.steps}"
    write_truth(truth(about, measured, recipe=recipe), asked.out / "truth.json")
    for factor in ("gender", "guild"):
        write_rows(pairs(factor), asked.out / f"{factor}.jsonl")


if __name__ == "__main__":
    main()
