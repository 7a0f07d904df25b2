"""Tasks that are written here, of which the field knows the circuits: indirect objects, greater than, induction."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from mechcausal.data.columns import Record
from mechcausal.data.suites.drawing import Suite, pair

NAMES = (
    "Mary", "John", "Tom", "James", "Dan", "Anna", "Martin", "Amy", "Kate", "Laura", "Paul", "Sarah", "Emily", "David",
    "Michael", "Peter", "Robert", "Alice", "Jane", "Mark", "Simon", "George", "Helen", "Frank", "Henry", "Julia", "Lisa",
    "Kevin", "Susan", "Adam", "Jack", "Ruth", "Clara", "Steve", "Rachel", "Eric",
)  # fmt: skip
SHOPS = ("store", "park", "school", "station", "market", "library", "office", "garden", "museum", "hospital")
THINGS = ("drink", "book", "ring", "letter", "key", "basket", "ball", "map", "coat", "phone")
INDIRECT = (
    "When {0} and {1} went to the {place}, {2} gave a {thing} to",
    "Then, {0} and {1} had a long talk at the {place}. Afterwards {2} handed a {thing} to",
    "After {0} and {1} arrived at the {place}, {2} offered a {thing} to",
    "While {0} and {1} were waiting near the {place}, {2} passed a {thing} to",
    "Because {0} and {1} had met behind the {place}, {2} decided to bring a {thing} to",
    "Yesterday {0} and {1} walked past the {place}, where {2} showed a {thing} to",
)


def indirect_objects(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield stories of two people, one of whom gives something (Wang et al. 2022); who gives, differs."""
    del tokenizer
    number = 0
    while True:  # as many as are asked for; the caller stops
        template = number % len(INDIRECT)
        first, second = random.sample(NAMES, 2)
        words = {"place": random.choice(SHOPS), "thing": random.choice(THINGS)}
        receiver, subject = (first, second) if random.random() < 0.5 else (second, first)
        sides = [INDIRECT[template].format(first, second, who, **words) for who in (subject, receiver)]
        again = [
            [text.rfind(who), text.rfind(who) + len(who)] for text, who in zip(sides, (subject, receiver), strict=True)
        ]
        yield pair(
            f"story {number}", *sides, f" {receiver}", f" {subject}",
            places={"first": (first, first), "second": (second, second), "subject": (again[0], again[1])},
            template=f"template {template}", cluster=f"template {template}",
            group="the first receives" if receiver == first else "the second receives",
        )  # fmt: skip
        number += 1
        if number >= _MOST:
            return


_MOST = 20_000
EVENTS = (
    "war", "siege", "reign", "project", "strike", "voyage", "famine", "marriage", "career", "debate", "trial", "plague",
    "drought", "festival", "expedition", "campaign", "treaty", "construction", "dispute", "epidemic",
)  # fmt: skip


def greater_than(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences about the year in which something ended, after that in which it began (Hanna et al. 2023).

    Where the tokenizer writes the two digits of a year in its century as one token, answers are all later ones and foils
    all others; where it writes digit by digit, they are the later and the earlier decades. Counterparts begin in year 01.
    """
    in_one_token = len(tokenizer("1732", add_special_tokens=False)["input_ids"]) < 4
    number, left = 0, _MOST
    while left:
        left -= 1
        event, century = random.choice(EVENTS), random.randint(11, 19)
        year = random.randint(2, 98) if in_one_token else 10 * random.randint(2, 8) + random.randint(0, 9)
        sides = [f"The {event} lasted from the year {century}{y:02d} to the year {century}" for y in (year, 1)]
        start = sides[0].index(f"{century}{year:02d}") + len(str(century))
        if in_one_token:
            answer, foil = [f"{y:02d}" for y in range(year + 1, 100)], [f"{y:02d}" for y in range(2, year + 1)]
        else:
            tens = year // 10
            answer, foil = [str(d) for d in range(tens + 1, 10)], [str(d) for d in range(tens)]
        yield pair(
            f"sentence {number}", *sides, answer, foil, places={"year": ([start, start + 2], [start, start + 2])},
            cluster=event, year=year,
        )  # fmt: skip
        number += 1


WORDS = (
    "apple", "river", "chair", "stone", "lamp", "horse", "paper", "music", "table", "cloud", "bread", "glass", "tower",
    "money", "garden", "window", "tree", "fish", "road", "clock", "metal", "field", "house", "water", "light", "door",
    "book", "star", "ship", "bird", "wood", "gold", "train", "milk", "king", "moon", "sand", "wind", "snow", "iron",
)  # fmt: skip


def induction(random: Random, tokenizer: Any, length: int = 10) -> Iterator[Record]:  # noqa: ANN401
    """Yield random words that begin to come again, up to a word whose follower is known from before; which word differs."""
    del tokenizer
    for number in range(_MOST):
        words = random.sample(WORDS, length)
        at = random.randrange(2, length - 1)
        other = random.choice([place for place in range(1, length - 1) if place not in (at - 1, at)])
        texts = [" ".join([*words, *words[:at], words[last]]) for last in (at, other)]
        spans = []
        for offset in (0, 1):  # the word that is repeated, and the one that followed it
            begin = len(" ".join(words[: at + offset])) + 1
            spans.append([begin, begin + len(words[at + offset])])
        yield pair(
            f"list {number}", *texts, f" {words[at + 1]}", f" {words[other + 1]}",
            places={"before": (spans[0], spans[0]), "follower": (spans[1], spans[1])}, cluster=f"list {number}",
        )  # fmt: skip


SUITES = {
    suite.name: suite
    for suite in (
        Suite("ioi", "subject", indirect_objects),
        Suite("greater_than", "year", greater_than),
        Suite("induction", "repeated word", induction),
    )
}
