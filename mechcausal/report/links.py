"""The report of links: one page that opens offline, and the same numbers as JSON beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.dictionaries.cards.card import Card
from mechcausal.links.result import Links, compared_with, there_again
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE, INCONCLUSIVE, UNASSOCIATED, VERDICTS, YES
from mechcausal.results.page import Page
from mechcausal.results.storage import replacing

_ROWS, _SPECIFIC = 24, 12
_READ = (
    "Available is the chance that a prompt with the concept reads higher than one without (AUC), on one half of the pairs. "
    "Used is what intervening on the candidate alone does to the behavior, as a share of what changing the prompt does, on "
    "the other half. Causal: both. Correlate-only: it tells the concept, and its effect is known to be smaller than what "
    "was set beforehand to be of interest. Inconclusive: neither could be shown, or what was found is not more than chance, "
    "a direction drawn at random, or a network with random weights gives."
)


def write_links(
    found: Mapping[str, Links],
    path: Path,
    *,
    title: str,
    notes: Mapping[str, str] | None = None,
    cards: Mapping[str, Sequence[Card]] | None = None,
) -> Path:
    """Write the page and the JSON beside it, each atomically; return the path of the JSON.

    Args:
        found: The links by the name of their study.
        path: The page.
        title: The title.
        notes: A sentence on a study, or why it was not run.
        cards: The cards of features that stand below a study.
    """
    data = path.with_suffix(".json")
    numbers = {name: _numbers(links) for name, links in found.items()}
    for target, text in (
        (data, json.dumps(numbers, indent=1)),
        (path, _page(found, title, notes or {}, cards or {}).render()),
    ):
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return data


def _numbers(links: Links) -> dict[str, Any]:
    """Return all that was found as JSON data; what is not known is null."""
    return {
        "rows": json.loads(str(links.frame.to_json(orient="records"))),
        **_known(links.tables),
        "provenance": json.loads(links.provenance.to_json()),
    }


def _known(value: Any) -> Any:  # noqa: ANN401 - JSON data
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(
    found: Mapping[str, Links], title: str, notes: Mapping[str, str], cards: Mapping[str, Sequence[Card]]
) -> Page:
    first = next(iter(found.values()))
    page = Page(title, f"{first.provenance.model['name']}, weights {first.provenance.model['weights']}.")
    page.text(_READ)
    for name, links in found.items():
        _section(page, name, links, notes.get(name, ""))
        for card in cards.get(name, ()):
            page.piece(card.html())
    for name in [name for name in notes if name not in found]:
        page.heading(name)
        page.text(notes[name])
    page.heading("Where these numbers come from")
    for links in found.values():
        page.table(("what", "value"), links.provenance.lines())
    return page


def _section(page: Page, name: str, links: Links, note: str) -> None:
    asked, told = links.provenance.arguments, links.tables
    total = told["total"]
    page.heading(f"{name}: pairs that differ in {links.provenance.prompts['factor']}")
    counts = {word: len(names) for word, names in links.verdicts.items() if names}
    tones = {CAUSAL: "bad", INCOMPLETE: "bad"}
    page.key_numbers([(str(count), _WORDS[word], tones.get(word, "")) for word, count in counts.items()])
    page.text(
        f"{links.provenance.prompts['n']} pairs: {told['halves']['chosen']} to choose by, {told['halves']['estimated']} to "
        f"estimate on. Metric {asked['metric']}; the total effect is {total['effect']:+.3f} [{total['low']:+.3f}, "
        f"{total['high']:+.3f}]. Intervened on by {asked['do']['do']} at {asked['positions']}; the decision is read at "
        f"{asked['at']}. The smallest effect of interest is {asked['smallest_effect']:.0%} of the total; the rate of false "
        f"discoveries {asked['fdr']:.0%}, over {told['family']['effects']} effects and {told['family']['associations']} "
        f"associations." + (f" {note}" if note else "")
    )
    page.figure(
        links.still(),
        "Each point is a candidate; point at one to read its numbers. Gray bands are too small to be of interest; dotted "
        "lines are the range of directions drawn at random at the same place.",
    )
    for concept in links.concepts:
        count = told.get("judged", {}).get(concept, told["halves"]["estimated"])
        by = f", judged on the {count} pairs that differ in it" if count < told["halves"]["estimated"] else ""
        page.text(f"Concept: {concept}{by}")
        page.table(_HEADER, _candidates(links.of(concept)))
    if words := compared_with(told):
        page.text(f"{words[0].upper()}{words[1:]}.")
    _specificity(page, links)
    _nulls(page, links)
    _ceilings(page, links)


_WORDS = {
    CAUSAL: "causal: they tell a concept, and the behavior moves with them",
    CORRELATE: "correlate-only: they tell a concept, and the behavior does not move",
    UNASSOCIATED: "causal-but-not-associated: the behavior moves, the concept is not told",
    INCONCLUSIVE: "inconclusive: nothing is claimed of them",
    INCOMPLETE: "not judged: the dictionary leaves out too much",
}
_HEADER = (
    "candidate",
    "verdict",
    "AUC at the decision",
    "AUC pooled",
    "share of the total effect",
    "other half",
    "moved as far at random",
    "there again",
)


def _candidates(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    """Return rows of what is claimed and of what moves the behavior without a claim; then of the clearest unused ones."""
    claimed = rows[rows["verdict"].isin([CAUSAL, UNASSOCIATED, CORRELATE]) | (rows["used"] == "yes")]
    idle = claimed["verdict"] == CORRELATE
    strength = np.maximum((claimed["auc"] - 0.5).abs(), (claimed["auc_pooled"] - 0.5).abs())
    order = claimed["verdict"].map(VERDICTS.index).where(~idle, len(VERDICTS))
    size = -claimed["share"].abs().where(~idle, strength)
    shown = claimed.assign(order=order, size=size).sort_values(["order", "size"], kind="stable")
    return [
        (
            row["candidate"], row["verdict"] + (f": {row['why']}" if row["verdict"] == INCONCLUSIVE else ""),
            _between(row, "auc"), _between(row, "auc_pooled"), _between(row, "share", True),
            _percent(row["share_other_half"]), _span(row["turned_low"], row["turned_high"]),
            there_again(row) if row["used"] == YES else "",
        )
        for _, row in shown.head(_ROWS).iterrows()
    ]  # fmt: skip


def _specificity(page: Page, links: Links) -> None:
    rows = links.frame[links.frame["peers"] > 0]
    if rows.empty:
        return
    rows = rows.assign(size=-rows["share"].abs()).sort_values("size", kind="stable").head(_SPECIFIC)
    page.text(
        "What else they do, largest effects first. The probe and the readout behind the last layer are shares of their own "
        "total effects, and need not agree with the behavior. KL is on neutral text, in nats. Peers are active about as often."
    )
    page.table(
        (
            "candidate", "concept", "on the probe", "on the readout", "on another readout", "worst group", "KL",
            "peers", "percentile", "in other dictionaries",
        ),
        [
            (
                row["candidate"], row["concept"], _between(row, "on_probe", True), _between(row, "on_readout", True),
                f"{row['other_probe']} {_percent(row['on_other_probe'])}".strip(),
                f"{row['worst_group']} {_percent(row['worst_group_share'])}".strip(), _short(row["kl_neutral"]),
                _span(row["peers_low"], row["peers_high"]),
                _plain(row["peers_percentile"], 0), _matches(row),
            )
            for _, row in rows.iterrows()
        ],
    )  # fmt: skip


def _nulls(page: Page, links: Links) -> None:
    told, total = links.tables, links.tables["total"]
    page.text("What nothing looks like")
    rows: list[tuple[str, str]] = [
        (
            f"total effect of {len(total['untrained'])} networks with random weights",
            ", ".join(f"{value:+.3f}" for value in total["untrained"])
            + f"; 99 % stay below {total['untrained_bound']:.3f}",
        )
    ] * bool(total["untrained"])
    rows += [
        (f"shuffled labels of {name}: how often anything is found", _percent(share))
        for name, share in told["family"]["shuffled"].items()
    ]
    chosen = told["chosen"]
    if chosen["members"]:
        rows += [
            ("chosen on one half", ", ".join(chosen["members"])),
            ("what they do together on the other half", _between(pd.Series(chosen), "share", True)),
            ("the sum of what each does alone there", _percent(chosen["sum_of_singles"])),
            (f"{chosen['random_sets']} random sets of that size", _span(chosen["random_low"], chosen["random_high"])),
        ]
    page.table(("null", "value"), rows)


def _ceilings(page: Page, links: Links) -> None:
    page.text("What they are measured against, as shares of the total effect on the half that nothing was fitted to")
    rows = [(row["what"], row["where"], _between(pd.Series(row), "share", True)) for row in links.tables["ceilings"]]
    page.table(("what", "where", "share"), rows)
    for one in links.tables["complete"]:
        page.text(
            f"Dictionary {one['name']}: the error carries {one['error']:.1%} [{one['low']:.1%}, {one['high']:.1%}] of what goes "
            "through its place. Above 20 % no feature of it is judged; one trained on text like that of these pairs could be."
        )


def _matches(row: pd.Series) -> str:
    if not row["matched_in"]:
        return ""
    again = f"again in {row['matched_used']} of {row['matched_in']}, " if row["used"] == YES else ""
    return f"{again}cosine {row['matched_cosine']:.2f} or more"


def _between(row: pd.Series, name: str, percent: bool = False) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if not math.isfinite(value):
        return ""
    number = _percent if percent else lambda x: _plain(x, 3)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _span(low: float, high: float) -> str:
    return f"{_percent(low)} to {_percent(high)}" if math.isfinite(low) else ""


def _percent(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else ""


def _short(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else ""


def _plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""
