"""Write the texts of this experiment: pairs that differ in gender or in number, and sentences to train dictionaries on.

gender.jsonl       a woman against a man ("the mother", "Mary"), in both orders; the answer is the pronoun
occupations.jsonl  an occupation of one stereotype against one of the other, in both orders; the answer is the pronoun
number.jsonl       a noun in the singular against the plural, in both orders; the answer is the verb
training.txt       sentences with the same words in other frames, and others
neutral.txt        sentences about other things, which no mitigation should change
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from random import Random

WOMEN = (
    "the woman", "the girl", "the mother", "the sister", "the daughter", "the wife", "the queen", "the aunt", "the lady",
    "the princess", "the actress", "Mary", "Anna", "Sarah", "Emily", "Laura", "Alice", "Jane", "Helen", "Julia", "Susan",
    "Rachel", "Kate", "Emma",
)  # fmt: skip
MEN = (
    "the man", "the boy", "the father", "the brother", "the son", "the husband", "the king", "the uncle", "the gentleman",
    "the prince", "the actor", "John", "Tom", "Paul", "Peter", "Robert", "Michael", "David", "George", "Henry", "Kevin",
    "Adam", "Mark", "James",
)  # fmt: skip
# In pairs alone, so that there are clusters enough: a link halves them, and tests every feature of the dictionaries.
MORE_WOMEN = (
    "Maria", "Rose", "Lucy", "Claire", "Ruth", "Linda", "Karen", "Lisa", "Amy", "Nancy", "Diana", "Betty", "Carol", "Sharon",
    "Michelle", "Jennifer", "Amanda", "Nicole", "Jessica", "Elizabeth", "Margaret", "Grace", "Marie", "Barbara", "Martha",
    "Victoria",
)  # fmt: skip
MORE_MEN = (
    "William", "Charles", "Thomas", "Daniel", "Andrew", "Edward", "Brian", "Joseph", "Richard", "Steven", "Eric", "Frank",
    "Simon", "Alan", "Philip", "Roger", "Martin", "Stephen", "Matthew", "Jason", "Patrick", "Anthony", "Douglas", "Gary",
    "Samuel", "Benjamin",
)  # fmt: skip
MORE_NOUNS = (
    "student", "driver", "player", "writer", "worker", "leader", "king", "guest", "friend", "dog", "cat", "flower", "car",
    "boat", "chair", "lamp", "box", "bottle", "cup", "stone", "wall", "gate", "field", "hill", "island", "tool", "machine",
    "clock",
)  # fmt: skip
TELLING = ("Yesterday {} said that", "In the end {} was late because")
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
SAYING = ("The {} said that", "The {} was late because")
NOUNS = (
    "nurse", "teacher", "farmer", "soldier", "lawyer", "doctor", "dancer", "singer", "tree", "river", "house", "road",
    "book", "letter", "song", "garden", "window", "bridge", "train", "bird", "horse", "door", "table", "picture",
    "tower",
)  # fmt: skip
INANIMATE = NOUNS[8:]
VERBS = (("The {} near the station", " is", " are"), ("The {} from the north", " was", " were"))
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


def pairs(rows: list[tuple[str, str, str, str, str]], concept: str, values: tuple[str, str]) -> list[dict[str, object]]:
    """Return both orders of each row.

    Args:
        rows: A text with a gap, what fills it on one side and on the other, and the answers that these call for.
        concept: What the sides differ in.
        values: The value of the first side, and of the other.
    """
    out = []
    for frame, first, other, answer, foil in rows:
        for order, sides in {"straight": (0, 1), "swapped": (1, 0)}.items():
            fillers, answers = ((first, other), (answer, foil))
            texts = [frame.format(fillers[side]) for side in sides]
            words = [fillers[side].split()[-1] for side in sides]
            spans = [[text.index(word), text.index(word) + len(word)] for text, word in zip(texts, words, strict=True)]
            out.append(
                {
                    "clean": texts[0], "corrupt": texts[1], "answer": answers[sides[0]], "foil": answers[sides[1]],
                    "positions": {"who": spans[0]}, "corrupt_positions": {"who": spans[1]}, "group": order,
                    "cluster": f"{first}/{other}", concept: values[sides[0]], f"corrupt_{concept}": values[sides[1]],
                }
            )  # fmt: skip
    return out


def gender() -> list[dict[str, object]]:
    """Return pairs of people."""
    people = zip(WOMEN + MORE_WOMEN, MEN + MORE_MEN, strict=True)
    rows = [(TELLING[number % 2], her, him, " she", " he") for number, (her, him) in enumerate(people)]
    return pairs(rows, "gender", ("female", "male"))


def occupations() -> list[dict[str, object]]:
    """Return pairs of occupations."""
    rows = [(frame, her, him, " she", " he") for frame, (her, him) in product(SAYING, zip(FEMALE, MALE, strict=True))]
    return pairs(rows, "gender", ("female", "male"))


def number() -> list[dict[str, object]]:
    """Return pairs of a noun in the singular and in the plural."""
    rows = []
    for number, noun in enumerate(NOUNS + MORE_NOUNS):
        frame, singular, many = VERBS[number % 2]
        plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
        rows.append((frame, noun, plural, singular, many))
    return pairs(rows, "number", ("singular", "plural"))


def training(random: Random, n: int = 1600) -> list[str]:
    """Return sentences, most of them about the same nouns in other frames than those of the pairs."""
    out = []
    while len(out) < n:
        noun, plural = random.choice(FEMALE + MALE + NOUNS + NOUNS), random.random() < 0.3
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
        if random.random() < 0.3:
            who, pronoun = random.choice([*product(WOMEN, ["she"]), *product(MEN, ["he"])])
            verb, rest = random.choice(DOING)
            frames = (
                f"{random.choice(WHERE).capitalize()}, {who} {verb} {rest}, and then {pronoun} {random.choice(DOING)[0]} again.",
                f"We saw {who} {random.choice(WHERE)} with {random.choice(THINGS)}.",
                f"Last week {who} {verb} {rest} because {pronoun} had {random.choice(THINGS)}.",
            )
        out.append(random.choice(frames))
    return list(dict.fromkeys(out))


def main() -> None:
    """Write the files beside this one."""
    folder = Path(__file__).parent
    for name, rows in (("gender", gender()), ("occupations", occupations()), ("number", number())):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for name, lines in (("training", training(Random(0))), ("neutral", NEUTRAL)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
