"""The page of the tour of a real model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mechcausal.inspection import Attention, Lens
from mechcausal.results.charts import line_chart, still
from mechcausal.results.page import Page
from mechcausal.results.pictures import grids, svg
from mechcausal.results.result import Result
from mechcausal.steering import Steered


def page_of(model: str, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> Page:
    """Return the page: indirect objects, gender, lenses, steering, provenance."""
    page = Page("Inside a language model", f"A tour of {model}: {numbers['pairs']} pairs, seed {numbers['seed']}.")
    objects, gender, steering = (numbers[name] for name in ("indirect_objects", "gender", "steering"))
    best = max(steering["doses"], key=lambda row: row["change"])
    page.key_numbers(
        [
            (f"{objects['accuracy'][0]:.0%}", "of indirect objects are right", ""),
            (str(len(objects["carriers"])), "heads carry them to the end", ""),
            (gender["passes_over"] or "no layer", "is where gender passes from the occupation to the end", ""),
            (f"{best['kl']:.2f}", f"nats a token is what steering by dose {best['dose']:g} costs", "bad"),
        ]
    )
    page.text(
        "Effects are exact: the activation of one run is put into another, and everything after it is computed. 0 is the "
        "behavior of the corrupt prompt, 1 that of the clean one. Intervals are clustered by template or by noun. "
        "Nobody has written down how this model works, so there is no truth to compare with; heads that were found "
        "on some pairs are silenced on others."
    )
    _objects(page, objects, sweeps)
    _gender(page, gender, sweeps)
    _lenses(page, gender, sweeps)
    _steering(page, steering, sweeps)
    page.heading("5. Provenance")
    page.code("\n".join(f"{name:<10} {value}" for name, value in sweeps["heads"].provenance.lines()))
    return page


def _objects(page: Page, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> None:
    page.heading("1. Who receives")
    page.text(
        "'When Mary and John went to the store, John gave a drink to' is continued with ' Mary'. The corrupt prompt lets "
        f"Mary give. On {numbers['pairs_checked_on']} pairs, {_with_interval(numbers['accuracy'])} are right, with log-odds "
        f"{_with_interval(numbers['logit_diff'])}."
    )
    for name, caption in (
        ("heads", "Each head at the last token: clean into corrupt."),
        ("earlier heads", "Heads of earlier layers at the second mention of the subject."),
    ):
        if name in sweeps:
            for grid in grids(sweeps[name], "effect"):
                page.figure(svg(grid), caption)
    page.table(
        ("head", "where", "effect"),
        [
            (row["site"], where, _share(row))
            for where, key in (("end", "carriers"), ("end, against", "against"), ("second subject", "earlier"))
            for row in numbers[key]
        ],
    )
    looks = sweeps.get("attention")
    if isinstance(looks, Attention) and looks.heads:
        for grid in looks.grids()[:2]:
            page.figure(svg(grid), "Where this head attends, in the first pair or on average over pairs of one length.")
    if numbers["silenced"]:
        page.text(
            "The heads at the end are set to their mean over both sides, on other pairs than those they were found on."
        )
        page.table(
            ("metric", "before", "after", "change", "other heads of the same layers"),
            [
                (
                    row["metric"], row["before"], row["after"],
                    f"{row['change']:+.2f} [{row['change_low']:+.2f}, {row['change_high']:+.2f}]",
                    ", ".join(f"{value:+.2f}" for value in row["controls"]),
                )
                for row in numbers["silenced"]
            ],
        )  # fmt: skip
    page.table(
        ("prompt", "what it writes", "with the heads silenced"),
        [(row["prompt"], row["text"], row["silenced"]) for row in numbers["texts"]],
    )


def _gender(page: Page, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> None:
    page.heading("2. Gender, from the occupation to the pronoun")
    page.text(
        "An occupation ('The nurse said that') against 'woman' or 'man', whichever contradicts its stereotype. The total "
        f"effect on the log-odds of the pronoun is {_with_interval(numbers['total_effect'])}."
    )
    series = []
    for at, name in (("@who", "at the occupation"), ("@end", "at the end")):
        rows = [row for row in numbers["stream"] if row["at"] == at]
        points = [(k, row["used"], row["used_low"], row["used_high"]) for k, row in enumerate(rows)]
        series.append((name, points))
    page.figure(
        still(line_chart(series, "the stream after each layer", "layer", "effect of patching it")),
        f"The stream carries gender at the occupation, then at the end; it passes over at {numbers['passes_over'] or 'no layer'}.",
    )
    page.table(("sublayer at the end", "effect"), [(row["site"], _share(row)) for row in numbers["sublayers"]])
    page.table(("head at the end", "effect"), [(row["site"], _share(row)) for row in numbers["heads"]])
    for grid in grids(sweeps["gender heads"], "effect"):
        page.figure(svg(grid), "Heads of the last layers at the end.")


def _lenses(page: Page, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> None:
    page.heading("3. What a lens reads, and whether it is used")
    page.text(
        "The stream of each layer is read as if it were the last one. Readable is the difference between the sides, as a "
        "share of that of the output; used is the exact effect of patching the same cell. Where something is used before "
        "it is readable, the lens does not know how it is written; where it is readable and not used, reading says nothing "
        f"about the mechanism. The latter holds for {len(numbers['readable_not_used'])} of {len(numbers['stream'])} cells."
    )
    for name, caption in (("stream", "Indirect objects."), ("gender stream", "Gender of occupations.")):
        result = sweeps[name]
        if isinstance(result, Lens):
            for grid in result.grids():
                page.figure(svg(grid), f"{caption} {grid.title}.")
    page.text(
        "A tuned lens is fitted on half of the occupations; both lenses are compared with the output on the other half."
    )
    page.table(
        ("layer", "logit lens, nats", "tuned lens, nats", "difference"),
        [
            (row["site"], row["logit_lens"], row["tuned_lens"], f"[{row['low']:+.2f}, {row['high']:+.2f}]")
            for row in numbers["tuned"]
        ],
    )


def _steering(page: Page, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> None:
    page.heading("4. One steering vector, its dose and its damage")
    page.text(
        f"The mean difference between sentences about women and men, read at the noun, is added at {numbers['site']} to all "
        "tokens of other sentences about men. The band holds random directions of the same length; the dashed line is "
        f"the same prompt after '{numbers['ask'].strip()}'."
    )
    curve = sweeps["steering"]
    if isinstance(curve, Steered):
        page.figure(still(curve.chart()), "What each dose does to the log-odds of she against he.")
        page.figure(still(curve.cost_chart()), "What it costs on neutral text.")
    page.table(
        ("dose", "change", "random directions", "KL on neutral text", "of random directions", "loss"),
        [
            (
                f"{row['dose']:+g}", f"{row['change']:+.2f} [{row['change_low']:+.2f}, {row['change_high']:+.2f}]",
                f"[{row['random_low']:+.2f}, {row['random_high']:+.2f}]", row["kl"], row["kl_random"], f"{row['loss']:+.2f}",
            )
            for row in numbers["doses"]
        ],
    )  # fmt: skip
    page.table(
        ("dose", "prompt", "what it writes"),
        [(f"{row['dose']:g}", row["prompt"], row["text"]) for row in numbers["texts"]],
    )


def _with_interval(values: Sequence[float]) -> str:
    return f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def _share(row: Mapping[str, Any]) -> str:
    return f"{row['effect']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
