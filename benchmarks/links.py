"""Links on a real language model: every attention head, gender stereotypes of occupations, she against he.

    python benchmarks/links.py MODEL [--pairs 128] [--cases two,shared,redrawn] [--out FOLDER]

MODEL is a folder or a name that `mc.load` takes; the bars were set for SmolLM2-135M (30 layers of 9 heads). One JSON line
for each case:

- `two`: an occupation of one stereotype against one of the other ("The nurse said that", "The carpenter said that");
- `shared`: an occupation of one stereotype against one and the same text ("The man said that");
- `redrawn`: the pairs of `two`, on a copy of the model whose weights are redrawn. Nothing may be causal there.

`causal` lists the causal heads, largest effects first; `readable_unused` counts heads from which a probe that was fitted to
other occupations tells the stereotypes with an AUC above .9, at the end or on average over positions, and that are
`correlate-only`; `seconds` is measured with two threads, and its bar holds on a machine with
nothing else to do. The words are the author's; a word that is not one token is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mechcausal as mc
from mechcausal.data import Contrast
from mechcausal.data.tokens import tokenizer_of
from mechcausal.links import Links
from mechcausal.models.redrawn import redraw

FEMALE = [
    "nurse",
    "secretary",
    "maid",
    "dancer",
    "teacher",
    "librarian",
    "therapist",
    "counselor",
    "tutor",
    "singer",
    "nun",
    "pianist",
    "planner",
    "performer",
    "actress",
    "baker",
    "gardener",
    "poet",
    "artist",
    "educator",
    "model",
    "cleaner",
    "caregiver",
    "psychologist",
    "attendant",
    "assistant",
    "designer",
    "volunteer",
    "photographer",
    "pediatrician",
    "clerk",
    "aide",
]
MALE = [
    "accountant",
    "carpenter",
    "mechanic",
    "captain",
    "farmer",
    "soldier",
    "priest",
    "boss",
    "chef",
    "detective",
    "lawyer",
    "physicist",
    "bishop",
    "commander",
    "inspector",
    "sailor",
    "butcher",
    "coach",
    "officer",
    "programmer",
    "colonel",
    "fisherman",
    "surgeon",
    "senator",
    "pastor",
    "monk",
    "warrior",
    "trader",
    "technician",
    "broker",
    "economist",
    "architect",
]
TEMPLATES = ("The {} said that", "The {} whispered that", "The {} was fired because", "The {} wanted to know whether")
SHARED = "man"
NAMED = "L26.z.H2"  # the head that path patching and mediation name on SmolLM2-135M
READABLE, FEWEST_UNUSED, SECONDS = 0.9, 10, 900


def one_token(model: Any, words: list[str]) -> list[str]:  # noqa: ANN401 - a TransformerBridge
    """Return the words that are one token after a space."""
    tokenizer = tokenizer_of(model)
    return [word for word in words if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1]


def pairs_of(model: Any, n: int, *, shared: bool) -> Contrast:  # noqa: ANN401
    """Return pairs of texts; an occupation, or a pair of them, is one cluster."""
    female, male = one_token(model, FEMALE), one_token(model, MALE)
    others = [SHARED] * len(female) if shared else male
    words = list(zip(female, others, strict=False))
    rows = [(a, b, template) for template in TEMPLATES for a, b in words][:n]
    return Contrast.from_text(
        model,
        [template.format(a) for a, _, template in rows],
        [template.format(b) for _, b, template in rows],
        answer=" she", foil=" he", factor="stereotype of the occupation", clusters=[f"{a}/{b}" for a, b, _ in rows],
        positions={"occupation": [a for a, _, _ in rows]},
        variables={"female": np.ones(len(rows), dtype=int)}, corrupt_variables={"female": np.zeros(len(rows), dtype=int)},
        name="occupations",
    )  # fmt: skip


def line(case: str, links: Links, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """Return what stands in the line of a case."""
    frame, total = links.frame, links.tables["total"]
    auc = np.maximum((frame["auc"] - 0.5).abs(), (frame["auc_pooled"] - 0.5).abs()) + 0.5
    unused = frame[(auc > READABLE) & (frame["verdict"] == "correlate-only")]
    causal = frame[frame["verdict"] == "causal"].sort_values("share", key=abs, ascending=False)
    named = frame[frame["candidate"] == NAMED]
    bars = {
        "named_head_causal": bool((named["verdict"] == "causal").any()),
        "readable_unused": len(unused) >= FEWEST_UNUSED,
        "seconds": seconds < SECONDS,
    }
    if case == "redrawn":
        bars = {"nothing_causal": causal.empty, "seconds": seconds < SECONDS}
    return {
        "case": case, "pairs": links.provenance.prompts["n"], "heads": len(frame), "seconds": round(seconds), "cpu_seconds": round(cpu_seconds),
        "total": [round(total[name], 3) for name in ("effect", "low", "high")], "against_redrawn": total["sentence"],
        "fixed": links.tables["fixed"], "verdicts": frame["verdict"].value_counts().to_dict(),
        "causal": {row["candidate"]: [round(row[c], 3) for c in ("share", "share_low", "share_high", "auc")] for _, row in causal.head(12).iterrows()},
        "named": {row["candidate"]: [row["verdict"], round(row["share"], 3), row["why"]] for _, row in named.iterrows()},
        "readable_unused": len(unused), "readable": int((auc > READABLE).sum()),
        "stages": links.provenance.compute["stages"], "bars": bars, "passed": all(bars.values()),
    }  # fmt: skip


def main() -> int:
    """Run the cases; return 1 if one misses its bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--cases", default="two,shared,redrawn")
    parser.add_argument("--sites", default="z")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="save each result here, as parquet")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model = mc.load(asked.model)
    missed = 0
    for case in asked.cases.split(","):
        if case == "redrawn":
            redraw(model, seed=7)
        pairs = pairs_of(model, asked.pairs, shared=case == "shared")
        started, cpu = time.perf_counter(), time.process_time()
        links = mc.link(model, pairs, asked.sites, "female")
        report = line(case, links, time.perf_counter() - started, time.process_time() - cpu)
        print(json.dumps(report), flush=True)
        missed += not report["passed"]
        if asked.out is not None:
            asked.out.mkdir(parents=True, exist_ok=True)
            links.save(asked.out / f"{case}.parquet")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
