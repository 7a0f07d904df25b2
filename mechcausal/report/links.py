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
from mechcausal.links.result import Links, compared_with, replicated_in
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE, INCONCLUSIVE, UNASSOCIATED, VERDICTS, YES
from mechcausal.results.page import Page
from mechcausal.results.storage import replacing

_ROWS, _SPECIFIC = 24, 12
_READ = (
    "Available: the chance that a prompt with the concept reads higher than one without (AUC), measured on one half of the "
    "pairs. Used: the effect of intervening on the candidate alone, as a share of the effect of changing the whole prompt, "
    "measured on the other half. Causal: available and used. Correlate-only: available, and the effect is known to be "
    "smaller than the smallest effect of interest, which was set beforehand. Inconclusive: neither could be shown, or the "
    "effect is no larger than that of random directions, or the total effect no larger than in networks with random weights."
)


def write_links(
    results: Mapping[str, Links],
    path: Path,
    *,
    title: str,
    notes: Mapping[str, str] | None = None,
    cards: Mapping[str, Sequence[Card]] | None = None,
) -> Path:
    """Write the page and the JSON beside it, each atomically; return the path of the JSON.

    Args:
        results: The links by the name of their question.
        path: The page.
        title: The title.
        notes: A sentence on a question, or why it was not run.
        cards: The cards of features that stand below a question.
    """
    data = path.with_suffix(".json")
    numbers = {name: _numbers(links) for name, links in results.items()}
    for target, text in (
        (data, json.dumps(numbers, indent=1)),
        (path, _page(results, title, notes or {}, cards or {}).render()),
    ):
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return data


def _numbers(links: Links) -> dict[str, Any]:
    """Return all numbers as JSON data; unknown ones are null."""
    return {
        "rows": json.loads(str(links.frame.to_json(orient="records"))),
        **_jsonable(links.tables),
        "provenance": json.loads(links.provenance.to_json()),
    }


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - JSON data
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(
    results: Mapping[str, Links], title: str, notes: Mapping[str, str], cards: Mapping[str, Sequence[Card]]
) -> Page:
    first = next(iter(results.values()))
    page = Page(title, f"{first.provenance.model['name']}, weights {first.provenance.model['weights']}.")
    page.text(_READ)
    for name, links in results.items():
        _section(page, name, links, notes.get(name, ""))
        for card in cards.get(name, ()):
            page.piece(card.html())
    for name in [name for name in notes if name not in results]:
        page.heading(name)
        page.text(notes[name])
    page.heading("Provenance")
    for links in results.values():
        page.table(("what", "value"), links.provenance.lines())
    return page


def _section(page: Page, name: str, links: Links, note: str) -> None:
    asked, tables = links.provenance.arguments, links.tables
    total, halves, family = tables["total"], tables["halves"], tables["family"]
    page.heading(f"{name}: pairs that differ in {links.provenance.prompts['factor']}")
    counts = {word: len(names) for word, names in links.verdicts.items() if names}
    tones = {CAUSAL: "bad", INCOMPLETE: "bad"}
    page.key_numbers([(str(count), _WORDS[word], tones.get(word, "")) for word, count in counts.items()])
    page.text(
        f"{links.provenance.prompts['n']} pairs: candidates are chosen on {halves['chosen']} and effects estimated on the "
        f"other {halves['estimated']}. Metric: {asked['metric']}. Total effect: {total['effect']:+.3f} "
        f"[{total['low']:+.3f}, {total['high']:+.3f}]. Intervention: {asked['do']['do']} at {asked['at']} "
        f"({asked['direction']}); concepts are read at {asked['read_at']}. Smallest effect of interest: "
        f"{asked['smallest_effect']:.0%} of the total. False-discovery rate: {asked['fdr']:.0%}, over {family['effects']} "
        f"effects and {family['associations']} associations."
    )
    for sentence in filter(None, (tables.get("fixed"), note)):
        page.text(f"{sentence.rstrip('.')}.")
    page.figure(
        links.still(),
        "Each point is a candidate; hover over it to read its numbers. Gray bands: too small to be of interest. Dotted "
        "lines: the range of random directions at the same place.",
    )
    for concept in links.concepts:
        count = tables.get("judged", {}).get(concept, halves["estimated"])
        by = f", judged on the {count} pairs that differ in it" if count < halves["estimated"] else ""
        page.text(f"Concept: {concept}{by}")
        page.table(_HEADER, _candidates(links.of(concept)))
    if words := compared_with(tables):
        page.text(f"{words[0].upper()}{words[1:]}.")
    _specificity(page, links)
    _nulls(page, links)
    _ceilings(page, links)


_WORDS = {
    CAUSAL: "causal: available and used",
    CORRELATE: "correlate-only: available and not used",
    UNASSOCIATED: "causal-but-not-associated: used and not available",
    INCONCLUSIVE: "inconclusive: no claim",
    INCOMPLETE: "not judged: the dictionary's error is too large",
}
_HEADER = (
    "candidate",
    "verdict",
    "AUC where it is read",
    "AUC pooled",
    "share of the total effect",
    "share on the other half",
    "random, same size",
    "replicated in",
)


def _candidates(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    """Return rows of claims and of other used candidates by effect, then of unused candidates by association."""
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
            replicated_in(row) if row["used"] == YES else "",
        )
        for _, row in shown.head(_ROWS).iterrows()
    ]  # fmt: skip


def _specificity(page: Page, links: Links) -> None:
    rows = links.frame[links.frame["peers"] > 0]
    if rows.empty:
        return
    rows = rows.assign(size=-rows["share"].abs()).sort_values("size", kind="stable").head(_SPECIFIC)
    page.text(
        "Specificity, largest effects first. Effects on the probe and on the readout after the last layer are shares of their "
        "own total effects, and need not agree with the behavior. KL is on neutral text, in nats. Peers are candidates of the "
        "same kind that are active about as often."
    )
    page.table(
        (
            "candidate", "concept", "on the probe", "on the readout", "on another readout", "worst group", "KL",
            "peers", "percentile among peers", "in other dictionaries",
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
    tables, total = links.tables, links.tables["total"]
    page.text(f"Null distributions. {total['sentence'][0].upper()}{total['sentence'][1:]}.")
    rows: list[tuple[str, str]] = []
    for name, words in (("raw", "in units of the metric"), ("relative", "over the spread of the metric")):
        scale = total[name]
        if scale["networks"]:
            values = ", ".join(f"{value:+.2f}" for value in scale["networks"])
            rows.append((f"total effect {words}: this model", f"{scale['effect']:+.2f}; bound {scale['bound']:.2f}"))
            rows.append((f"the same in {len(scale['networks'])} networks with redrawn weights", values))
    rows += [
        (f"shuffled labels of {name}: share of shuffles with any discovery", _percent(share))
        for name, share in tables["family"]["shuffled"].items()
    ]
    chosen = tables["chosen"]
    if chosen["members"]:
        rows += [
            ("set chosen on one half", ", ".join(chosen["members"])),
            ("its joint effect on the other half", _between(pd.Series(chosen), "share", True)),
            ("sum of the single effects there", _percent(chosen["sum_of_singles"])),
            (f"{chosen['random_sets']} random sets of that size", _span(chosen["random_low"], chosen["random_high"])),
        ]
    page.table(("quantity", "value"), rows)


def _ceilings(page: Page, links: Links) -> None:
    page.text("Reference effects, as shares of the total effect on the half that nothing was fitted to.")
    rows = [(row["what"], row["where"], _between(pd.Series(row), "share", True)) for row in links.tables["ceilings"]]
    page.table(("intervention", "where", "share"), rows)
    for dictionary in links.tables["complete"]:
        page.text(
            f"Dictionary {dictionary['name']}: its error carries {dictionary['error']:.1%} [{dictionary['low']:.1%}, "
            f"{dictionary['high']:.1%}] of the effect that passes its place. Above 20 % no feature is judged; a dictionary "
            "trained on text like that of these pairs may be better."
        )


def _matches(row: pd.Series) -> str:
    if not row["matched_in"]:
        return ""
    replicated = f"replicated in {row['matched_used']} of {row['matched_in']}, " if row["used"] == YES else ""
    return f"{replicated}cosine at least {row['matched_cosine']:.2f}"


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
