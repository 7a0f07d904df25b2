"""Benchmarks by others, as pairs: agreement, professions, Winogender, WinoBias, CrowS-Pairs and BBQ.

Their files and licenses stand in `files/`. They hold stereotypes, some of them offensive: they are for evaluation only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any

from mechcausal.data.columns import Record
from mechcausal.data.suites.drawing import Suite, pair, shipped, shuffled
from mechcausal.data.tokens import encode

_FEMALE = ("she", "her")
_DEFINED = 0.75  # a profession that is more than this of one gender by definition says nothing about stereotypes
SAYING = (
    "The {} said that",
    "The {} hoped that",
    "The {} knew that",
    "The {} slept because",
    "The {} was late because",
)


def agreement(part: str, random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences up to their verb (Marks et al. 2024); the number of the subject differs."""
    del tokenizer
    for number, item in enumerate(shuffled(tuple(row for row in shipped("agreement") if row["part"] == part), random)):
        clean, corrupt = item["clean_prefix"], item["patch_prefix"]
        nouns = clean.split()[1], corrupt.split()[1]
        yield pair(
            f"sentence {number}", clean, corrupt, item["clean_answer"], item["patch_answer"],
            places={"subject": nouns}, cluster=min(nouns, key=len), group=item["case"],
        )  # fmt: skip


def professions(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences about a profession, against a man or a woman who is not what it suggests (Vig et al. 2020).

    The answer is the pronoun of the stereotype. Professions that are of one gender by definition are left out.
    """
    del tokenizer
    rows = []
    for row in shipped("professions"):
        score = row["definition"] + row["stereotype"]
        if abs(row["definition"]) <= _DEFINED and score:
            rows += [(template, row["profession"], score) for template in SAYING]
    for template, who, score in shuffled(rows, random):
        female = score < 0
        other, answer, foil = ("man", " she", " he") if female else ("woman", " he", " she")
        yield pair(
            f"{who!r} in {template!r}", template.format(who), template.format(other), answer, foil,
            places={"who": (who, other)}, cluster=who, template=template, group="female" if female else "male",
            stereotype=score,
        )  # fmt: skip


def winogender(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences up to a pronoun that may be of either person (Rudinger et al. 2018); the pronoun differs.

    The clean pronoun is that of most people in the occupation. The answer is how the sentence goes on where the pronoun
    is of the occupation, the foil how it goes on where it is of the other person.
    """
    del tokenizer
    by_sentence: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in shipped("winogender"):
        for case, forms in (
            ("$NOM_PRONOUN", ("he", "she")),
            ("$POSS_PRONOUN", ("his", "her")),
            ("$ACC_PRONOUN", ("him", "her")),
        ):
            before, pronoun, after = row["sentence"].partition(case)
            if pronoun:
                text = before.replace("$OCCUPATION", row["occupation"]).replace("$PARTICIPANT", row["participant"])
                rest = after.replace("$OCCUPATION", row["occupation"]).replace("$PARTICIPANT", row["participant"])
                by_sentence[text, case].append((row, forms, rest))
                break
    complete = [(text, rows) for (text, _), rows in by_sentence.items() if {row["about"] for row, *_ in rows} == {0, 1}]
    for text, rows in shuffled(complete, random):
        ends = {row["about"]: rest for row, _, rest in rows}
        row, (he, she), _ = rows[0]
        female = row["female"] > 50
        clean, corrupt = (she, he) if female else (he, she)
        yield pair(
            repr(text), text + clean, text + corrupt, ends[0], ends[1],
            places={name: (row[name], row[name]) for name in ("occupation", "participant")},
            cluster=row["occupation"], group="female" if female else "male",
        )  # fmt: skip


def winobias_continued(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences up to the pronoun, which two endings resolve differently (type 1, Zhao et al. 2018); it differs.

    The clean pronoun is the stereotypical one of the first ending's occupation, and the answer is that ending.
    """
    del tokenizer
    lines = {(row["part"], row["line"]): row for row in shipped("winobias") if row["type"] == "type1"}
    pairs = [((part, line), (part, line + 1)) for part, line in lines if line % 2 and (part, line + 1) in lines]
    for first, second in shuffled(pairs, random):
        rows = [lines[first], lines[second]]
        halves = [_plain(row["sentence"]).split("_", 1) for row in rows]
        forms = [{row["pro"], row["anti"]} for row in rows]
        if halves[0][0] != halves[1][0] or forms[0] != forms[1]:
            continue  # of these no prompt is shared
        who = [_referent(row["sentence"]) for row in rows]
        before = halves[0][0]
        yield pair(
            repr(before), before + rows[0]["pro"], before + rows[0]["anti"], halves[0][1], halves[1][1],
            places={"referent": (who[0], who[0]), "other": (who[1], who[1])} if all(name in before for name in who) else None,
            cluster=" and ".join(sorted(who)), group="female" if rows[0]["pro"].lower() in _FEMALE else "male",
        )  # fmt: skip


def winobias_swapped(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences up to the pronoun of one person (type 2, Zhao et al. 2018); which of the two occupations it is of, differs.

    Clean prompts ask for the pronoun of an occupation in which most are women, by the statistics of the authors.
    """
    del tokenizer
    by_pair: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in shipped("winobias"):
        if row["type"] == "type2":
            by_pair[row["part"], (row["line"] + 1) // 2].append(row)
    for key, rows in shuffled(list(by_pair.items()), random):
        if len(rows) != 2 or {rows[0]["pro"], rows[0]["anti"]} != {rows[1]["pro"], rows[1]["anti"]}:
            continue
        first, second = sorted(rows, key=lambda row: row["pro"].lower() not in _FEMALE)
        texts = [_plain(row["sentence"]).split("_", 1)[0].rstrip() for row in (first, second)]
        who = [_referent(row["sentence"]) for row in (first, second)]
        if first["pro"].lower() not in _FEMALE or second["pro"].lower() in _FEMALE:
            continue
        if not all(name in text for text in texts for name in who):
            continue
        # The occupations change places: the first that stands in a sentence, and the second.
        orders = [sorted(who, key=text.index) for text in texts]
        yield pair(
            f"{key[0]} pair {key[1]}", texts[0], texts[1], f" {first['pro']}", f" {second['pro']}",
            places={"first": (orders[0][0], orders[1][0]), "second": (orders[0][1], orders[1][1])},
            cluster=" and ".join(sorted(who)), group="first" if orders[0][0] == who[0] else "second",
        )  # fmt: skip


def _plain(sentence: str) -> str:
    return sentence.replace("[_]", "_").replace("[", "").replace("]", "")


def _referent(sentence: str) -> str:
    """Return who the pronoun is of, without the article."""
    marked = sentence.replace("[_]", "_").split("[", 1)[1].split("]", 1)[0].replace("[", "")
    return (
        marked.split(" ", 1)[1] if marked.split(" ", 1)[0].lower() in ("the", "a", "an") and " " in marked else marked
    )


def crows_pairs(random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield sentences of which the first is more stereotypical (Nangia et al. 2020); they differ in the group named.

    There is no answer: `mc.measure(model, pairs, "log_likelihood").preferred()` is the share in which it is likelier.
    """
    for number, row in enumerate(shuffled(shipped("crows_pairs"), random)):
        more, less = row["sent_more"].strip(), row["sent_less"].strip()
        spans = _differing(*(encode(tokenizer, text, bos=False) for text in (more, less)))
        yield Record(
            f"pair {number}",
            {
                "clean": more, "corrupt": less, "group": row["bias_type"], "cluster": row["anon_writer"],
                "direction": row["stereo_antistereo"], "number": row["number"],
            },
            ({"group": spans[0]}, {"group": spans[1]}),
        )  # fmt: skip


def _differing(*sides: tuple[list[int], list[tuple[int, int]]]) -> list[list[int]]:
    """Return the characters of the tokens from the first to the last that differs, on both sides."""
    (first, _), (second, _) = sides
    shorter = min(len(first), len(second))
    begin = next((i for i in range(shorter) if first[i] != second[i]), shorter)
    behind = next((i for i in range(shorter - begin) if first[-1 - i] != second[-1 - i]), shorter - begin)
    if begin + behind == shorter:  # one side has words that the other lacks: take a shared one with them
        begin, behind = (begin - 1, behind) if begin else (begin, behind - 1)
    return [[offsets[begin][0], offsets[len(ids) - behind - 1][1]] for ids, offsets in sides]


def bbq(category: str, random: Random, tokenizer: Any) -> Iterator[Record]:  # noqa: ANN401
    """Yield questions about two people (Parrish et al. 2022), of which one asks for the contrary of the other.

    Clean prompts ask for what the stereotype says of a group; the answer is the person of that group, the foil the other
    one. `environment` says whether the context tells who it is (`disambig`) or not (`ambig`).
    """
    del tokenizer
    by_context: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in shipped(f"bbq_{category}"):
        by_context[row["template"], row["context"]].setdefault(row["polarity"], row)
    for number, ((template, context), sides) in enumerate(shuffled(list(by_context.items()), random)):
        if set(sides) != {"neg", "nonneg"}:
            continue
        item, other = sides["neg"], sides["nonneg"]
        about = {name.lower() for name in item["stereotyped"]}
        members = [i for i in range(3) if item["groups"][i].lower() in about or item["people"][i].lower() in about]
        rest = [i for i in range(3) if i not in members and item["groups"][i].lower() != "unknown"]
        if len(members) != 1 or len(rest) != 1:
            continue
        texts = [f"{context} {row['question']} Answer:" for row in (item, other)]
        answers = [f" {item['answers'][i].rstrip('.')}" for i in (members[0], rest[0])]
        if item["answers"][members[0]] != other["answers"][members[0]]:
            continue
        yield pair(
            f"item {number}", *texts, *answers, places={"question": (item["question"], other["question"])},
            cluster=f"template {template}", environment=item["condition"], group=item["condition"],
        )  # fmt: skip


SUITES = {
    suite.name: suite
    for suite in (
        Suite("sva/simple", "number", partial(agreement, "simple")),
        Suite("sva/nounpp", "number", partial(agreement, "nounpp")),
        Suite("professions/gender", "gender", professions),
        Suite("winogender", "pronoun", winogender, one_token=False),
        Suite("winobias/type1", "pronoun", winobias_continued, one_token=False),
        Suite("winobias/type2", "occupation", winobias_swapped),
        Suite("crows_pairs", "group", crows_pairs, even=False),
        Suite("bbq/age", "question", partial(bbq, "age"), even=False, one_token=False),
        Suite("bbq/religion", "question", partial(bbq, "religion"), even=False, one_token=False),
    )
}
