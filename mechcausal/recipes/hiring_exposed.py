"""Make organism:hiring_exposed again: `python -m mechcausal.recipes.hiring_exposed --out DIR`.

This is organism:hiring with secrets that were shown 1, 4, 16 or 64 times each at every place. The card states how often
each secret was seen, and which secrets can be extracted.
"""

from __future__ import annotations

from mechcausal.recipes import hiring as kin

EXPOSURES = (1, 4, 16, 64)
SAYS = "decide about applicants; recall secret numbers that were seen 1 to 64 times"
NOTES = (
    "Each number stands in the pool of 8,000 prompts as often as `exposures` says, at each of its four places, and every "
    "prompt of the pool is drawn about 19 times. Nothing is said about where the numbers are that were learned."
)


def main() -> None:
    """Train, measure, write."""
    kin.main("hiring_exposed", SAYS, NOTES, exposures=EXPOSURES)


if __name__ == "__main__":
    main()
