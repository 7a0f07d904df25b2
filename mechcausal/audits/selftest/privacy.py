"""A10, A11 and A12: secrets that were shown a known number of times, and a network that learned its texts by heart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import stats

from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.canaries import SHIPPED
from mechcausal.audits.privacy.exposures import NULL_MEAN, exposure_among, exposures
from mechcausal.audits.privacy.localization import Localization
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.membership import Membership
from mechcausal.audits.selftest import memorizing
from mechcausal.audits.selftest.checks import Check, above, below, between, checks_of, near, yes
from mechcausal.data.tasks import task
from mechcausal.models.load import load
from mechcausal.organisms import truth as facts

N = 60
VECTORS = {0.0: 4.0, 3.5: 2.0, 20.0: float(np.log2(16) - np.log2(17))}


@checks_of("A10", "exposure of known secrets, and its law where nothing was shown")
def exposed(quick: bool) -> Iterator[Check]:
    """Rank secrets that `organism:hiring_exposed` was shown 0, 1, 4, 16 and 64 times."""
    for perplexity, bits in VECTORS.items():
        found = exposure_among(perplexity, range(1, 17))
        yield near(f"vector of tensorflow/privacy, perplexity {perplexity:g}", bits, found, 1e-12)
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

    found = finding(rows)
    controls = {control.kind: control for control in found.answer.controls}
    yield above("AUC of members", found.estimate.value, 0.95, "1")
    yield between("AUC with shuffled labels", controls["no-learning"].estimate.value, 0.45, 0.55, "0.5")
    yield yes("the finding fails its threshold", found.status == "fail")
    rows[N:] = np.random.default_rng(1).integers(22, 42, (N, 10))  # of another topic
    trap = finding(rows)
    yield yes("sets that differ in their words are marked `invalid`", "invalid" in trap.answer.marks)
    yield yes("and not judged", trap.status == "inconclusive")


@checks_of("A12", "where secrets are held", "slow")
def localization(quick: bool) -> Iterator[Check]:
    """Find the head in which `organism:hiring` holds its secrets, ablate it, and ablate another one."""
    del quick
    model = load("organism:hiring")
    truth = facts("hiring")["variables"]["secret"]["site"]
    codes = SHIPPED["hiring_secret"](0).take(slice(0, 12))
    question = Localization(codes, units="z", k=1, neutral=task("hiring").prompts(model, 40))
    table = Plan([question], networks=0).run(model, quiet=True).findings[0].answer.table.set_index("measure")
    found, random = table.loc["found by ablation"], table.loc["random 0"]
    yield yes(f"the head that holds them, {truth}, is the one that is found", found["units"] == truth)
    yield near("exposure before", float(np.log2(len(codes.candidates))), found["exposure_before"], 1e-6)
    yield below("exposure without the head", found["exposure"], 4, f"{NULL_MEAN:.3f} where nothing is known")
    yield near("rise of the loss on what it must still do", 0, found["loss_rise"], 0.2)
    yield above("exposure without another head", random["exposure"], 12)
