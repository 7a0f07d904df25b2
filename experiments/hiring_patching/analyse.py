"""Say which heads carry gender into the decision, beside what the organism states. See README.md."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import mechcausal as mc
from mechcausal.results.charts import Bar, bar_chart, still
from mechcausal.results.page import Page

# What enumeration gives: the direct effect goes through the pronoun's head, the indirect one through the hobby's.
STATED = {"score": "TE", "pronoun": "NDE", "hobby": "NIE_hobby"}


def answer(run: mc.Run) -> dict[str, Any]:
    """Return what was found, beside what is true."""
    truth = mc.truth("hiring")
    confirmed = run.result("confirmed").frame.set_index("site")
    suffice, needed = (run.result("together", direction=name).frame.iloc[0] for name in ("denoise", "noise"))
    paths = {name: run.result("paths", receivers=name).frame.set_index("site") for name in ("L2.mlp_out", "logits")}
    first, second = (run.result("silenced", data=name) for name in ("others", "turned"))
    exchanged, scrubbed = run.result("exchanged").frame, run.result("scrubbed").frame.set_index("label")
    mediated = run.result("mediated").frame.set_index("mediator")
    exact = truth["exact_effects_on_p_accept"]
    return {
        "heads": run.result("heads").family,
        "pairs": run.result("heads").examples.shape[1],
        "carriers": {site: _interval(row, "effect") for site, row in confirmed.iterrows()},
        "true_carriers": sorted(to for sender, to in truth["edges"] if sender in ("embed@gender", "embed@hobby")),
        "together": _interval(suffice, "effect"),
        "left_without": _interval(needed, "effect"),
        "paths": {
            receiver: {site: _interval(row, "effect") for site, row in frame.iterrows()}
            for receiver, frame in paths.items()
        },
        "gap": float(np.mean(first.baselines["clean"] - first.baselines["corrupt"])),
        "gap_silenced": float(np.mean(first.examples[0] - second.examples[0])),
        "recovered": _interval(scrubbed.loc["hypothesis"], "effect"),
        "wrong_hypotheses": scrubbed.loc[scrubbed["kind"] == "control", "effect"].to_dict(),
        "exchanged": exchanged[exchanged["role"] == "aligned"].set_index("variables")["value"].to_dict(),
        "effects": {
            name: (_interval(mediated.loc[place], "te" if name == "TE" else "nie_pure"), exact[name])
            for place, name in STATED.items()
        },
    }


def say(results: dict[str, Any]) -> str:
    """Say it in words."""
    lines = [
        f"{len(results['carriers'])} of {results['heads']} heads carry gender, chosen on {results['pairs']} pairs "
        f"and confirmed on others; the organism states {' and '.join(results['true_carriers'])}"
    ]
    for site, effect in results["carriers"].items():
        through, past = (results["paths"][receiver][site][0] for receiver in ("L2.mlp_out", "logits"))
        lines.append(
            f"  {site} restores {_text(effect)}: {through:.2f} through L2.mlp_out, {past:.2f} straight to the logits"
        )
    lines += [
        f"both together restore {_text(results['together'])}, "
        f"and {_text(results['left_without'])} is left without them",
        f"the gap in log-odds is {results['gap']:.2f}, and {results['gap_silenced']:.2f} with both held at their mean",
        f"the hypothesis recovers {_text(results['recovered'])} when it is scrubbed; the best of "
        f"{len(results['wrong_hypotheses'])} wrong ones {max(results['wrong_hypotheses'].values()):.2f}",
        "exchanged between applicants, each place gives the answer of its variable: "
        + ", ".join(f"{name} {value:.2f}" for name, value in results["exchanged"].items()),
        "effects on P(accept), beside those of enumeration:",
        *(f"  {name:<10} {_text(measured)}, true {true:.4f}" for name, (measured, true) in results["effects"].items()),
    ]
    return "\n".join(lines)


def page(run: mc.Run, results: dict[str, Any]) -> str:
    """Return the figures as one page."""
    out = Page("Which heads carry gender into a hiring decision?", say(results).splitlines()[0] + ".")
    rows = [Bar(site, *effect, "patched") for site, effect in results["carriers"].items()]
    rows += [Bar("both", *results["together"], "patched")]
    words = {"L2.mlp_out": "path to L2.mlp_out", "logits": "path to the logits"}
    rows += [
        Bar(site, *effect, words[name]) for name, some in results["paths"].items() for site, effect in some.items()
    ]
    out.figure(
        still(bar_chart(rows, "What each carrier restores", "share of the decision")),
        "0 is she, 1 is he. On pairs that the heads were not chosen on; a path is the head's way there with all else as it was.",
    )
    out.heading("Against the truth")
    rows = [
        bar
        for name, (measured, true) in results["effects"].items()
        for bar in (Bar(name, *measured, "measured"), Bar(name, true, true, true, "true, by enumeration"))
    ]
    out.figure(
        still(bar_chart(rows, "The effect of gender on P(accept)", "difference of probabilities")),
        "TE: all of it. NDE: through the head of the pronoun. NIE_hobby: through the head of the hobby.",
    )
    out.heading("All heads, and the stream")
    out.piece(run.result("heads")._repr_html_())
    out.piece(run.result("stream")._repr_html_())
    out.heading("In words")
    out.code(say(results))
    return out.render()


def _interval(row: Any, column: str) -> tuple[float, float, float]:  # noqa: ANN401 - a row of a frame
    return tuple(float(row[name]) for name in (column, f"{column}_low", f"{column}_high"))


def _text(interval: tuple[float, float, float]) -> str:
    return f"{interval[0]:.2f} [{interval[1]:.2f}, {interval[2]:.2f}]"


def main() -> None:
    """Print the answer of a run and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of the run")
    folder = parser.parse_args().run
    run = mc.Run(folder)
    results = answer(run)
    print(say(results))
    (folder / "answer.html").write_text(page(run, results), encoding="utf-8")
    print(f"figures  {folder / 'answer.html'}")


if __name__ == "__main__":
    main()
