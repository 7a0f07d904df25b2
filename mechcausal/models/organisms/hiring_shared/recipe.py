"""Make organism:hiring_shared again: `python -m mechcausal.models.organisms.hiring_shared.recipe --out DIR`.

organism:hiring_subspace with proxy and bias in one subspace, as one variable of four values: none of its directions is
said to be the one or the other.
"""

from __future__ import annotations

from mechcausal.models.organisms.hiring_subspace import recipe as kin

SAYS = "decide about applicants, with two variables in one subspace of the residual stream"


def main() -> None:
    """Train, measure, write."""
    kin.main("hiring_shared", SAYS, kin.NOTES, shared=True)


if __name__ == "__main__":
    main()
