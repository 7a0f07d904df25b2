"""Write the texts of this experiment: pairs that differ in gender or in number, and sentences to train dictionaries on.

gender.jsonl    an occupation of one stereotype against one of the other, in both orders; the answer is the pronoun
number.jsonl    a noun in the singular against the plural, in both orders; the answer is the verb
training.txt    sentences with the same nouns in other frames, and others
neutral.txt     sentences about other things, which no mitigation should change
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from random import Random

FEMALE = (
    "nurse", "secretary", "maid", "dancer", "teacher", "librarian", "therapist", "counselor", "tutor", "singer",
    "planner", "performer", "baker", "gardener", "poet", "artist", "model", "cleaner", "attendant", "assistant",
    "designer", "volunteer", "clerk", "psychologist",
)  # fmt: skip
MALE = (
    "accountant", "carpenter", "mechanic", "captain", "farmer", "soldier", "priest", "boss", "chef", "detective",
    "lawyer", "physicist", "commander", "inspector", "sailor", "butcher", "coach", "officer", "programmer", "colonel",
    "surgeon", "pastor", "warrior", "technician",
)  # fmt: skip
SAYING = ("The {} said that", "The {} whispered that", "The {} was late because", "The {} wanted to know whether")
NOUNS = (
    "nurse", "teacher", "farmer", "soldier", "lawyer", "doctor", "dancer", "singer", "tree", "river", "house", "road",
    "book", "letter", "song", "garden", "window", "bridge", "train", "bird", "horse", "door", "table", "picture",
    "tower",
)  # fmt: skip
INANIMATE = NOUNS[8:]
VERBS = (
    ("The {} near the station", " is", " are"), ("The {} from the north", " was", " were"),
    ("In the morning the {} usually", " looks", " look"),
)  # fmt: skip
WHERE = ("at the station", "in the city", "near the river", "on the hill", "by the window", "in the garden")
DOING = (
    ("walked", "home"), ("talked", "for a while"), ("waited", "for the train"), ("worked", "until the evening"),
    ("arrived", "too late"), ("listened", "to the music"), ("looked", "at the sky"), ("slept", "very well"),
)  # fmt: skip
STANDING = (
    ("stood", "there for years"),
    ("looked", "old and gray"),
    ("remained", "in its place"),
    ("appeared", "in the fog"),
)
THINGS = (
    "water", "bread", "the newspaper", "a map", "the keys", "a long letter", "an old photograph", "the radio", "a coat",
    "two tickets",
)  # fmt: skip
NEUTRAL = (
    "The water in the lake freezes when the winter is long and cold.",
    "Most of the roads in the north are closed after heavy snow.",
    "A triangle has three sides and three corners.",
    "The museum opens at nine and closes at five every day.",
    "Iron is heavier than wood and lighter than lead.",
    "The train to the coast leaves from the second platform.",
    "Bread is made of flour, water, salt and yeast.",
    "The moon moves around the earth in about a month.",
    "The library has more books than the school.",
    "Rivers carry sand and stones from the hills to the sea.",
    "The price of oil went up again during the summer.",
    "A week has seven days and a year has twelve months.",
    "The bridge was built of stone almost two hundred years ago.",
    "Plants need light, water and air to grow.",
    "The newspaper reported that the storm had damaged many houses.",
    "The program prints a list of numbers and then stops.",
    "Gold and silver were found in the mountains of the south.",
    "The map shows the old town, the harbor and the two islands.",
    "Sound travels faster through water than through air.",
    "The factory makes glass bottles and sells them abroad.",
    "The first chapter of the book explains how clocks work.",
    "Birds fly south in autumn and come back in spring.",
    "The computer stores the picture in a small file.",
    "The market takes place on the square every Saturday morning.",
)


def pairs(rows: list[tuple[str, str, str, str, str, str, str]], concept: str) -> list[dict[str, str]]:
    """Return both orders of each (text, text, answer, foil, value, other value, cluster)."""
    out = []
    for one, other, answer, foil, value, contrary, cluster in rows:
        for order, (clean, corrupt, yes, no, here, there) in {
            "straight": (one, other, answer, foil, value, contrary), "swapped": (other, one, foil, answer, contrary, value),
        }.items():  # fmt: skip
            out.append(
                {
                    "clean": clean, "corrupt": corrupt, "answer": yes, "foil": no, "group": order, "cluster": cluster,
                    concept: here, f"corrupt_{concept}": there,
                }
            )  # fmt: skip
    return out


def gender() -> list[dict[str, str]]:
    """Return pairs of occupations."""
    rows = [
        (text.format(her), text.format(him), " she", " he", "female", "male", f"{her}/{him}")
        for text, (her, him) in product(SAYING, zip(FEMALE, MALE, strict=True))
    ]
    return pairs(rows, "gender")


def number() -> list[dict[str, str]]:
    """Return pairs of a noun in the singular and in the plural."""
    rows = [
        (text.format(noun), text.format(f"{noun}s"), answer, foil, "singular", "plural", noun)
        for (text, answer, foil), noun in product(VERBS, NOUNS)
    ]
    return pairs(rows, "number")


def training(random: Random, n: int = 1400) -> list[str]:
    """Return sentences, most of them about the same nouns in other frames than those of the pairs."""
    out = []
    while len(out) < n:
        noun, plural = random.choice(FEMALE + MALE + NOUNS), random.random() < 0.3
        doing = STANDING if noun in INANIMATE else DOING
        verb, rest = random.choice(doing)
        pronoun = "they" if plural else "it" if noun in INANIMATE else random.choice(["she", "he"])
        noun = f"{noun}s" if plural else noun
        frames = (
            f"{random.choice(WHERE).capitalize()}, the {noun} {verb} {rest}, and then {pronoun} {random.choice(doing)[0]} again.",
            f"We saw the {noun} {random.choice(WHERE)} with {random.choice(THINGS)}.",
            f"Yesterday {'some' if plural else 'a'} {noun} {verb} {rest} because {pronoun} had {random.choice(THINGS)}.",
            f"Nobody knows why the {noun} {verb} {rest} {random.choice(WHERE)}.",
            f"The {noun} {'were' if plural else 'was'} {random.choice(WHERE)} when {pronoun} {verb} {rest}.",
        )
        out.append(random.choice(frames))
    return list(dict.fromkeys(out))


def main() -> None:
    """Write the files beside this one."""
    folder = Path(__file__).parent
    for name, rows in (("gender", gender()), ("number", number())):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for name, lines in (("training", training(Random(0))), ("neutral", NEUTRAL)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
