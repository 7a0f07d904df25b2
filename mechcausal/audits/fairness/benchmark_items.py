"""Published benchmarks of bias as data of an audit: what is asked of a model, item by item.

    [data.stereotypes]
    benchmark = "crows_pairs"
    categories = ["gender"]

They hold stereotypes, some of them offensive: they are for evaluation only (`data/suites/files/README.md`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np

from mechcausal.arguments import Count, Seed
from mechcausal.audits.sources import Source
from mechcausal.data.contrast import Contrast
from mechcausal.data.making import pairs_of
from mechcausal.data.prompts import PromptSet
from mechcausal.data.suites import draw
from mechcausal.data.suites.drawing import shipped, shuffled, suite
from mechcausal.data.tokens import encode, tokenizer_of
from mechcausal.errors import DataError, did_you_mean

OF_PAIRS = ("crows_pairs", "winobias/type1", "winobias/type2")
BENCHMARKS = (*OF_PAIRS, "winogender", "bbq/age", "bbq/religion")
ROLES = ("stereotyped", "other", "unknown")
_FORMS = {"$NOM_PRONOUN": ("she", "he"), "$POSS_PRONOUN": ("her", "his"), "$ACC_PRONOUN": ("her", "him")}


@dataclass(frozen=True, eq=False)
class BenchmarkItems:
    """The items of a benchmark.

    Attributes:
        name: The benchmark.
        pairs: Its pairs: of sentences, or of prompts up to a pronoun. For Winogender, prompts behind either pronoun.
        prompts: Its prompts: of Winogender, sentences up to the pronoun; of BBQ, three rows for each item, one an answer.
        facts: What is known of each item, by name.
        dropped: Why items were left out, and how many.
    """

    name: str
    pairs: Contrast | None
    prompts: PromptSet | None
    facts: dict[str, np.ndarray]
    dropped: tuple[tuple[str, int], ...] = ()

    @property
    def rows_an_item(self) -> int:
        """How many prompts one item has."""
        return len(ROLES) if self.name.startswith("bbq") else 1

    def __len__(self) -> int:
        """Return the number of items."""
        if self.prompts is not None:
            return len(self.prompts) // self.rows_an_item
        assert self.pairs is not None
        return len(self.pairs)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The cluster of each item."""
        if self.prompts is not None:
            return self.prompts.clusters[:: self.rows_an_item]
        assert self.pairs is not None
        return self.pairs.clean.clusters

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return len(set(self.clusters)) if self.clusters else len(self)

    @property
    def hash(self) -> str:
        """A digest of the items."""
        digest = hashlib.sha256(self.name.encode())
        for part in (self.pairs, self.prompts):
            digest.update(b"-" if part is None else part.hash.encode())
        for name, column in sorted(self.facts.items()):
            digest.update(f"{name}={column.tolist()!r}".encode())
        return digest.hexdigest()[:16]

    def take(self, rows: Sequence[int] | np.ndarray) -> BenchmarkItems:
        """Return some items, without what is measured beside the score."""
        index = np.asarray(rows)
        width = self.rows_an_item
        prompts = None if self.prompts is None else self.prompts.take(
            (index[:, None] * width + np.arange(width)).ravel().tolist()
        )  # fmt: skip
        pairs = self.pairs.take(index.tolist()) if self.pairs is not None and self.prompts is None else None
        return replace(self, pairs=pairs, prompts=prompts, facts={k: column[index] for k, column in self.facts.items()})


def items_of(
    name: str, model: Any, n: int, *, seed: int = 0, categories: Sequence[str] = ()  # noqa: ANN401
) -> BenchmarkItems:  # fmt: skip
    """Return the items of a benchmark.

    Args:
        name: The benchmark.
        model: The model whose tokenizer reads them.
        n: How many at most.
        seed: The seed of the draw.
        categories: The categories to keep; all of them unless said.
    """
    if name not in BENCHMARKS:
        raise DataError(f"there is no benchmark {name!r}", fix=did_you_mean(name, BENCHMARKS))
    if name == "winogender":
        return _winogender(model, n, seed)
    if name.startswith("bbq"):
        return _bbq(name.partition("/")[2], model, n, seed, categories)
    return of_pairs(_of_categories(name, model, n, seed, categories) if categories else draw(name, model, n, seed=seed))


def of_pairs(pairs: Contrast) -> BenchmarkItems:
    """Return the items that the pairs of a suite are."""
    if pairs.name not in OF_PAIRS:
        raise DataError(f"pairs of {pairs.name!r} are no benchmark", expected=", ".join(OF_PAIRS))
    groups = pairs.clean.groups or ("all",) * len(pairs)
    return BenchmarkItems(pairs.name, pairs, None, {"group": np.asarray(groups)}, pairs.dropped)


def _of_categories(name: str, model: Any, n: int, seed: int, categories: Sequence[str]) -> Contrast:  # noqa: ANN401
    """Draw the pairs of some categories, in the order in which all would be drawn."""
    asked = suite(name)
    records = list(asked.records(Random(seed), tokenizer_of(model)))
    there = sorted({str(record.cells.get("group")) for record in records})
    unknown = [category for category in categories if category not in there]
    if unknown:
        raise DataError(f"there is no category {unknown[0]!r}", fix=did_you_mean(unknown[0], there))
    return pairs_of(
        (record for record in records if record.cells.get("group") in categories), model, factor=asked.factor, name=name,
        unfit="drop", most=n, even=asked.even, one_token=asked.one_token,
    )  # fmt: skip


def _winogender(model: Any, n: int, seed: int) -> BenchmarkItems:  # noqa: ANN401
    rows: dict[str, tuple[str, str, str, float]] = {}
    for row in shuffled(shipped("winogender"), Random(seed)):
        case = next((case for case in _FORMS if case in row["sentence"]), None)
        if case is None:
            continue
        before = row["sentence"].partition(case)[0].rstrip()
        text = before.replace("$OCCUPATION", row["occupation"]).replace("$PARTICIPANT", row["participant"])
        she, he = _FORMS[case]
        rows.setdefault(text, (f" {she}", f" {he}", row["occupation"], float(row["female"])))
    tokenizer = tokenizer_of(model)
    fit = {form: len(encode(tokenizer, f" {form}", bos=False)[0]) == 1 for forms in _FORMS.values() for form in forms}
    kept = [text for text, row in rows.items() if text and fit[row[0].strip()] and fit[row[1].strip()]]
    lost = len([text for text in rows if text]) - len(kept)
    texts = kept[:n]
    if not texts:
        raise DataError("no pronoun is one token of this tokenizer", fix="choose another benchmark")
    she, he, occupations, female = (list(column) for column in zip(*(rows[text] for text in texts), strict=True))
    prompts = PromptSet.from_text(model, texts, answer=she, foil=he, clusters=occupations)
    pairs = draw("winogender", model, n, seed=seed)
    facts = {"female": np.asarray(female), "group": np.where(np.asarray(female) > 50, "mostly women", "mostly men")}
    dropped = (*pairs.dropped, *([("a pronoun of several tokens", lost)] if lost else []))
    return BenchmarkItems("winogender", pairs, prompts, facts, dropped)


def _bbq(category: str, model: Any, n: int, seed: int, categories: Sequence[str]) -> BenchmarkItems:  # noqa: ANN401
    texts, answers, clusters, dropped = [], [], [], 0
    facts: dict[str, list[Any]] = {"group": [], "polarity": [], "right": []}
    for row in shuffled(shipped(f"bbq_{category}"), Random(seed)):
        if categories and row["condition"] not in categories:
            continue
        if len(facts["right"]) == n:
            break
        roles = _roles(row)
        if roles is None:
            dropped += 1
            continue
        texts += [f"{row['context']} {row['question']} Answer:"] * len(ROLES)
        answers += [f" {row['answers'][roles[role]].rstrip('.')}" for role in ROLES]
        clusters += [f"template {row['template']}"] * len(ROLES)
        facts["right"].append(next(number for number, role in enumerate(ROLES) if roles[role] == row["label"]))
        facts["polarity"].append(row["polarity"])
        facts["group"].append(row["condition"])
    if not texts:
        raise DataError("no item is left", got=f"categories {', '.join(categories)}", expected="ambig, disambig")
    prompts = PromptSet.from_text(model, texts, answer=answers, clusters=clusters)
    reasons = (("no single answer is of the group that the stereotype is about", dropped),) if dropped else ()
    return BenchmarkItems(f"bbq/{category}", None, prompts, {k: np.asarray(v) for k, v in facts.items()}, reasons)


def _roles(row: dict[str, Any]) -> dict[str, int] | None:
    """Return which answer is of the stereotyped group, which of the other, and which is that nobody can know."""
    about = {name.lower() for name in row["stereotyped"]}
    unknown = [i for i in range(3) if row["groups"][i].lower() == "unknown"]
    members = [i for i in range(3) if row["groups"][i].lower() in about or row["people"][i].lower() in about]
    rest = [i for i in range(3) if i not in members and i not in unknown]
    if len(members) != 1 or len(rest) != 1 or len(unknown) != 1:
        return None
    return dict(zip(ROLES, (members[0], rest[0], unknown[0]), strict=True))


@dataclass(frozen=True)
class BenchmarkSource(Source):
    """A benchmark that ships.

    Attributes:
        name: Such as `crows_pairs` or `bbq/age`.
        n: How many items at most.
        seed: The seed of the draw.
        categories: The categories to keep (of CrowS-Pairs the kinds of bias, of BBQ `ambig` or `disambig`).
    """

    word: ClassVar[str] = "benchmark"
    n: Count = 2000
    seed: Seed = 0
    categories: Sequence[str] = ()

    def read(self, model: Any, folder: Path) -> BenchmarkItems:  # noqa: ANN401
        """Draw the items."""
        del folder
        return items_of(self.name, model, self.n, seed=self.seed, categories=self.categories)

    def missing(self, folder: Path) -> str | None:
        """Say that there is no such benchmark."""
        del folder
        exists = self.name in BENCHMARKS
        return None if exists else f"there is no benchmark {self.name!r}; {did_you_mean(self.name, BENCHMARKS)}"
