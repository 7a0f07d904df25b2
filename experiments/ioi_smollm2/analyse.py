"""Say which classes of the published GPT-2 circuit SmolLM2 has, from a run folder. See README.md."""

from __future__ import annotations

import argparse
import html
from pathlib import Path
from typing import Any

import mechcausal as mc

MOVERS = ("L23.z.H0", "L23.z.H1", "L23.z.H2", "L23.z.H7")
INHIBITION = ("L20.z.H0", "L19.z.H2")
INDUCTION, SUPPRESSOR, LATE = "L17.z.H4", "L23.z.H3", "L29.z.H1"
NEGATIVE = ("L24.z.H4", "L24.z.H5", "L29.z.H0")
# Wang et al. (2023), "Interpretability in the wild": layer.head of GPT-2 small.
GPT2 = {
    "duplicate-token heads": "0.1, 3.0 (0.10)",
    "previous-token heads": "2.2, 4.11",
    "induction heads": "5.5, 6.9 (5.8, 5.9)",
    "S-inhibition heads": "7.3, 7.9, 8.6, 8.10",
    "name movers": "9.6, 9.9, 10.0",
    "negative name movers": "10.7, 11.10",
    "backup name movers": "9.0, 9.7, 10.1, 10.2, 10.6, 10.10, 11.2, 11.9",
}
MATTERS = 0.02  # the smallest share of the behavior that counts


class Table:
    """The effects of a result by site."""

    def __init__(self, result: mc.Result, at: str | None = None) -> None:
        frame = result.frame if at is None else result.frame[result.frame["at"] == at]
        self.rows = frame.set_index("site")

    def effect(self, site: str) -> tuple[float, float, float]:
        """Return the effect of a site with its interval."""
        row = self.rows.loc[site]
        return float(row["effect"]), float(row["effect_low"]), float(row["effect_high"])

    def says(self, site: str) -> str:
        """Return the same as text."""
        return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*self.effect(site))

    def above(self, least: float = MATTERS) -> list[str]:
        """Return the sites whose whole interval is beyond zero and whose effect is at least so large, largest first."""
        kept = self.rows[(self.rows["effect_low"] > 0) & (self.rows["effect"] >= least)]
        return list(kept.sort_values("effect", ascending=False).index)

    def below(self, least: float = MATTERS) -> list[str]:
        """Return the sites that work against the behavior, largest first."""
        kept = self.rows[(self.rows["effect_high"] < 0) & (self.rows["effect"] <= -least)]
        return list(kept.sort_values("effect").index)


def answer(run: mc.Run) -> dict[str, Any]:
    """Return what the run says: the classes, the scrubbed hypothesis, and the circuits."""
    classes = _classes(run)
    return {
        "behavior": _behavior(run), "classes": classes, "not in GPT-2": _others(run),
        "scrubbed": _scrubbed(run), "circuits": _circuits(run, classes),
    }  # fmt: skip


def _behavior(run: mc.Run) -> dict[str, float]:
    measured = run.result("behavior", data="checked_on")
    return {name: measured.value(name, "clean") for name in ("accuracy", "logit_diff")}


def _classes(run: mc.Run) -> list[dict[str, Any]]:
    """Return a row for each class of GPT-2: which heads have its pattern, which of them matter, and by which measurement."""
    scores, direct = Scores(run.result("scores", data="checked_on")), Table(run.result("direct"))
    places, looks = run.result("places"), Looks(run)
    end, subject = Table(places, "@end"), Table(places, "@subject")
    into_v = Table(run.result("into_inhibition", receivers="L20.v.H0"))
    into_k = Table(run.result("into_induction"))
    reads = Table(run.result("reads", data="first_receives"))
    swapped = Table(run.result("reads", data="checked_on"))
    movers = {
        q: Table(run.result("into_movers", receivers=q)) for q in ("L23.q.H0", "L23.q.H1", "L23.q.H2", "L23.q.H7")
    }

    def row(name: str, pattern: list[str], used: list[str], evidence: str) -> dict[str, Any]:
        verdict = "yes" if used else "pattern only" if pattern else "no"
        return {
            "class": name,
            "gpt2": GPT2[name],
            "pattern": pattern,
            "used": used,
            "verdict": verdict,
            "evidence": evidence,
        }

    duplicate = scores.heads("duplicate", 0.3)
    used = [site for site in duplicate if site in into_v.above()]
    carried = ", ".join(f"{site} {into_v.says(site)}" for site in duplicate if site in into_v.rows.index)
    rows = [
        row("duplicate-token heads", duplicate, used, f"attention; path into the values of L20.z.H0: {carried}"),
    ]
    previous = scores.heads("previous", 0.3, tokens=False)
    used = [site for site in previous if site in into_k.above()]
    carried = ", ".join(f"{site} {into_k.says(site)}" for site in into_k.above() or previous[:1])
    rows.append(
        row(
            "previous-token heads", previous, used,
            f"attention; path into the keys of {INDUCTION}: {carried}, where the keys carry {reads.says('L17.k.H1')}",
        )
    )  # fmt: skip
    induction = scores.heads("induction", 0.3)
    used = [site for site in induction if site in into_v.above() and site in subject.above()]
    rows.append(
        row(
            "induction heads", induction, used,
            f"attention; at the second mention {subject.says(INDUCTION)}; path into the values of L20.z.H0 {into_v.says(INDUCTION)}",
        )
    )  # fmt: skip
    watching = [site for site in looks.heads("subject", 0.3) if site not in direct.above()]
    used = [site for site in watching if any(site in table.above() for table in movers.values())]
    paths = ", ".join(f"{q} {table.says('L20.z.H0')}" for q, table in movers.items())
    rows.append(
        row(
            "S-inhibition heads", watching, used,
            f"attention from the end to the second mention; paths of L20.z.H0 into queries: {paths}",
        )
    )  # fmt: skip
    copying = [site for site in looks.receiver_heads() if scores.of(site, "copying") >= 0.7]
    used = [site for site in copying if site in direct.above()]
    rows.append(
        row(
            "name movers", copying, used,
            "attention, copying; direct to the logits "
            + ", ".join(f"{site} {direct.says(site)}, query {swapped.says(site.replace('z', 'q'))}" for site in used),
        )
    )  # fmt: skip
    against = [site for site in direct.below() if site in looks.receiver_heads() and scores.of(site, "copying") <= 0.3]
    rows.append(
        row(
            "negative name movers", against, against,
            "attention, copying below one half; direct to the logits "
            + ", ".join(f"{site} {direct.says(site)}" for site in against)
            + "; without a name's pattern " + ", ".join(f"{s} {direct.says(s)}" for s in direct.below() if s not in against),
        )
    )  # fmt: skip
    rows.append(_backups(run, end))
    return rows


def _backups(run: mc.Run, end: Table) -> dict[str, Any]:
    """Return whether heads do more once the name movers are silent."""
    silenced = run.result("backups").frame.set_index("site")["change"]
    joint = " + ".join(MOVERS)
    stepping_in, sentences = [], []
    for site in silenced.index:
        if " + " in site:
            continue
        alone, with_movers = silenced[site], silenced[f"{joint} + {site}"] - silenced[joint]
        sentences.append(f"{site} {alone:+.2f} alone, {with_movers:+.2f} once the name movers are silent")
        if with_movers < alone - 0.1:
            stepping_in.append(site)
    verdict = "yes" if stepping_in else "none of those tried"
    evidence = "log-odds lost by ablation: " + "; ".join(sentences) + f"; the name movers {silenced[joint]:+.2f}"
    return {
        "class": "backup name movers", "gpt2": GPT2["backup name movers"], "pattern": [], "used": stepping_in,
        "verdict": verdict, "evidence": evidence,
    }  # fmt: skip


def _others(run: mc.Run) -> list[dict[str, Any]]:
    """Return the heads that matter and are of no published class."""
    direct, looks = Table(run.result("direct")), Looks(run)
    swapped, scores = Table(run.result("reads", data="checked_on")), Scores(run.result("scores", data="checked_on"))
    rows = []
    for site, kv, name in ((SUPPRESSOR, "L23.v.H1", "suppressor of the giver"), (LATE, "L29.v.H0", "late amplifier")):
        rows.append(
            {
                "class": name, "site": site, "direct": direct.effect(site),
                "looks at the giver": looks.at(site, "subject"), "copying": scores.of(site, "copying"),
                "by its query": swapped.effect(site.replace("z", "q")), "by its values": swapped.effect(kv),
            }
        )  # fmt: skip
    return rows


class Scores:
    """The scores of heads by their attention."""

    def __init__(self, result: mc.Result) -> None:
        frame = result.frame.assign(head_site=result.frame["site"].str.replace("pattern", "z"))
        self.frame = frame

    def of(self, site: str, score: str) -> float:
        """Return one score of one head."""
        rows = self.frame[(self.frame["head_site"] == site) & (self.frame["score"] == score)]
        return float(rows["value"].iloc[0])

    def heads(self, score: str, least: float, tokens: bool = True) -> list[str]:
        """Return the heads that score so much, largest first; with `tokens` they must lose half of it in shuffled text."""
        rows = self.frame[(self.frame["score"] == score) & (self.frame["value"] >= least)]
        rows = rows[rows["shuffled"] <= rows["value"] / 2] if tokens else rows
        return list(rows.sort_values("value", ascending=False)["head_site"])


class Looks:
    """Where the heads that were chosen look from the last token, in stories of both orders."""

    def __init__(self, run: mc.Run) -> None:
        self.rows = {}
        for order in ("first", "second"):
            seen = run.result("looks", data=f"{order}_receives")
            for head in seen.heads:
                row = seen.pattern(head).iloc[-1]
                names = {label.split()[-1]: float(weight) for label, weight in row.items()}
                weights = {"subject": names["subject"], "receiver": names[order]}
                weights["giver"] = names["second" if order == "first" else "first"]
                self.rows.setdefault(head.replace("pattern", "z"), []).append(weights)

    def at(self, site: str, where: str) -> float:
        """Return the attention to a place, the mean of both orders."""
        return sum(row[where] for row in self.rows[site]) / 2

    def heads(self, where: str, least: float) -> list[str]:
        """Return the heads that look there so much in both orders."""
        return [site for site, rows in self.rows.items() if all(row[where] >= least for row in rows)]

    def receiver_heads(self) -> list[str]:
        """Return the heads that look more at the receiver than at the first mention of the giver: on average, and by twice."""
        return [site for site in self.rows if self.at(site, "receiver") > max(0.1, 1.5 * self.at(site, "giver"))]


def _scrubbed(run: mc.Run) -> dict[str, Any]:
    scrubbed = run.result("scrubbed")
    recovered = scrubbed.recovered
    row = scrubbed.frame[scrubbed.frame["kind"] == "hypothesis"].iloc[0]
    return {
        "recovered": (recovered.estimate, recovered.low, recovered.high), "same answer": float(row["agreement"]),
        "culprit": scrubbed.culprit,
        "controls": {str(row["node"]): float(row["effect"]) for _, row in scrubbed.controls.iterrows()},
    }  # fmt: skip


def _circuits(run: mc.Run, classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what EAP-IG's circuit keeps, its rival, and which of the heads of the classes it holds."""
    circuit, judged, again = run.result("circuit"), run.result("judged", data="judged_on"), run.result("rival")
    senders = {str(edge[0].site) for edge in circuit.edges}
    named = list(dict.fromkeys([site for row in classes for site in row["used"]] + [SUPPRESSOR, LATE, *NEGATIVE]))
    kept = judged.faithfulness
    return {
        "edges": len(circuit), "faithfulness": (kept.estimate, kept.low, kept.high), "random": judged.of_random,
        "rival": again.rival, "of the search": again.faithfulness, "by chance": again.by_chance,
        "halves": again.between_halves.estimate, "other method": again.overlap_with("method"),
        "named heads": named, "in the circuit": [site for site in named if site in senders],
    }  # fmt: skip


def text(results: dict[str, Any]) -> str:
    """Say the answer."""
    lines = ["accuracy {accuracy:.2f}, log-odds {logit_diff:.2f}".format(**results["behavior"]), ""]
    lines += [
        "| class (Wang et al. 2023) | in GPT-2 small | in SmolLM2 | heads | measured by |",
        "|---|---|---|---|---|",
    ]
    for row in results["classes"]:
        heads = ", ".join(row["used"] or row["pattern"]) or "none"
        lines.append(f"| {row['class']} | {row['gpt2']} | {row['verdict']} | {heads} | {row['evidence']} |")
    lines.append("")
    for row in results["not in GPT-2"]:
        lines.append(
            f"not published: {row['site']} ({row['class']}): direct {row['direct'][0]:+.2f}, looks at the giver "
            f"{row['looks at the giver']:.2f}, copying {row['copying']:.2f}, by its query {row['by its query'][0]:+.2f}, "
            f"by its values {row['by its values'][0]:+.2f}"
        )
    scrubbed, circuits = results["scrubbed"], results["circuits"]
    lines.append(
        "the hypothesis, scrubbed, recovers {:.0%} [{:.0%}, {:.0%}] of the log-odds".format(*scrubbed["recovered"])
        + f" and {scrubbed['same answer']:.0%} of the answers; controls: "
        + ", ".join(f"{name} {effect:.0%}" for name, effect in scrubbed["controls"].items())
    )
    lines.append(
        f"EAP-IG's {circuits['edges']} edges keep "
        + "{:.0%} [{:.0%}, {:.0%}]".format(*circuits["faithfulness"])
        + f" on other pairs, the best rival without any of them {circuits['rival']:.0%}; "
        f"they hold {len(circuits['in the circuit'])} of the {len(circuits['named heads'])} heads named here"
    )
    return "\n".join(lines)


def figure(run: mc.Run) -> str:
    """Draw the circuit: heads by token and layer, with the effect of each path that was measured."""
    direct = Table(run.result("direct"))
    into_v, into_k = Table(run.result("into_inhibition", receivers="L20.v.H0")), Table(run.result("into_induction"))
    into_q, negative = Table(run.result("into_movers", receivers="L23.q.H0")), Table(run.result("into_negative"))
    nodes = {
        "previous": (250, 55, "L16.z.H0", "previous token"), "induction": (370, 130, INDUCTION, "induction"),
        "inhibition": (490, 270, "L20.z.H0", "S-inhibition"), "movers": (640, 270, "L23.z.H0 ...", "name movers"),
        "suppressor": (640, 350, SUPPRESSOR, "suppressor"), "negative": (800, 205, "L24.z.H4", "negative"),
        "late": (800, 420, LATE, "late"), "logits": (940, 300, "logits", ""),
    }  # fmt: skip
    total = sum(direct.effect(site)[0] for site in MOVERS)
    edges = [
        ("previous", "induction", "k", into_k.effect("L16.z.H0")[0]),
        ("induction", "inhibition", "v", into_v.effect(INDUCTION)[0]),
        ("inhibition", "movers", "q", into_q.effect("L20.z.H0")[0]),
        ("movers", "negative", "q", negative.effect("L23.z.H0")[0]),
        ("suppressor", "negative", "q", negative.effect(SUPPRESSOR)[0]),
        ("movers", "logits", "", total), ("suppressor", "logits", "", direct.effect(SUPPRESSOR)[0]),
        ("negative", "logits", "", direct.effect("L24.z.H4")[0]), ("late", "logits", "", direct.effect(LATE)[0]),
    ]  # fmt: skip
    parts = [f'<path d="M10 {y}H990" stroke="#ccc" stroke-dasharray="4"/>' for y in (92, 168)]
    for label, y in (("behind the first mention", 55), ("at the second mention", 130), ("at the last word", 270)):
        parts.append(f'<text x="10" y="{y + 4}">{label}</text>')
    for start, stop, kind, effect in edges:
        (x, y, *_), (to_x, to_y, *_) = nodes[start], nodes[stop]
        color = "#2166ac" if effect > 0 else "#b2182b"
        wide = 1 + 8 * min(1.0, abs(effect))
        parts.append(
            f'<path d="M{x + 46} {y}L{to_x - 46} {to_y}" stroke="{color}" stroke-width="{wide:.1f}" opacity=".75"/>'
            f'<text x="{(x + to_x) / 2:.0f}" y="{(y + to_y) / 2 - 8:.0f}" text-anchor="middle">{kind} {effect:+.2f}</text>'
        )
    for x, y, site, role in nodes.values():
        parts.append(
            f'<rect x="{x - 46}" y="{y - 18}" width="92" height="36" rx="6" fill="#f2f2f2" stroke="#888"/>'
            f'<text x="{x}" y="{y - 2 if role else y + 4}" text-anchor="middle" fill="#111">{html.escape(site)}</text>'
            f'<text x="{x}" y="{y + 12}" text-anchor="middle" fill="#111" font-size="10">{role}</text>'
        )
    words = "Heads of SmolLM2 that find the indirect object, and the share of the behavior along each path that was measured"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 1000 450" width="1000" height="450" '
        f'style="font:12px system-ui,sans-serif;background:#fff"><title>{words}</title>{"".join(parts)}</svg>'
    )


def main() -> None:
    """Read the command line, print the answer, and write the figure into the run folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder that mechcausal run wrote")
    run = mc.Run(parser.parse_args().run)
    print(text(answer(run)))
    path = Path(run.folder) / "circuit.svg"
    path.write_text(figure(run), encoding="utf-8")
    print(f"figure  {path}")


if __name__ == "__main__":
    main()
