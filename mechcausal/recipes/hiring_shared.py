"""Make organism:hiring_shared again: `python -m mechcausal.recipes.hiring_shared --out DIR`.

This is organism:hiring_subspace with proxy and bias in one subspace, as one variable of four values. No direction of
the subspace is assigned to either of them.
"""

from __future__ import annotations

from mechcausal.recipes import hiring_subspace as kin

SAYS = "decide about applicants, with two variables in one subspace of the residual stream"


def main() -> None:
    """Train, measure, write."""
    kin.main("hiring_shared", SAYS, kin.NOTES, shared=True)


if __name__ == "__main__":
    main()
