"""Make the dictionary of organism:hiring again: `python -m mechcausal.models.organisms.hiring.dictionary.recipe --out DIR`.

A TopK dictionary of the stream after the second layer, where the applicant's gender, the merit and the hobby's proxy have
been gathered at the decision and the MLP that decides has not read them yet. It needs sae-lens, and so transformer-lens 3.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import task
from mechcausal.features.dictionaries.material import Material
from mechcausal.features.dictionaries.training import train
from mechcausal.models.dictionaries import Bound

SITE, WIDTH, K, TOKENS, PROMPTS = "L1.resid_post", 256, 8, 400_000, 2000
# Of the seeds 0 to 3 the one whose features at the decision tell gender, merit and proxy best, one each.
SEED = 2


def prompts(model: Any) -> list[PromptSet]:  # noqa: ANN401 - a TransformerBridge
    """Return what the dictionary is trained on: applicants as they are, applicants of all kinds, and the secrets."""
    hiring, secret = task("hiring"), task("hiring_secret")
    return [
        hiring.prompts(model, n=PROMPTS),
        hiring.prompts(model, n=PROMPTS, environment="broad"),
        secret.prompts(model, n=PROMPTS),
    ]


def make(model: Any, out: str | Path) -> Bound:  # noqa: ANN401 - a TransformerBridge
    """Train the dictionary and write its folder."""
    material = Material.of("organism:hiring", n=PROMPTS)
    return train(
        model, prompts(model), SITE, width=WIDTH, k=K, tokens=TOKENS, seed=SEED, out=out, name="hiring",
        remember={"material": material.to_json()},
    )  # fmt: skip


if __name__ == "__main__":
    import torch

    from mechcausal.models.load import load

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="The folder.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # another number of threads adds in another order
    made = make(load("organism:hiring"), arguments.out)
    print(f"{made.features}: {made.n_features} features, digest {made.digest}")
