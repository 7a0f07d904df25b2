"""Whatever is proposed for a file of a user can be asked: of a language model, a classifier and a reward model."""

from __future__ import annotations

import json
import tomllib

import pytest
from classifiers import classifier
from commands import run

import mechcausal as mc
from mechcausal.audits.proposed import pairs_of, prompts_of, question
from mechcausal.audits.selftest.rewarded import MOST, VOCABULARY, network, written
from mechcausal.data.files import read_rows
from mechcausal.organisms.tokenizer import word_tokenizer

WORDS = ("the", "film", "was", "a", "joy", "bore", "she", "he", "said", *(f"name{number}" for number in range(60)))
LABELS = ("fine", "toxic", "odd")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of a classifier with two labels, one with three, and a reward model."""
    folder = tmp_path_factory.mktemp("models")
    for count in (2, 3):
        classifier(LABELS[:count], vocab_size=80).save_pretrained(folder / f"classifier{count}")
        word_tokenizer(("<pad>", "<bos>", *WORDS), longest=16).save_pretrained(folder / f"classifier{count}")
    network().save_pretrained(folder / "rewards")
    word_tokenizer(VOCABULARY, longest=MOST + 4).save_pretrained(folder / "rewards")
    return folder


def rows(count, **columns):
    """Return rows of a file, each column made from the number of the row."""
    return [{name: make(number) for name, make in columns.items()} for number in range(count)]


def sentence(number, pronoun="she"):
    return f"{pronoun} said the film name{number} was a {('joy', 'bore')[number % 2]}"


LABELED = {"label": lambda n: LABELS[n % 2], "cluster": lambda n: f"c{n}"}
PAIRS = {"clean": sentence, "corrupt": lambda n: sentence(n, "he"), **LABELED}
TEXTS = {"text": sentence, **LABELED}
REVIEWS = {
    **PAIRS,
    "corrupt": lambda n: (
        sentence(n, "he") if n < 6 else sentence(n).replace(*sorted(("joy", "bore"), reverse=n % 2 == 0))
    ),
    "corrupt_label": lambda n: LABELS[(n + (n >= 6)) % 2],
}
CHOICES = {
    "clean": lambda n: written(n % 9, 6 + n % 3), "corrupt": lambda n: written(-1 - n % 7, 5),
    "length": lambda n: 6 + n % 3, "corrupt_length": lambda n: 5, "cluster": lambda n: f"c{n}",
    "group": lambda n: "ab"[n % 2], "environment": lambda n: f"e{n % 2}",
}  # fmt: skip
CASES = {
    "pairs with labels": ("classifier2", rows(12, **PAIRS), {"flips", "mediation", "selective_invariance"}),
    "of three labels": ("classifier3", rows(12, **PAIRS), {"flips", "mediation", "selective_invariance"}),
    "perturbations": (
        "classifier2", rows(12, **REVIEWS, perturbation=lambda n: "pronoun" if n < 6 else "verdict"),
        {"flips", "mediation", "selective_invariance"},
    ),
    "mixed labels": ("classifier2", rows(12, **REVIEWS), {"flips", "mediation"}),
    "pairs without labels": (
        "classifier2", rows(12, clean=sentence, corrupt=lambda n: sentence(n, "he")), {"flips", "mediation"}
    ),
    "prompts with labels": (
        "classifier2", rows(60, **TEXTS, group=lambda n: "ab"[n // 30], environment=lambda n: f"e{n % 3 % 2}"),
        {"accuracy", "calibration", "group_gaps", "worst_group", "environments"},
    ),
    "prompts without labels": ("classifier2", rows(12, text=sentence), {"irrelevant"}),
    "choices": (
        "rewards", rows(60, **CHOICES), {"accuracy", "calibration", "worst_group", "environments", "nuisance_effect"}
    ),
    "texts of a reward model": ("rewards", rows(6, text=lambda n: written(n, 5)), {"irrelevant"}),
}  # fmt: skip


def proposed_for(folder, model, table):
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    done = run("audit", "init", "--data", folder / "table.jsonl", "--model", model, "-o", folder / "a.toml")
    assert done.code == 0, done.error
    return tomllib.loads((folder / "a.toml").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_is_proposed_for_a_file_passes_check_as_it_is(models, tmp_path, name):
    model, table, asked = CASES[name]
    plan = proposed_for(tmp_path, models / model, table)
    assert {each["ask"] for each in plan["question"]} == asked
    checked = run("audit", "check", tmp_path / "a.toml", "--json")
    assert checked.code == 0, checked.document


def test_what_must_stay_and_what_must_change_is_read_off_the_labels(models, tmp_path):
    plan = proposed_for(tmp_path, models / "classifier2", CASES["perturbations"][1])
    asked = next(each for each in plan["question"] if each["ask"] == "selective_invariance")
    assert (asked["must_stay"], asked["must_change"]) == (["pronoun"], ["verdict"])
    assert plan["data"][asked["pairs"]["verdict"]]["perturbation"] == "verdict"
    changed = [row | {"corrupt_label": LABELS[n % 2]} for n, row in enumerate(CASES["pairs with labels"][1], 1)]
    plan = proposed_for(tmp_path, models / "classifier2", changed)
    asked = next(each for each in plan["question"] if each["ask"] == "selective_invariance")
    assert asked["must_change"] == ["swap"]
    assert "must_stay" not in asked
    assert proposed_for(tmp_path, models / "classifier3", CASES["of three labels"][1])["outcome"] == "odd"


def test_what_is_proposed_for_a_language_model_passes_check_too(tmp_path, hiring):
    prompts = mc.task("hiring").prompts(hiring, 60)
    prompts.write(tmp_path / "prompts.jsonl")
    lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
    table = list({row["text"]: row for row in map(json.loads, lines)}.values())
    for keep in (("text", "answer", "foil"), ("text", "answer"), ("text",)):
        plan = proposed_for(tmp_path, "organism:hiring", [{name: row[name] for name in keep} for row in table])
        assert plan["question"]
        checked = run("audit", "check", tmp_path / "a.toml", "--json")
        assert checked.code == 0, (keep, checked.document)


def test_what_is_left_out_is_said(tmp_path):
    def lines(propose, table, labels=()):
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
        return "\n".join(propose("t.jsonl", read_rows(tmp_path / "t.jsonl"), labels))

    assert "or all change: add a column perturbation" in lines(pairs_of, CASES["mixed labels"][1], LABELS[:2])
    assert "for a classifier with labels of these names" in lines(prompts_of, rows(3, **TEXTS))
    still = {**rows(1, **CHOICES)[0], "length": 5}
    one = lines(pairs_of, [*rows(4, **CHOICES), still], ("LABEL_0",))
    assert "all differ in length: 1 of these pairs do not" in one
    assert "calibration needs at least 50 pairs: here are 5" in one
    assert question("flips", "pairs", "# hint", cutoff=1.5) == [
        "[[question]]", 'ask = "flips"', 'data = "pairs"', "cutoff = 1.5", "# hint", "",
    ]  # fmt: skip
