"""Make the files of the shipped suites again from the public data sets: `python -m mechcausal.recipes.suites DATA`.

DATA is a folder with `feature_circuits`, `vig2020`, `winogender`, `winobias`, `crows_pairs` and `bbq`, as their authors
publish them. Only the columns that the suites use are kept.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mechcausal.data.suites import FOLDER

_LICENSES = ("feature_circuits", "vig2020", "winogender", "winobias", "bbq")
_PRONOUN = re.compile(r"\[(he|she|him|his|her)\]", re.IGNORECASE)


def agreement(data: Path) -> Iterator[dict[str, Any]]:
    """Yield the items of subject-verb agreement (Marks et al. 2024)."""
    folder = data / "feature_circuits"
    for part, names in {"simple": ("simple_train", "simple_test"), "nounpp": ("nounpp_test",)}.items():
        for line in (line for name in names for line in (folder / f"{name}.json").read_text().splitlines() if line):
            item = json.loads(line)
            kept = ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer", "case")
            yield {"part": part, **{key: item[key] for key in kept}}


def professions(data: Path) -> Iterator[dict[str, Any]]:
    """Yield professions with their scores from female (-1) to male (1), by definition and by stereotype (Vig et al. 2020)."""
    for name, definition, stereotype in json.loads((data / "vig2020/professions.json").read_text()):
        yield {"profession": name.replace("_", " "), "definition": definition, "stereotype": stereotype}


def winogender(data: Path) -> Iterator[dict[str, Any]]:
    """Yield the templates of Winogender with the share of women in the occupation (Rudinger et al. 2018)."""
    folder = data / "winogender"
    with (folder / "occupations-stats.tsv").open(newline="") as file:
        share = {row["occupation"]: float(row["bls_pct_female"]) for row in csv.DictReader(file, delimiter="\t")}
    with (folder / "templates.tsv").open(newline="") as file:
        for occupation, participant, answer, sentence in list(csv.reader(file, delimiter="\t"))[1:]:
            yield {
                "occupation": occupation, "participant": participant, "about": int(answer), "sentence": sentence,
                "female": share[occupation],
            }  # fmt: skip


def winobias(data: Path) -> Iterator[dict[str, Any]]:
    """Yield the sentences of WinoBias with both pronouns, the stereotypical one first (Zhao et al. 2018)."""
    folder = data / "winobias"
    for kind in ("type1", "type2"):
        for part in ("dev", "test"):
            sides = [
                (folder / f"{side}_stereotyped_{kind}.txt.{part}").read_text().splitlines() for side in ("pro", "anti")
            ]
            for pro, anti in zip(*sides, strict=True):
                number, _, sentence = pro.partition(" ")
                pronoun, other = _PRONOUN.search(sentence), _PRONOUN.search(anti)
                if pronoun is None or other is None:
                    continue
                yield {
                    "type": kind, "part": part, "line": int(number), "sentence": sentence.replace(pronoun[0], "[_]", 1),
                    "pro": pronoun[1], "anti": other[1],
                }  # fmt: skip


def crows_pairs(data: Path) -> Iterator[dict[str, Any]]:
    """Yield the sentences of CrowS-Pairs (Nangia et al. 2020)."""
    with (data / "crows_pairs/crows_pairs_anonymized.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            kept = ("sent_more", "sent_less", "stereo_antistereo", "bias_type", "anon_writer")
            yield {"number": number, **{key: row[key] for key in kept}}


def bbq(data: Path, category: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a category of BBQ (Parrish et al. 2022)."""
    for line in (data / f"bbq/{category}.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        answers = [f"ans{number}" for number in range(3)]
        yield {
            "template": item["question_index"], "polarity": item["question_polarity"],
            "condition": item["context_condition"], "context": item["context"], "question": item["question"],
            "answers": [item[name] for name in answers], "groups": [item["answer_info"][name][1] for name in answers],
            "people": [item["answer_info"][name][0] for name in answers],
            "stereotyped": item["additional_metadata"]["stereotyped_groups"], "label": item["label"],
        }  # fmt: skip


def tables(data: Path) -> dict[str, Iterator[dict[str, Any]]]:
    """Return the rows of every file."""
    return {
        "agreement": agreement(data), "professions": professions(data), "winogender": winogender(data),
        "winobias": winobias(data), "crows_pairs": crows_pairs(data),
        "bbq_age": bbq(data, "Age"), "bbq_religion": bbq(data, "Religion"),
    }  # fmt: skip


def build(data: Path, out: Path = FOLDER) -> list[Path]:
    """Write every file, compressed without a time stamp, and the licenses beside them."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for name, rows in tables(data).items():
        text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
        made.append(out / f"{name}.jsonl.gz")
        made[-1].write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    for name in _LICENSES:
        shutil.copyfile(data / name / "LICENSE", out / f"LICENSE.{name}")
    return made


if __name__ == "__main__":
    for path in build(Path(sys.argv[1])):
        print(f"{path.name:<24} {path.stat().st_size:>8,} bytes")
