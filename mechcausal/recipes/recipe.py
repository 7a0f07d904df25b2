"""What the recipes of trained organisms share: a small GPT-2, its lesson, its exam and its statement.

A recipe trains an organism in four steps: `new_model`, `teach` on a `lesson`, `measure` on an `exam`, `truth`.
`main` runs all of them as a script.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechcausal.causal.alignment.interchange import interchange
from mechcausal.causal.hypothesis import EdgeKind, Hypothesis
from mechcausal.causal.training.train import Lesson, Trained, assess, train
from mechcausal.data.tasks import task
from mechcausal.data.tasks.definition import Task
from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import word_tokenizer
from mechcausal.recipes.compiling import Program, accuracy
from mechcausal.recipes.statement import statement, write, write_truth


@dataclass(frozen=True)
class Recipe:
    """An organism to be trained.

    Attributes:
        name: What it is called.
        task: Its task.
        vocabulary: Every word of the task.
        longest: How many tokens a text has, BOS included.
        places: The place at which each variable is trained to be.
        says: The task in one sentence.
        notes: Further notes for the card.
        environment: The environment whose mechanisms draw the prompts of training and exam.
        layers: The number of layers.
        steps: The number of training steps.
        batch: The number of prompts in each step.
        pool: The number of prompts they are drawn from; a quarter as many are held out.
        options: Other arguments of `train`.
        width: The width of the stream.
        heads: The number of heads in each layer.
        inner: The width of the MLPs; twice that of the stream unless said.
        edges: The edges that are direct: (parent, child) -> `"direct"`.
        spread: The standard deviation of the initial weights. Heads that match words learn faster from large weights.
    """

    name: str
    task: Task
    vocabulary: Sequence[str]
    longest: int
    places: Mapping[str, Any]
    says: str
    notes: str = ""
    environment: str | None = None
    layers: int = 3
    steps: int = 1000
    batch: int = 256
    pool: int = 8000
    options: Mapping[str, Any] = field(default_factory=dict)
    width: int = 48
    heads: int = 4
    inner: int | None = None
    edges: Mapping[tuple[str, str], EdgeKind] = field(default_factory=dict)
    spread: float = 0.02

    @property
    def hypothesis(self) -> Hypothesis:
        """The hypothesis that training makes true."""
        return Hypothesis(self.task.scm, self.places, outcome=self.task.outcome, edges=self.edges)

    def new_model(self, seed: int) -> Any:  # noqa: ANN401 - a TransformerBridge
        """Return the untrained model."""
        torch.manual_seed(seed)
        number = {word: i for i, word in enumerate(self.vocabulary)}
        config = GPT2Config(
            vocab_size=len(number), n_positions=self.longest, n_embd=self.width, n_layer=self.layers,
            n_head=self.heads, n_inner=self.inner or 2 * self.width, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            initializer_range=self.spread, bos_token_id=number["<bos>"], eos_token_id=number["<pad>"],
            pad_token_id=number["<pad>"],
        )  # fmt: skip
        tokenizer = word_tokenizer(self.vocabulary, longest=self.longest)
        return load(GPT2LMHeadModel(config), tokenizer=tokenizer, copy=False, check=False)

    def lesson(self, model: Any, *, n: int | None = None, seed: int = 0) -> Lesson:  # noqa: ANN401
        """Return training prompts, with the hypothesis they teach."""
        prompts = self.task.prompts(model, n or self.pool, seed=seed, environment=self.environment)
        return Lesson(self.hypothesis, prompts)

    def exam(self, model: Any, *, n: int | None = None, seed: int = 10_000) -> Lesson:  # noqa: ANN401
        """Return held-out prompts, drawn with another seed."""
        return self.lesson(model, n=n or self.pool // 4, seed=seed)

    def teach(self, model: Any, *, steps: int | None = None, seed: int = 0, **changed: Any) -> Trained:  # noqa: ANN401
        """Train the model in place. Options replace those of the recipe and go to `train`."""
        settings: dict[str, Any] = {"steps": steps or self.steps, "batch_size": self.batch, **self.options, **changed}
        return train(model, self.lesson(model, seed=seed), seed=seed, evaluation=self.exam(model), **settings)

    def measure(self, model: Any, *, n: int | None = None) -> dict[str, Any]:  # noqa: ANN401
        """Measure accuracy, interchange accuracy by variable, and strictness by node."""
        frame = assess(model, self.exam(model, n=n))

        def values(measure: str) -> dict[str, float]:
            rows = frame[frame["measure"] == measure]
            return dict(zip(rows["of"], rows["value"].round(4), strict=True))

        return {
            "accuracy": values("accuracy")[""],
            "iia_on_changed_answers": values("iia_changed"),
            "strict_min_single_node": min(values("strict").values()),
            "strict_all_at_once": values("strict_all")[""],
        }

    def truth(self, model: Any, measured: Mapping[str, Any], *, options: str) -> dict[str, Any]:  # noqa: ANN401
        """Return the statement that ships with the weights."""
        truth = statement(
            self.name, model, {self.task.name: self.hypothesis}, measured,
            recipe=f"python -m mechcausal.recipes.{self.name} {options}",
            task=self.says, notes=self.notes,
        )  # fmt: skip
        if self.edges:
            truth["edge_kinds"] = [[parent, child, kind] for (parent, child), kind in self.edges.items()]
        return truth


def measured(weights: Path, record: Mapping[str, Any], *, n: int = 2000) -> dict[str, Any]:
    """Measure a saved model: its accuracy on all texts, and its interchange accuracy by variable."""
    definition, model = task(record["tasks"][0]), load(weights)
    prompts = definition.prompts(model, n, environment="broad" if definition.free else None)
    frame = interchange(model, prompts, Hypothesis.stated(record), n=n, placebo=False).frame.dropna(subset="value")
    return {
        "accuracy": accuracy(weights, definition),
        "iia_on_changed_answers": dict(zip(frame["variables"], frame["value"].round(4), strict=True)),
    }


def write_down(program: Program, record: Mapping[str, Any]) -> None:
    """Write the weights, configuration, tokenizer and truth of a compiled program; this is the script of such a recipe."""
    parser = argparse.ArgumentParser(description=f"Make organism:{record['name']} again.")
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    program.save(out / "weights")
    write_truth({**record, "measured": measured(out / "weights", record)}, out / "truth.json")


def main(recipe: Recipe, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> None:
    """Train, measure, write.

    Args:
        recipe: The recipe that is run.
        change: A function that changes the statement before it is written.
    """
    parser = argparse.ArgumentParser(description=f"Make organism:{recipe.name} again.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=recipe.steps)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = recipe.new_model(asked.seed)
    print(recipe.teach(model, steps=asked.steps, seed=asked.seed))
    record = recipe.truth(model, recipe.measure(model), options=f"--seed {asked.seed} --steps {asked.steps}")
    write(asked.out, model, change(record))
