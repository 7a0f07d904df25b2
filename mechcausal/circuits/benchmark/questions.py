"""What is asked of each organism: pairs that differ in one factor, for which the true edges are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mechcausal.catalog import ORGANISMS
from mechcausal.errors import ArgumentError, did_you_mean


@dataclass(frozen=True)
class Question:
    """An organism and the pairs that it is asked about.

    Attributes:
        organism: The organism.
        contrast: The name of the pairs.
        note: What makes it easy or hard.
        metric: By which metric methods are asked; those that take one slope in the clean run need another one than `kl`.
        flat: Whether a true edge of it acts where a slope is zero at every point that a gradient method looks at.
    """

    organism: str
    contrast: str
    note: str
    metric: str = "logit_diff"
    flat: bool = False

    @property
    def name(self) -> str:
        """What it is called: the contrast, with the organism in front where it does not say it."""
        task = self.contrast.partition("/")[0]
        return self.contrast if task == self.organism else f"{self.organism}: {self.contrast}"


# Scores are means over pairs, so all pairs of a question go in one direction: from the answer to the foil.
# The question with `kl` is the published one about a compiled program: a random input against another one, and how far the
# outputs move (Conmy et al. 2023; Miller et al. 2024). What a published program looks at is the same in all inputs.
QUESTIONS = (
    Question(
        "by_hand", "by_hand/level", "a small direct path, and one through a neuron that is silent in half of the pairs"
    ),
    Question("by_hand", "by_hand/gender", "the same with a large direct path"),
    Question(
        "reverse",
        "reverse/answer",
        "where attention looks changes; it looks at one place alone, so no slope shows it",
        flat=True,
    ),
    Question("reverse", "reverse/letter_2", "what is copied changes, and where attention looks does not"),
    Question("reverse", "reverse/letters", "the published question: all letters against others", "kl"),
    Question("fraction", "fraction/token_1", "one word acts by its value and by its key", flat=True),
    Question(
        "fraction", "fraction/answer", "the answer is a step function of the share, so no slope shows it", flat=True
    ),
    Question(
        "fraction_linear",
        "fraction/letters",
        "the published question, `proportion`: a number that is read in a straight line",
        "kl",
    ),
    Question("hiring", "hiring_secret/secret", "one path, to a memorized number"),
    Question("hiring", "hiring/merit", "one path, through degree and experience"),
    Question("hiring", "hiring/gender", "two paths, through the pronoun and the hobby"),
    Question("hiring_backup", "hiring_backup/gender", "two heads of which one is enough"),
    Question("hiring_exposed", "hiring/gender", "as hiring, trained with other secrets"),
    Question("ioi", "ioi/subject", "a chain of three heads"),
    Question("ioi", "ioi/answer", "a chain of three heads, and a direct path to the last of them"),
    Question("induction", "induction/copied", "two heads, of which the second reads the first and the words"),
    Question("brackets", "brackets/p1", "counts, and three tests that must all pass"),
    Question("bios", "bios/pronoun", "one path, through the pronoun"),
    Question("bios", "bios/answer", "one variable read by the logits, two by an MLP"),
)
"""All questions, the compiled organisms first."""


def questions(organisms: Sequence[str] | None, *, quick: bool = False) -> tuple[Question, ...]:
    """Return the questions about these organisms; with `quick` only the last one about each.

    Args:
        organisms: Their names; all whose circuit is known if None.
        quick: Whether one question about each is enough.
    """
    asked = list(dict.fromkeys(question.organism for question in QUESTIONS))
    for name in organisms or ():
        if name not in asked:
            is_organism = name in ORGANISMS
            raise ArgumentError(
                f"the circuit of organism:{name} is not known"
                if is_organism
                else f"there is no organism called {name!r}",
                expected=", ".join(asked) if is_organism else None,
                fix=None if is_organism else did_you_mean(name, asked),
            )
    chosen = [question for question in QUESTIONS if organisms is None or question.organism in organisms]
    if quick:
        chosen = list({question.organism: question for question in chosen}.values())
    return tuple(chosen)
