"""Make the dictionary of organism:hiring again: `python -m mechcausal.recipes.hiring_dictionary --out DIR`.

The recipe trains a TopK dictionary on the stream after the second layer. There, gender, merit and the proxy of the hobby
have arrived at the decision token, and the MLP that decides has not read them yet. It needs sae-lens, and therefore
transformer-lens 3. `--measure` only measures the folder: this gives the numbers of the card and needs no sae-lens.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from mechcausal.data.prompts import PromptSet
from mechcausal.data.tasks import contrast, task
from mechcausal.dictionaries.loading import load as load_dictionary
from mechcausal.dictionaries.material import Material
from mechcausal.dictionaries.quality import health
from mechcausal.dictionaries.training import train
from mechcausal.models.binding import Bound
from mechcausal.models.hooked import forward
from mechcausal.patching import patch

SITE, WIDTH, K, TOKENS, PROMPTS = "L1.resid_post", 256, 8, 400_000, 2000
# The best of the seeds 0 to 3: single features at the decision tell gender, merit and proxy.
SEED = 2


def prompts(model: Any) -> list[PromptSet]:  # noqa: ANN401 - a TransformerBridge
    """Return the training prompts of the dictionary: applicants as they occur, applicants of all kinds, and the secrets."""
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


def measure(model: Any, bound: Bound) -> dict[str, Any]:  # noqa: ANN401
    """Return the numbers of the card: health, and for each feature what it tells and its effect at the decision.

    `tells` is the concept whose AUC is farthest from 0.5: gender, proxy, or merit above its median. `share` is the share
    of the effect of gender.
    """
    read, pairs = (
        task("hiring").prompts(model, 1500, seed=7, environment="broad"),
        contrast("hiring/gender", model, n=200, seed=3),
    )
    quality = health(model, read, bound, pairs=pairs)
    codes = forward(model, read, read=[bound.features]).read[bound.features][read.select("decision")].cpu().numpy()
    variables = {name: column.numpy() for name, column in read.variables.items()}
    kinds = {
        "gender": variables["gender"] == 1,
        "proxy": variables["proxy"] == 1,
        "merit": variables["merit"] > np.median(variables["merit"]),
    }
    alive = np.flatnonzero(codes.any(axis=0))
    sites = [bound.site, *(bound.feature(int(number)) for number in alive)]
    change = patch(model, pairs, sites=sites, at="decision", direction="noise").frame["change"].to_numpy()
    rows = []
    for number, share in zip(alive, change[1:] / change[0], strict=True):
        ranked = rankdata(codes[:, number])
        areas = {name: _area(ranked, yes) for name, yes in kinds.items()}
        tells = max(areas, key=lambda name: abs(areas[name] - 0.5))
        rows.append(
            {"feature": f"F{number}", "tells": tells, "auc": round(areas[tells], 2), "share": round(float(share), 2)}
        )
    return {"health": {name: round(quality[name], 3) for name in _HEALTH}, "features": rows}


_HEALTH = ("l0", "dead", "explained_variance", "loss_recovered", "kl_recovered", "error_share")


def _area(ranked: np.ndarray, yes: np.ndarray) -> float:
    """Return the AUC of ranks."""
    count = int(yes.sum())
    return float((ranked[yes].sum() - count * (count + 1) / 2) / (count * (len(yes) - count)))


if __name__ == "__main__":
    import torch

    from mechcausal.models.load import load

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="The folder.")
    parser.add_argument("--measure", action="store_true", help="Measure what is in the folder, and train nothing.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # another number of threads changes the order of additions
    organism = load("organism:hiring")
    if arguments.measure:
        measured = measure(organism, load_dictionary(organism, arguments.out, name="hiring"))
        print(json.dumps(measured["health"]))
        for row in sorted(measured["features"], key=lambda feature: (-feature["share"], -feature["auc"])):
            print(json.dumps(row))
        raise SystemExit
    made = make(organism, arguments.out)
    print(f"{made.features}: {made.n_features} features, digest {made.digest}")
