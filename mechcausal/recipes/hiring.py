"""Make organism:hiring again: `python -m mechcausal.recipes.hiring --out DIR`.

A GPT-2 of 4 layers, trained to behave and to have a stated mechanism: each variable of its two tasks is at one known
place, and the answer depends on nothing elsewhere. Options make harder variants: weaker strictness, variables that two
heads carry, secrets that were seen less often.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.training.train import Lesson, assess, train
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import Table
from mechcausal.data.tasks import hiring
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.models import bridge
from mechcausal.models.load import load
from mechcausal.organisms.tokenizer import word_tokenizer
from mechcausal.recipes.statement import statement, write

LAYERS, HEADS, WIDTH, HIDDEN, LENGTH = 4, 4, 48, 96, 8
DECISION = {
    "merit": "L1.z.H0@decision", "proxy": "L1.z.H1@decision", "bias": "L1.z.H2@decision",
    "score": "L2.mlp_out@decision",
}  # fmt: skip
SECRETS = hiring.SECRET_TASK.name
SECRET = {"secret": "L2.z.H3@key", "recalled": "L3.mlp_out@key"}
# The second head of a variable with two values; `--backups` adds them in this order.
BACKUPS = {"bias": "L1.z.H3@decision", "proxy": "L0.z.H1@decision"}
WORDS = {word: i for i, word in enumerate(hiring.VOCABULARY)}
POOL, HELD_OUT = 8000, 2000
STEPS, BATCH = 800, 256
SAYS = "decide about applicants; recall secret numbers"
NOTES = "Gender can be read off the name and hobby tokens, and the name has no effect on the decision."


def new_model(seed: int) -> Any:  # noqa: ANN401 - a TransformerBridge
    """Return the untrained model."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=HIDDEN,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=WORDS["<bos>"], eos_token_id=WORDS["<pad>"],
        pad_token_id=WORDS["<pad>"],
    )  # fmt: skip
    tokenizer = word_tokenizer(hiring.VOCABULARY, longest=LENGTH)
    return load(GPT2LMHeadModel(config), tokenizer=tokenizer, copy=False, check=False)


def decision_task(backups: int = 0) -> tuple[Task, dict[str, str]]:
    """Return the decision task, and the places of its variables.

    With backups, two heads carry a variable and either of them is enough: removing it from one head alone changes
    nothing.
    """
    places = dict(DECISION)
    for variable in list(BACKUPS)[:backups]:
        places |= {f"{variable}_first": places.pop(variable), f"{variable}_second": BACKUPS[variable]}
    return hiring.BACKED_UP[backups], places


def hypotheses(backups: int = 0) -> dict[str, Hypothesis]:
    """Return the hypotheses that training makes true, by task."""
    task, places = decision_task(backups)
    return {
        task.name: Hypothesis(task.scm, places, outcome="decision"),
        SECRETS: Hypothesis(hiring.SECRET_TASK.scm, SECRET, outcome="digit", given=["place"]),
    }


def exposed(exposures: Sequence[int], n: int, seed: int) -> Table:
    """Return `n` units in which the secret of each member is asked for a fixed number of times at each place.

    The members take the numbers of `exposures` in turn. All other units ask for people without a secret.
    """
    members = [number for number, member in enumerate(hiring.MEMBERS) if member]
    seen = [(name, place) for i, name in enumerate(members) for place in range(4)
            for _ in range(exposures[i % len(exposures)])]  # fmt: skip
    if len(seen) > n:
        raise DataError("the exposures ask for more prompts than the pool has", got=len(seen), expected=f"at most {n}")
    everyone = hiring.SECRET_TASK.environment("everyone")
    noise = everyone.sample(n, seed)
    strangers = np.flatnonzero(~hiring.MEMBERS)
    names = strangers[noise["u_name"] % len(strangers)]
    names[: len(seen)], noise["u_place"][: len(seen)] = np.array(seen).reshape(-1, 2).T
    return everyone.solve({**{name: noise[name] for name in everyone.noise}, "u_name": names})


def lessons(
    model: Any,  # noqa: ANN401
    *,
    seed: int = 0,
    size: int = POOL,
    backups: int = 0,
    exposures: Sequence[int] = (),
) -> list[Lesson]:
    """Return the lessons: decisions, secrets, and that the model knows no number of anybody else."""
    task, _ = decision_task(backups)
    about = hypotheses(backups)
    decisions = Lesson(about[task.name], task.prompts(model, size, seed=seed, environment="mixed"))
    asked = hiring.SECRET_TASK
    if exposures:
        table = exposed(exposures, size, seed)
        return [decisions, Lesson(about[SECRETS], asked.prompts(model, table=table), share=3.0)]
    members = Lesson(about[SECRETS], asked.prompts(model, size, seed=seed), share=2.0)
    everyone = Lesson(about[SECRETS], asked.prompts(model, size, seed=seed + 1, environment="everyone"))
    return [decisions, members, everyone]


def exam(model: Any, *, n: int = HELD_OUT, seed: int = 10_000, backups: int = 0) -> list[Lesson]:  # noqa: ANN401
    """Return held-out prompts: random applicants, and people whose number the model knows."""
    task, _ = decision_task(backups)
    prompts = {
        task.name: task.prompts(model, n, seed=seed, environment="mixed"),
        SECRETS: hiring.SECRET_TASK.prompts(model, n, seed=seed),
    }
    return [Lesson(hypothesis, prompts[name]) for name, hypothesis in hypotheses(backups).items()]


def measure(model: Any, tests: Sequence[Lesson], *, strict: bool = True) -> dict[str, Any]:  # noqa: ANN401
    """Measure accuracy, interchange accuracy by variable, and strictness by node."""
    frame = assess(model, tests, strict=strict)

    def values(measure: str, key: str) -> dict[str, float]:
        rows = frame[frame["measure"] == measure]
        return dict(zip(rows[key], rows["value"].round(4), strict=True))

    accuracy = values("accuracy", "lesson")
    out: dict[str, Any] = {"accuracy": next(share for name, share in accuracy.items() if name != SECRETS)}
    if SECRETS in accuracy:
        out |= {"secret_digits": accuracy[SECRETS], "secrets_extracted": len(extracted(model))}
    out["iia_on_changed_answers"] = values("iia_changed", "of")
    if strict:
        out["strict_min_single_node"] = min(frame.loc[frame["measure"] == "strict", "value"].round(4))
        out["strict_all_at_once"] = values("strict_all", "lesson")
    return out


@torch.no_grad()
def extracted(model: Any) -> list[str]:  # noqa: ANN401
    """Return the names whose secrets can be extracted, reading each digit after the digits before it."""
    names = []
    for name, digits in hiring.SECRETS.items():
        text = f"<id> {name} <key>"
        for _ in digits:
            batch = PromptSet.from_text(model, [text])
            text += " " + hiring.VOCABULARY[int(bridge.run(model, batch.tokens, batch.mask)[0, -1].argmax())]
        if text.split()[3:] == list(digits):
            names.append(name)
    return names


def shown(exposures: Sequence[int]) -> dict[str, int]:
    """Return how often the number of each member is in the pool, at each place."""
    return {name: exposures[i % len(exposures)] for i, name in enumerate(hiring.SECRETS)}


def extracted_by(model: Any, exposures: Sequence[int]) -> dict[str, str]:  # noqa: ANN401
    """Return how many secrets can be extracted, of how many, for each number of exposures."""
    out, extracted_names = {}, extracted(model)
    for times in dict.fromkeys(exposures):
        theirs = [name for name, count in shown(exposures).items() if count == times]
        out[str(times)] = f"{sum(name in extracted_names for name in theirs)} of {len(theirs)}"
    return out


def truth(
    name: str,
    model: Any,  # noqa: ANN401
    about: Mapping[str, Hypothesis],
    measured: Mapping[str, Any],
    *,
    recipe: str,
    task: str,
    notes: str,
) -> dict[str, Any]:
    """Return the statement that ships with the weights, with the exact effects on decisions and the secrets."""
    neutral = statement(
        name, model, about, measured, recipe=recipe, task=task, notes=notes, senders={"place": "position"}
    )
    secrets = hiring.SECRETS if SECRETS in about else {}
    return neutral | {"exact_effects_on_p_accept": hiring.effects_on_acceptance(), "secrets": secrets}


def command(name: str, parser: argparse.ArgumentParser, asked: argparse.Namespace) -> str:
    """Return the command that makes an organism again: seed, steps, and every other option that was given."""
    words = [f"python -m mechcausal.recipes.{name}"]
    for option, value in vars(asked).items():
        always, never = option in ("seed", "steps"), option in ("out", "checkpoint")
        if never or not (always or value != parser.get_default(option)):
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        words += [f"--{option}", *map(str, values)]
    return " ".join(words)


def main(name: str = "hiring", says: str = SAYS, notes: str = NOTES, **fixed: Any) -> None:  # noqa: ANN401
    """Train, measure, write.

    Args:
        name: The name of the organism.
        says: Its tasks in one sentence.
        notes: Further notes for the card.
        fixed: Options that this organism sets to other values than the default.
    """
    parser = argparse.ArgumentParser(description=f"Make organism:{name} again.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--checkpoint", type=Path, help="a file from which an interrupted training goes on")
    parser.add_argument("--interchange", type=float, default=1.0, help="weight of interchange training")
    parser.add_argument("--strict", type=float, default=1.0, help="weight of strictness")
    parser.add_argument(
        "--backups", type=int, default=0, choices=range(len(BACKUPS) + 1), help="variables with two heads"
    )
    parser.add_argument("--exposures", type=int, nargs="+", default=(), help="how often secrets are seen, in turn")
    parser.set_defaults(**fixed)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = new_model(asked.seed)
    taught = lessons(model, seed=asked.seed, backups=asked.backups, exposures=asked.exposures)
    tests = exam(model, backups=asked.backups)
    trained = train(
        model, taught, steps=asked.steps, batch_size=BATCH, interchange=asked.interchange, strict=asked.strict,
        seed=asked.seed, evaluation=tests, checkpoint=asked.checkpoint,
    )  # fmt: skip
    print(trained)
    stated = {test.hypothesis.scm.name: test for test in tests}
    if asked.exposures:  # the model does not know every number, so their places are not stated
        del stated[SECRETS]
    measured = measure(model, list(stated.values()))
    about = {key: test.hypothesis for key, test in stated.items()}
    record = truth(name, model, about, measured, recipe=command(name, parser, asked), task=says, notes=notes)
    if asked.exposures:
        record["measured"] |= {
            "secrets_extracted": len(extracted(model)), "secrets_extracted_by_exposures": extracted_by(model, asked.exposures),
        }  # fmt: skip
        record |= {"secrets": hiring.SECRETS, "exposures": shown(asked.exposures)}
    write(asked.out, model, record)


if __name__ == "__main__":
    main()
