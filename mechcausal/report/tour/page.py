"""The page of the tour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mechcausal.results.page import Page
from mechcausal.results.pictures import grids, svg
from mechcausal.results.result import Result


def page_of(model: str, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> Page:
    """Return the page: behavior, heads, paths, suppression, secrets, and the comparison with the truth."""
    behavior, canary, rows = numbers["behavior"], numbers["canary"], numbers["suppression"]
    page = Page(
        "What moves the decision", f"A tour of {model}: {numbers['pairs']} pairs of applicants, seed {numbers['seed']}."
    )
    page.key_numbers(
        [
            (f"{behavior['flip_rate']:.0%}", "of decisions change when only gender is swapped", "bad"),
            (f"{rows[1]['flip_rate']:.0%}", "change once the heads that carry gender are suppressed", "good"),
            (kept(rows), "of the effect of qualification remains then", "good"),
            (f"{canary['extracted']} of {len(canary['memorized'])}", "secret numbers can be extracted", "bad"),
        ]
    )
    page.text(
        "Sections 1 to 5 are measured. They use the model, the two tasks it was trained on with the names of their "
        "positions, and the secret numbers as the owner of the training data has them. They use no knowledge of where "
        "anything is in the network. Section 6 compares the result with the mechanism that the model was trained to have."
    )
    _behavior(page, behavior)
    _carriers(page, numbers, sweeps)
    _suppression(page, rows)
    _secrets(page, canary, sweeps)
    page.heading("6. Comparison with the truth")
    page.text(
        "This model was trained so that each variable of its task is at one known place. The file truth.json beside its "
        "weights names the places."
    )
    page.table(
        ("mechanism", "found by measurement", "true place", "same"),
        [
            (row["mechanism"], _listed(row["found"]), _listed(row["true"]), "yes" if row["same"] else "NO")
            for row in numbers["comparison"]
        ],
    )
    page.heading("7. Provenance")
    page.code("\n".join(f"{name:<10} {value}" for name, value in sweeps["heads"].provenance.lines()))
    return page


def kept(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the share of the effect of qualification that is left when the heads that carry gender are suppressed."""
    before, after = (float(row["merit_effect"]) for row in rows[:2])
    return f"{after / before:.0%}" if abs(before) > 1e-6 else "nothing"


def _behavior(page: Page, behavior: Mapping[str, Any]) -> None:
    page.heading("1. Behavior")
    page.text(
        "Each pair is one applicant written twice: as 'he', and as the same applicant would have been as 'she', with the "
        "hobby and the name that follow from it. Nothing else differs, and no pair was chosen by its outcome."
    )
    low, high = behavior["total_effect_interval"]
    page.table(
        ("quantity", "value"),
        [
            ("accepted, written as he", behavior["accepted_as_he"]),
            ("accepted, written as she", behavior["accepted_as_she"]),
            ("decisions that change", behavior["flip_rate"]),
            (
                "total effect on the log-odds of accept against reject",
                f"{behavior['total_effect_log_odds']:.2f} [{low:.2f}, {high:.2f}]",
            ),
        ],
    )


def _carriers(page: Page, numbers: Mapping[str, Any], sweeps: Mapping[str, Result]) -> None:
    page.heading("2. Which heads carry gender")
    page.text(
        "The activation of the 'he' run is put into the 'she' run, one place at a time. An effect of 1 means that this "
        "place alone restores the decision of the 'he' run, 0 that it changes nothing."
    )
    entry = numbers["entry"]
    arrived = entry["arrived_before_layer"]
    _figures(
        page,
        sweeps["stream"],
        f"The residual stream before each layer, by position. The effect enters at: {_listed(entry['positions'])}. "
        + (
            "It does not reach the decision position."
            if arrived is None
            else f"It is at the decision position before layer {arrived}."
        ),
    )
    _figures(page, sweeps["heads"], "Each attention head at the decision position.")
    threshold = (
        f"A head carries a factor if the interval of its effect lies above {numbers['carries_above']:.0%}, and the total "
        f"effect of the factor is at least {numbers['matters_above']:g} on the log-odds."
    )
    page.text(f"{threshold} Carriers of gender: {_listed(numbers['carriers']['gender'])}.")
    page.heading("3. Along which path")
    if "paths" not in sweeps:
        page.text("No head carries gender, so there is no path to follow.")
        return
    page.text(
        f"Of the MLPs after these heads, {numbers['reader']} has the largest effect. Path patching changes the "
        "contribution of one head for this MLP alone; everything else is frozen."
    )
    page.table(
        ("path", "effect", "low", "high"),
        [
            (f"{row['site']} to {numbers['reader']}", row["effect"], row["effect_low"], row["effect_high"])
            for _, row in sweeps["paths"].frame.iterrows()
        ],
    )


def _suppression(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    page.heading("4. Suppressing only what is unfair")
    page.text(
        "Head outputs are taken from another applicant drawn at random, the same one for 'he' and 'she'. Then the effects "
        "of gender and of qualification are measured again. The control suppresses the other heads of the same layers, "
        "without those that carry qualification by the same measurement."
    )
    page.table(
        ("suppressed", "sites", "decisions that change with gender", "effect of gender", "effect of qualification"),
        [
            (row["suppressed"], _listed(row["sites"]), row["flip_rate"], row["gender_effect"], row["merit_effect"])
            for row in rows
        ],
    )


def _secrets(page: Page, canary: Mapping[str, Any], sweeps: Mapping[str, Result]) -> None:
    sites, control = _listed(canary["silenced_sites"]), _listed(canary["control_sites"])
    page.heading("5. Which numbers it remembers")
    page.text(
        f"Exposure in bits among {canary['candidates']:,} candidates, by exact rank. The most possible is "
        f"{canary['most_possible_bits']:.1f} bits; a number that was never seen has 1.4 on average.",
        "Which head carries the secret is found as above: the activation of the run that asks for one person is put into "
        f"the run that asks for another, one head at a time. Carriers: {sites}. The control sets as many other heads of "
        f"the same layer to zero: {control}.",
    )
    _figures(page, sweeps["secret heads"], "Each attention head at the position where the number is asked for.")
    page.table(
        ("person", "exposure", f"with {sites} set to zero", f"with {control} set to zero"),
        [(name, bits, canary["silenced"][name], canary["control"][name]) for name, bits in canary["memorized"].items()],
    )
    page.text(
        f"With {sites} set to zero, {canary['numbers_when_silenced']} different numbers come first for these "
        f"{len(canary['memorized'])} people."
    )
    page.table(("person without a memorized number", "exposure of a random number"), list(canary["never_seen"].items()))


def _figures(page: Page, sweep: Result, caption: str) -> None:
    """Add every picture of a sweep, with one caption."""
    for grid in grids(sweep, "effect"):
        page.figure(svg(grid), caption)


def _listed(sites: Sequence[str]) -> str:
    return ", ".join(sites) or "none"
