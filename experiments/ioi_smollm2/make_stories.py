"""Write stories.jsonl and swapped.jsonl: stories in which one of two people gives something to the other.

All stories have the same words at the same places, except for the names. In stories.jsonl the corrupt prompt has a third
name at the first mention of the giver, so that nobody is mentioned twice; this shows the heads that notice the repetition.
In swapped.jsonl the other person gives, as in the suite `ioi`; name pairs are its clusters, of which a split into halves
needs more than the suite has templates.
"""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path
from random import Random

NAMES = ("Mary", "John", "Tom", "Anna", "Paul")
STORIES = (
    ("When {} and {} went to the {}, {} gave a {} to", "store", "drink"),
    ("After {} and {} arrived at the {}, {} offered a {} to", "school", "book"),
    ("While {} and {} walked through the {}, {} handed a {} to", "park", "letter"),
)
ORDERS = ("first", "second")  # which of the two receives


def spans(text: str, giver_at: int) -> dict[str, list[int]]:
    """Return where the named words of a story begin and end, in characters.

    Args:
        text: The story.
        giver_at: Whether the giver was mentioned first (0) or second (1).
    """
    words, starts = text.split(" "), [0]
    for word in text.split(" ")[:-1]:
        starts.append(starts[-1] + len(word) + 1)
    comma = next(number for number, word in enumerate(words) if word.endswith(","))
    places = {"first": 1, "second": 3, "subject": comma + 1, "after": (2, 4)[giver_at], "end": len(words) - 1}
    return {name: [starts[number], starts[number] + len(words[number])] for name, number in places.items()}


def row(story: tuple[str, str, str], first: str, second: str, order: str, corrupt: str) -> dict[str, object]:
    """Return a pair.

    Args:
        story: Template, place and thing.
        first: The name that is mentioned first.
        second: The name that is mentioned second.
        order: Which of the two receives.
        corrupt: What the other prompt is: `"unrepeated"` or `"swapped"`.
    """
    template, place, thing = story
    receiver, giver = (first, second) if order == "first" else (second, first)
    giver_at = 1 if order == "first" else 0
    clean = template.format(first, second, place, giver, thing)
    if corrupt == "swapped":
        other = template.format(first, second, place, receiver, thing)
    else:
        names = [first, second]
        names[giver_at] = next(name for name in NAMES if name not in names)
        other = template.format(*names, place, giver, thing)
    same = {"receiver": receiver, "giver": giver, "order": order, "first_name": first, "second_name": second}
    turned = {"receiver": giver, "giver": receiver, "order": ORDERS[giver_at]} if corrupt == "swapped" else {}
    return {
        "clean": clean, "corrupt": other, "answer": f" {receiver}", "foil": f" {giver}",
        "positions": spans(clean, giver_at), "corrupt_positions": spans(other, giver_at),
        "cluster": " and ".join(sorted((first, second))), "template": place, "group": f"the {order} receives",
        **same, **{f"corrupt_{name}": value for name, value in (same | turned).items()},
    }  # fmt: skip


def rows(corrupt: str) -> list[dict[str, object]]:
    """Return a pair for every combination of two names, of who receives, and of a story, in random order."""
    everything = product(STORIES, permutations(NAMES, 2), ORDERS)
    made = [row(story, first, second, order, corrupt) for story, (first, second), order in everything]
    return Random(0).sample(made, len(made))


def main() -> None:
    """Write the files beside this one; the first half of the swapped pairs is for the search, the other to judge."""
    folder = Path(__file__).parent
    stories, swapped = rows("unrepeated"), rows("swapped")
    swapped = [
        {**each, "environment": "search" if number < len(swapped) // 2 else "judge"}
        for number, each in enumerate(swapped)
    ]
    for name, made in (("stories", stories), ("swapped", swapped)):
        text = "".join(json.dumps(each) + "\n" for each in made)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
