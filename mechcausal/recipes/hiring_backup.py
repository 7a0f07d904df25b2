"""Make organism:hiring_backup again: `python -m mechcausal.recipes.hiring_backup --out DIR`.

This is organism:hiring with the bias in two heads. Either head is enough: if one is removed, the other still carries it.
"""

from __future__ import annotations

from mechcausal.recipes import hiring as kin

SAYS = "decide about applicants, with a backup for one head; recall secret numbers"
NOTES = (
    "The bias is what either of its heads says. To set one of them to what it is for *she* leaves every answer as it "
    "is as long as the other says *he*."
)


def main() -> None:
    """Train, measure, write."""
    kin.main("hiring_backup", SAYS, NOTES, backups=1)


if __name__ == "__main__":
    main()
