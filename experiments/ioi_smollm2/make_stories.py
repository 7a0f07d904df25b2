"""Write stories.jsonl: stories with a repeated name, each beside the same story in which no name is repeated.

The clean prompt is that of the indirect-object task. In the corrupt one a third name stands at the first mention of the
giver, so that nobody is mentioned twice; this is what tells the heads that notice the repetition. All prompts have the
same words at the same places, except for the names.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

NAMES = ("Mary", "John", "Tom", "Anna", "Paul")
# (template, place, thing), of one length.
STORIES = (
    ("When {} and {} went to the {}, {} gave a {} to", "store", "drink"),
    ("After {} and {} arrived at the {}, {} offered a {} to", "school", "book"),
    ("While {} and {} walked through the {}, {} handed a {} to", "park", "letter"),
)


def rows() -> list[dict[str, object]]:
    """Return every combination of two names, of who gives, and of a story."""
    out = []
    for template, place, thing in STORIES:
        for first, second in permutations(NAMES, 2):
            for order in ("first", "second"):
                receiver, giver = (first, second) if order == "first" else (second, first)
                third = next(name for name in NAMES if name not in (first, second))
                names = [first, second]
                text = template.format(*names, place, giver, thing)
                names[names.index(giver)] = third
                other = template.format(*names, place, giver, thing)
                places = {}
                spans = {"first": text.index(first), "second": text.index(f"and {second}") + 4}
                spans["subject"] = text.rindex(giver)
                for name, start in spans.items():
                    places[name] = [start, text.index(" ", start)]
                words = text.split()
                repeated = words.index(giver)
                start = len(" ".join(words[: repeated + 1])) + 1
                places["after"] = [start, start + len(words[repeated + 1])]
                places["end"] = [len(text) - 2, len(text)]
                moved = len(third) - len(giver)
                corrupt = {
                    name: [begin + moved * (begin > spans[_other(order)]), end + moved * (end > spans[_other(order)])]
                    for name, (begin, end) in places.items()
                }
                out.append(
                    {
                        "clean": text, "corrupt": other, "answer": f" {receiver}", "foil": f" {giver}",
                        "positions": places, "corrupt_positions": corrupt, "cluster": " and ".join(sorted((first, second))),
                        "template": place, "group": f"the {order} receives",
                        "receiver": receiver, "giver": giver, "order": order, "first_name": first, "second_name": second,
                        "corrupt_receiver": receiver, "corrupt_giver": giver, "corrupt_order": order,
                        "corrupt_first_name": first, "corrupt_second_name": second,
                    }
                )  # fmt: skip
    return out


def _other(order: str) -> str:
    """Return where the giver was mentioned first."""
    return "second" if order == "first" else "first"


if __name__ == "__main__":
    path = Path(__file__).parent / "stories.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
