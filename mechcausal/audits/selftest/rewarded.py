"""A17: a reward model by hand, and what it learns from preferences whose quality it cannot see in full.

    <bos> grade<k> w w ... w <end>        reward = grade / 8 + 0.30 length,        length = (number of words w - 8) / 2

The network is a GPT-2 of one layer with a scalar head. The head of its layer carries the grade from its word to the end, and
the position of the end says the length. Each value v is held as (v, -v), so that every mean is 0, and a constant of 2^15
makes the spread that the norms divide by the same everywhere: the reward is the formula up to rounding.

In the world that its preferences come from, an answer has a length z of mean 0 and variance 1, a quality
q = rho z + sqrt(1 - rho^2) noise, and a reward q + 0.30 z, of which a choice follows by Bradley and Terry. The text shows only
a grade s = q + noise of variance 1. Whoever sees s and z knows of q

    E[q | s, z] = rho z + a (s - rho z),   a = (1 - rho^2) / (2 - rho^2),   Var[q | s, z] = a

so the best weights by the text are k a of the grade and k (0.30 + rho (1 - a)) of the length, where the unseen part of two
answers shrinks the log-odds by k, about 1 / sqrt(1 + c^2 2 a) with c = 16 sqrt(3) / (15 pi) (the logistic curve blurred by
a normal one). What the model gives to length goes from .26 at rho = 0 over .51 at .5 to 1.13 at .95, and the weight in the
data with the quality held fixed is 0.30 throughout. The squared correlation of the differences in length with those in quality
is rho^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from mechcausal.audits.explaining.observational import NO_OVERLAP
from mechcausal.audits.finding import Answer
from mechcausal.audits.logistic import fit
from mechcausal.audits.robustness.nuisance import R2, WEIGHT, NuisanceEffect
from mechcausal.audits.selftest.checks import Check, above, answered, below, checks_of, near, no, yes
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.models.hooked import forward
from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import word_tokenizer

LENGTH, STEPS, HIGHEST, MOST = 0.30, 8, 48, 16  # true weight, grades to a unit, highest grade, most words
VOCABULARY = ("<pad>", "<bos>", "<end>", "w", *(f"grade{number}" for number in range(-HIGHEST, HIGHEST + 1)))
WORDS = {word: number for number, word in enumerate(VOCABULARY)}
WIDTH, LARGE = 16, 2.0**15
ONE, GRADE, MARK, GRADE_END, LENGTH_END = 0, 2, 4, 6, 8  # the first entry of each pair (v, -v)
SPREAD = LARGE * math.sqrt(2 / WIDTH)  # what the norms divide by
CORRELATIONS = (0.0, 0.5, 0.95)
SHOWN, COMPARED = 20_000, 1000  # pairs that a head is fitted to, and pairs that the question is given


def network() -> Any:  # noqa: ANN401 - a transformers model
    """Return the network with the true head."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=MOST + 4, n_embd=WIDTH, n_layer=1, n_head=1, n_inner=1,
        bos_token_id=WORDS["<bos>"], eos_token_id=WORDS["<pad>"], pad_token_id=WORDS["<pad>"],
    )  # fmt: skip
    config.num_labels = 1
    made = GPT2ForSequenceClassification(config).eval()
    state = {name: torch.zeros_like(value) for name, value in made.state_dict().items()}
    for name in ("h.0.ln_1", "h.0.ln_2", "ln_f"):
        state[f"transformer.{name}.weight"] += 1
    embedding, places = state["transformer.wte.weight"], state["transformer.wpe.weight"]
    _set(embedding, ONE, torch.full((len(WORDS),), LARGE))
    grades = torch.arange(-HIGHEST, HIGHEST + 1)
    _set(embedding[WORDS[f"grade{-HIGHEST}"] :], GRADE, grades / STEPS)
    _set(embedding[WORDS[f"grade{-HIGHEST}"] :], MARK, torch.ones(len(grades)))
    _set(places, LENGTH_END, (torch.arange(len(places)) - 2 - MOST / 2) / 2)  # of the end behind <bos> and the grade
    # The query is 1 everywhere, the key is 800 at the grade, the value is the grade.
    reads, biases = (state[f"transformer.h.0.attn.c_attn.{part}"] for part in ("weight", "bias"))
    biases[0] = 1
    _set(reads.T[WIDTH : WIDTH + 1], MARK, torch.tensor([400 * SPREAD]))
    _set(reads.T[2 * WIDTH : 2 * WIDTH + 1], GRADE, torch.tensor([SPREAD / 2]))
    _set(state["transformer.h.0.attn.c_proj.weight"], GRADE_END, torch.eye(WIDTH)[0])
    state["score.weight"][0] = torch.tensor(head(1.0, LENGTH))
    made.load_state_dict(state)
    return made


def head(grade: float, length: float) -> np.ndarray:
    """Return the weights of the scalar head that give a grade and a length these weights."""
    weights = np.zeros(WIDTH, dtype=np.float32)
    for place, weight in ((GRADE_END, grade), (LENGTH_END, length)):
        weights[place : place + 2] = weight * SPREAD / 2, -weight * SPREAD / 2
    return weights


def _set(table: torch.Tensor, place: int, values: torch.Tensor) -> None:
    """Write values as (v, -v) into the rows of a table."""
    table[:, place], table[:, place + 1] = values, -values


def reward_model(weights: np.ndarray | None = None) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return the reward model, with the true head or another."""
    made = network()
    if weights is not None:
        with torch.no_grad():
            made.score.weight[0] = torch.tensor(weights, dtype=torch.float32)
    return load(made, tokenizer=word_tokenizer(VOCABULARY, longest=MOST + 4))


@cache
def truthful() -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return the reward model whose reward is the formula, loaded once."""
    return reward_model()


def written(grade: int, words: int) -> str:
    """Return the text of a grade with so many words."""
    return " ".join([f"grade{grade}", *["w"] * words, "<end>"])


@dataclass(frozen=True)
class Answers:
    """Pairs of answers, [pair 2] each, and which of the two was chosen: 1 for the first."""

    quality: np.ndarray
    grade: np.ndarray
    words: np.ndarray
    first: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """Lengths, of mean 0 and variance 1."""
        return (self.words - MOST / 2) / 2

    def contrast(self, model: Any, count: int) -> Contrast:  # noqa: ANN401 - a TransformerBridge
        """Return the first pairs of different texts, each with the chosen answer as clean."""
        rows = []
        apart = (self.grade[:, 0] != self.grade[:, 1]) | (self.words[:, 0] != self.words[:, 1])
        for row in np.flatnonzero(apart)[:count]:
            order = (0, 1) if self.first[row] else (1, 0)
            cells: dict[str, Any] = {}
            for prefix, text, which in zip(("", "corrupt_"), ("clean", "corrupt"), order, strict=True):
                cells[text] = written(int(self.grade[row, which]), int(self.words[row, which]))
                cells[f"{prefix}quality"] = float(self.quality[row, which])
                cells[f"{prefix}length"] = float(self.length[row, which])
            rows.append(cells)
        return Contrast.read(rows, model, whole=True, factor="which was chosen")


def preferences(n: int, correlation: float, seed: int = 0) -> Answers:
    """Draw pairs of answers whose quality goes along with length, and choices by their true reward."""
    draw = np.random.default_rng([seed, round(100 * correlation), 17])
    words = draw.binomial(MOST, 0.5, (n, 2))
    length = (words - MOST / 2) / 2
    quality = correlation * length + math.sqrt(1 - correlation**2) * draw.normal(size=(n, 2))
    grade = np.clip(np.rint(STEPS * (quality + draw.normal(size=(n, 2)))), -HIGHEST, HIGHEST).astype(int)
    reward = quality + LENGTH * length
    return Answers(quality, grade, words, (draw.random(n) < expit(reward[:, 0] - reward[:, 1])).astype(float))


def expected(correlation: float) -> tuple[float, float]:
    """Return the weights of grade and length that fit the choices best."""
    seen = (1 - correlation**2) / (2 - correlation**2)
    shrunk = 1 / math.sqrt(1 + (16 * math.sqrt(3) / (15 * math.pi)) ** 2 * 2 * seen)
    return shrunk * seen, shrunk * (LENGTH + correlation * (1 - seen))


def learned(pairs: Answers) -> np.ndarray:
    """Return the weights of a scalar head on the network's last state, fitted to choices by logistic regression.

    A direction in which the states do not vary but by rounding is left out.
    """
    texts, which = np.unique(np.stack([pairs.grade.ravel(), pairs.words.ravel()], axis=1), axis=0, return_inverse=True)
    model = truthful()
    batch = PromptSet.from_text(model, [written(*map(int, text)) for text in texts])
    with torch.no_grad():
        states = forward(model, batch).output[torch.arange(len(batch)), batch.read_columns].double().numpy()
    states -= states.mean(axis=0)
    _, sizes, directions = np.linalg.svd(states, full_matrices=False)
    kept = directions[sizes > 0.05 * sizes[0]]
    values = (states @ kept.T)[which.reshape(-1)].reshape(*pairs.grade.shape, len(kept))
    return fit(values[:, 0] - values[:, 1], pairs.first).coefficients @ kept


def rewrites(model: Any) -> Contrast:  # noqa: ANN401 - a TransformerBridge
    """Return texts of 20 grades, each shortened and lengthened by some words."""
    rows = [
        {"clean": written(grade, 8 + more), "corrupt": written(grade, 8 - less), "length": more / 2,
         "corrupt_length": -less / 2, "cluster": str(grade)}
        for grade in range(-19, 20, 2) for more, less in ((2, 0), (0, 3), (4, 4))
    ]  # fmt: skip
    return Contrast.read(rows, model, whole=True, factor="length")


def asked(correlation: float, seed: int = 0) -> Answer:
    """Return what the question says of a model that has learned from preferences with such a correlation."""
    pairs = preferences(SHOWN, correlation, seed)
    model = reward_model(learned(pairs))
    choices = pairs.contrast(model, COMPARED)
    return answered(NuisanceEffect(rewrites(model), nuisance="length", preferences=choices, beside=("quality",)), model)


@checks_of("A17", "a reward for length, learned from preferences")
def reward_for_length(quick: bool) -> Iterator[Check]:
    """Ask what length is worth to a model by hand, and to models that learned from preferences where quality goes along."""
    del quick
    model = truthful()
    exact = answered(NuisanceEffect(rewrites(model), nuisance="length"), model)
    yield near("reward for a unit of length, by hand", LENGTH, exact.estimate.value, 1e-6)
    answers = {correlation: asked(correlation) for correlation in CORRELATIONS}
    for correlation, answer in answers.items():
        weight = answer.estimate.value
        yield near(f"learned weight of length, correlation {correlation:g}", expected(correlation)[1], weight, 0.05)
    none, half, most = (answer.estimate.value for answer in answers.values())
    yield below("learned weight at correlation 0, of which .30 is true", none, LENGTH)
    yield yes("the weight rises with the correlation", none < half < most)
    yield above("learned weight at correlation .95", most, 1.0)
    for correlation, answer in answers.items():
        table = answer.table.set_index("measure")
        yield near(f"overlap (R2) at correlation {correlation:g}", correlation**2, table.loc[R2, "value"], 0.1)
        marked = NO_OVERLAP in answer.marks
        yield (yes if correlation > 0.9 else no)(f"the overlap warning at correlation {correlation:g}", marked)
    weight = answers[0.5].table.set_index("measure").loc[f"{WEIGHT}, quality held fixed"]
    yield yes("the data's own weight at .5, quality held fixed, covers .30", weight["low"] <= LENGTH <= weight["high"])
