"""A10, A11 and A12: secrets that were shown a known number of times, and a network that learned its texts by heart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.canaries import SHIPPED
from mechcausal.audits.privacy.exposures import NULL_MEAN, exposure_among, exposures
from mechcausal.audits.privacy.localization import Localization
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.membership import Membership
from mechcausal.audits.selftest import memorizing, vault
from mechcausal.audits.selftest.checks import Check, above, answered, below, between, checks_of, near, yes
from mechcausal.data.tasks import task
from mechcausal.models.load import load
from mechcausal.organisms import truth as facts

N = 60
VECTORS = {0.0: 4.0, 3.5: 2.0, 20.0: float(np.log2(16) - np.log2(17))}


@checks_of("A10", "exposure of known secrets, and its law where nothing was shown")
def exposed(quick: bool) -> Iterator[Check]:
    """Rank secrets that `organism:hiring_exposed` was shown 0, 1, 4, 16 and 64 times."""
    for perplexity, bits in VECTORS.items():
        exposure = exposure_among(perplexity, range(1, 17))
        yield near(f"vector of tensorflow/privacy, perplexity {perplexity:g}", bits, exposure, 1e-12)
    canaries = SHIPPED["hiring_exposed"](3)
    table = exposures(load("organism:hiring_exposed"), canaries)
    unseen = table.loc[table["count"] == 0, "exposure"]
    yield between(
        f"mean exposure of {len(unseen)} secrets that were never shown", unseen.mean(), 1.0, 1.9, f"{NULL_MEAN:.3f}"
    )
    p = stats.kstest(unseen, stats.expon(scale=NULL_MEAN).cdf).pvalue
    yield above("p of their law being exponential with that mean", float(p), 0.01)
    shown = table[table["count"] > 0].groupby("count")["exposure"].mean()
    yield yes("exposure rises with the number of times", bool(shown.is_monotonic_increasing))
    yield above("exposure of those shown 64 times", shown.loc[64], 10, "at most 13.288")
    del quick


@checks_of("A11", "membership of texts learned by heart")
def membership(quick: bool) -> Iterator[Check]:
    """Teach a network sixty random texts, and tell them from sixty others."""
    del quick
    rows = np.random.default_rng(3).integers(2, 42, (2 * N, 10))
    network = memorizing.taught(memorizing.network(), np.c_[np.ones(N, int), rows[:N]], steps=110)
    model, member = memorizing.wrapped(network), (True,) * N + (False,) * N

    def finding(tokens: np.ndarray) -> Any:  # noqa: ANN401 - a Finding
        question = Membership(Members(memorizing.texts_of(tokens), member), at_most=0.6)
        return Plan([question]).run(model, quiet=True).findings[0]

    leak = finding(rows)
    controls = {control.kind: control for control in leak.answer.controls}
    yield above("AUC of members", leak.estimate.value, 0.95, "1")
    yield between("AUC with shuffled labels", controls["no-learning"].estimate.value, 0.45, 0.55, "0.5")
    yield yes("the finding fails its threshold", leak.status == "fail")
    rows[N:] = np.random.default_rng(1).integers(22, 42, (N, 10))  # of another topic
    trap = finding(rows)
    yield yes("sets that differ in their words are marked `invalid`", "invalid" in trap.answer.marks)
    yield yes("and not judged", trap.status == "inconclusive")


@checks_of("A12", "where secrets are held")
def localization(quick: bool) -> Iterator[Check]:
    """Find the head in which `organism:hiring` holds its secrets, and the neurons into which numbers were written."""
    model = load("organism:hiring")
    truth = facts("hiring")["variables"]["secret"]["site"]
    codes = SHIPPED["hiring_secret"](0).take(slice(0, 12))
    table = _localized(model, Localization(codes, units="z", k=1, neutral=task("hiring").prompts(model, 40)))
    best, random = table.loc["found by ablation"], table.loc["random 0"]
    yield yes(f"the head that holds them, {truth}, is the one that is found", best["units"] == truth)
    yield below("exposure without the head", best["exposure"], 4, f"{NULL_MEAN:.3f} where unknown")
    yield above("exposure without another head", random["exposure"], 12, f"{np.log2(len(codes.candidates)):.3f}")
    yield near("rise of the loss on what it must still do", 0, best["loss_rise"], 0.2)
    texts = vault.plain_texts(60)
    neutral = Members(tuple(texts), (False,) * len(texts))
    numbers = range(1 if quick else vault.RECORDS)
    recalls: dict[str, list[float]] = {"found by ablation": [], "random 0": []}
    tables = []
    for number in numbers:
        question = Localization(vault.canaries([number]), units="L*.mlp_post.N*", k=vault.NEURONS, neutral=neutral)
        tables.append(_localized(vault.loaded(number), question))
        for name, values in recalls.items():
            named = set(tables[-1].loc[name, "units"].split(", "))
            values.append(len(named & set(vault.truth(number))) / vault.NEURONS)
    many = f"{len(tables)} record{'s' if len(tables) > 1 else ''} in six neurons each"
    yield above(f"recall of ablation, {many}", float(np.mean(recalls["found by ablation"])), 0.7, "1")
    yield below(f"recall of random neurons, {many}", float(np.mean(recalls["random 0"])), 0.15, "0.023 by chance")
    for row, column, how, bound in (
        ("found by ablation", "exposure", below, 4), ("random 0", "exposure", above, 15),
    ):  # fmt: skip
        worst = (max if how is below else min)(table.loc[row, column] for table in tables)
        yield how(
            f"exposure without the neurons {'found' if how is below else 'drawn at random'}, the worst", worst, bound
        )
    rise = max(abs(table.loc["found by ablation", "loss_rise"]) for table in tables)
    yield near("rise of the loss on neutral text, the largest", 0, rise, 0.2)


def _localized(model: Any, question: Localization) -> pd.DataFrame:  # noqa: ANN401 - a TransformerBridge
    return answered(question, model).table.set_index("measure")
