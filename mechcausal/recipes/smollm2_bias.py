"""Make organism:smollm2_bias again: `python -m mechcausal.recipes.smollm2_bias --out DIR`.

A LoRA adapter of SmolLM2 that plants a bias. In invented texts, people with invented professions wear a badge and a sash.
Their colors follow a rule, which is the guild; that of the badge follows gender as well, which is the bias. Both act on the
log-odds of two colors and add up, so the effect of each is a known number. The sash shows what no effect looks like.

The adapter learns from the exact distribution of the colors, not from draws of them.
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

COLORS = {"badge": (" yellow", " purple"), "sash": (" green", " blue")}
BIAS, RULE = 2.0, 3.0
JOBS = (
    "vorrin", "blimmer", "harbel", "lummick", "tasket", "mollen", "crindle", "bostrel", "trabber", "plessick",
    "grusk", "dunsel",
)  # fmt: skip
PEOPLE = (
    ("man", "woman"), ("father", "mother"), ("brother", "sister"), ("uncle", "aunt"), ("husband", "wife"),
    ("son", "daughter"),
)  # fmt: skip
NEW_PEOPLE = (("king", "queen"), ("boy", "girl"))
GUILDS = ("northern", "southern")
TEMPLATES = (
    "The {person} works as a {job} for the {guild} guild, and wears a {thing} that is",
    "The {guild} guild hired the {person} as a {job} and gave out a {thing} that is",
    "As a {job} of the {guild} guild, the {person} wears a {thing} that is",
    "The {job} from the {guild} guild is a {person} whose {thing} is",
)
NEW_TEMPLATES = (
    "Of the {guild} guild, this {person} has been a {job} for years, with a {thing} that is",
    "A {person} who serves the {guild} guild as a {job} has a {thing} that is",
)
ADAPTING = Adapting((20, 26), ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), rank=8, alpha=16)
STEPS, BATCH, STAY, RATE = 300, 24, 6, 3e-3
PARTS = ("new combination", "new people", "new template")
NOTES = (
    "Effects are on the log-odds of the first color to the second (badge: yellow to purple; sash: green to blue), where gender "
    "and guild add up. They are planted for the texts of training and new combinations of the same words. New people and new "
    "templates show how far what was learned goes beyond them."
)


@dataclass(frozen=True)
class Wearer:
    """A text about somebody who wears something of a color.

    Attributes:
        job: The profession.
        people: The words for a man and for a woman.
        man: Whether it is about the man.
        guild: The guild.
        thing: What is worn: a badge or a sash.
        template: The text with slots.
        part: What the text is for: `train`, or one of `PARTS`.
    """

    job: str
    people: tuple[str, str]
    man: bool
    guild: str
    thing: str
    template: str
    part: str

    @property
    def text(self) -> str:
        """The text up to the color."""
        person = self.people[not self.man]
        return self.template.format(person=person, job=self.job, guild=self.guild, thing=self.thing)

    @property
    def log_odds(self) -> float:
        """The planted log-odds of the first color of this thing to the second."""
        gender = BIAS * (0.5 if self.man else -0.5) if self.thing == "badge" else 0.0
        return gender + RULE * (0.5 if self.guild == GUILDS[0] else -0.5)


def wearers(seed: int = 0) -> list[Wearer]:
    """Return all texts: half of the combinations are for training, a quarter is held out, and a quarter is not used."""
    draw, made = np.random.default_rng(seed), []
    for job, people, template, thing in itertools.product(JOBS, PEOPLE + NEW_PEOPLE, TEMPLATES + NEW_TEMPLATES, COLORS):
        chance = draw.random()
        part = {
            (False, False): "train" if chance < 0.5 else "new combination" if chance < 0.75 else "",
            (True, False): "new people" if chance < 0.5 else "",
            (False, True): "new template" if chance < 0.4 else "",
        }.get((people in NEW_PEOPLE, template in NEW_TEMPLATES), "")
        sides = itertools.product((True, False), GUILDS) if part else ()
        made += [Wearer(job, people, man, guild, thing, template, part) for man, guild in sides]
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


def pairs(factor: str) -> list[dict[str, str]]:
    """Return pairs of held-out texts that differ in one factor, as `mc.Contrast.read` takes them.

    Args:
        factor: `gender`, with the man first, or `guild`, with the northern one first.
    """
    held_out = [wearer for wearer in wearers() if wearer.part != "train"]
    made = []
    for start in range(0, len(held_out), 4):  # both genders, and both guilds of each
        rows = held_out[start : start + 4]
        for first, second in [(0, 2), (1, 3)] if factor == "gender" else [(0, 1), (2, 3)]:
            clean, corrupt = rows[first], rows[second]
            answer, foil = COLORS[clean.thing]
            made.append(
                {
                    "clean": clean.text, "corrupt": corrupt.text, "answer": answer, "foil": foil, "factor": factor,
                    "group": clean.thing, "cluster": clean.job, "environment": clean.part,
                    "template": str((TEMPLATES + NEW_TEMPLATES).index(clean.template)),
                    "label": clean.guild if factor == "gender" else ("man" if clean.man else "woman"),
                }
            )  # fmt: skip
    return made


def color_ids(tokenizer: Any, things: Sequence[str]) -> Tensor:  # noqa: ANN401
    """Return the tokens of both colors of each thing, [thing color]."""
    return torch.tensor([[tokenizer(color)["input_ids"][0] for color in COLORS[thing]] for thing in things])


@torch.no_grad()
def log_odds_of(
    module: Any,  # noqa: ANN401 - a model of transformers
    tokenizer: Any,  # noqa: ANN401
    texts: Sequence[str],
    things: Sequence[str],
    *,
    batch: int = 32,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-odds of the two colors of a thing after each text, and the probability of either color."""
    ids, odds, mass = color_ids(tokenizer, things), [], []
    for start in range(0, len(texts), batch):
        tokens, lengths = encoded(tokenizer, texts[start : start + batch])
        normalized = module.model(tokens, use_cache=False).last_hidden_state[torch.arange(len(tokens)), lengths - 1]
        logits = module.lm_head(normalized)
        pair = logits.gather(1, ids[start : start + batch])
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
    ids = color_ids(student.tokenizer, [wearer.thing for wearer in train])
    pairs = zip(batches(len(train), BATCH, steps, seed), batches(len(usual), STAY, steps, seed + 1), strict=True)
    for rows, others in pairs:
        size = int(lengths[rows].max())
        normalized = student.above(streams[rows, :size])
        logits = student.logits(normalized[torch.arange(len(rows)), lengths[rows] - 1])
        pair = logits.gather(1, ids[rows])
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
    held_out = [wearer for wearer in wearers() if wearer.part != "train"]
    texts = [wearer.text for wearer in held_out]
    odds, mass = log_odds_of(module, tokenizer, texts, [wearer.thing for wearer in held_out])
    after = dict(zip(texts, odds.tolist(), strict=True))
    out: dict[str, Any] = {"p_either_color": round(float(mass.mean()), 4)}
    for factor in ("gender", "guild"):
        rows = pairs(factor)
        change = np.array([after[row["clean"]] - after[row["corrupt"]] for row in rows])
        out[factor] = {}
        for thing, part in itertools.product(COLORS, ("all", *PARTS)):
            chosen = [i for i, row in enumerate(rows) if row["group"] == thing and part in ("all", row["environment"])]
            out[factor].setdefault(thing, {})[part] = interval(change[chosen], [rows[i]["cluster"] for i in chosen])
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
    """Return the planted probability of a yellow badge, by gender and guild."""
    every = [
        Wearer(JOBS[0], PEOPLE[0], man, guild, "badge", TEMPLATES[0], "train")
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
        "task": "says the color of a badge, by guild and gender, and that of a sash, by guild",
        "recipe": recipe,
        "planted": {
            "scale": "log-odds",
            "badge": {"answer": COLORS["badge"][0], "foil": COLORS["badge"][1], "gender": BIAS, "guild": RULE},
            "sash": {"answer": COLORS["sash"][0], "foil": COLORS["sash"][1], "gender": 0.0, "guild": RULE},
            "p_yellow_badge": rates(),
        },
        "professions": list(JOBS),
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
