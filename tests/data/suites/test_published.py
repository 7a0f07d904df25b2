"""Benchmarks as pairs: each pair against the rows that ship."""

import re
from random import Random

import pytest

from mechcausal.data.suites.drawing import shipped, suite
from mechcausal.data.suites.published import SUITES, _differing, _plain, _referent
from mechcausal.data.tokens import characters_of


class Words:
    """A tokenizer of words."""

    is_fast, bos_token_id, unk_token_id, name_or_path = True, None, None, "words"

    def __call__(self, text, **_):
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return {"input_ids": [hash(text[slice(*span)]) % 10**6 for span in spans], "offset_mapping": spans}


def drawn(name, seed=0):
    return list(SUITES[name].records(Random(seed), Words()))


def female(pronoun):
    return pronoun.lower() in ("she", "her")


@pytest.mark.parametrize("name", SUITES)
def test_every_pair_differs_and_its_places_stand_in_its_texts(name):
    records = drawn(name)
    assert len(records) > 40
    for record in records:
        assert record.cells["clean"] != record.cells["corrupt"]
        assert record.cells.get("answer") != record.cells.get("foil") or "answer" not in record.cells
        assert set(record.places[0]) == set(record.places[1])
        for side, text in enumerate((record.cells["clean"], record.cells["corrupt"])):
            for place in record.places[side].values():
                begin, end = characters_of(text, place)
                assert 0 <= begin < end <= len(text)
    again = drawn(name)
    assert [record.cells for record in again] == [record.cells for record in records]
    assert [record.cells for record in drawn(name, 1)] != [record.cells for record in records]
    assert suite(name) is SUITES[name]


@pytest.mark.parametrize("name", ["sva/simple", "sva/nounpp"])
def test_the_verb_agrees_with_the_subject(name):
    columns = ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer", "case")
    rows = sorted(tuple(row[key] for key in columns) for row in shipped("agreement") if row["part"] == name[4:])
    names = ("clean", "corrupt", "answer", "foil", "group")
    assert sorted(tuple(record.cells[key] for key in names) for record in drawn(name)) == rows


def test_the_pronoun_of_a_profession_is_that_of_its_stereotype():
    scores = {row["profession"]: row for row in shipped("professions")}
    names = set()
    for record in drawn("professions/gender"):
        row = scores[record.cells["cluster"]]
        score = row["definition"] + row["stereotype"]
        assert abs(row["definition"]) <= 0.75
        assert female(record.cells["answer"].strip()) == (score < 0)
        assert record.cells["corrupt"] == record.cells["clean"].replace(
            row["profession"], "man" if score < 0 else "woman", 1
        )
        names.add(row["profession"])
    left_out = {
        name
        for name, row in scores.items()
        if abs(row["definition"]) > 0.75 or not row["definition"] + row["stereotype"]
    }
    assert names == set(scores) - left_out


def test_a_sentence_of_winogender_with_its_answer_is_one_of_the_file():
    sentences, share = {}, {}
    for row in shipped("winogender"):
        share[row["occupation"]] = row["female"]
        for forms in (("he", "his", "him"), ("she", "her", "her")):
            text = row["sentence"].replace("$OCCUPATION", row["occupation"]).replace("$PARTICIPANT", row["participant"])
            for case, word in zip(("$NOM_PRONOUN", "$POSS_PRONOUN", "$ACC_PRONOUN"), forms, strict=True):
                text = text.replace(case, word, 1)
            sentences[text] = row["about"]
    for record in drawn("winogender"):
        pronoun = record.cells["clean"].split()[-1]
        assert female(pronoun) == (share[record.cells["cluster"]] > 50) == (record.cells["group"] == "female")
        assert female(record.cells["corrupt"].split()[-1]) != female(pronoun)
        if "$" not in record.cells["answer"] + record.cells["foil"]:
            assert sentences[record.cells["clean"] + record.cells["answer"]] == 0  # of the occupation
            assert sentences[record.cells["clean"] + record.cells["foil"]] == 1


@pytest.mark.parametrize("kind", ["type1", "type2"])
def test_the_pronouns_of_winobias_are_stereotypical(kind):
    rows = [row for row in shipped("winobias") if row["type"] == kind]
    wholes = {_plain(row["sentence"]).replace("_", row["pro"], 1): row for row in rows}
    found = 0
    for record in drawn(f"winobias/{kind}"):
        rest = record.cells["answer"]
        whole = record.cells["clean"] + rest
        if kind == "type1":
            assert wholes[whole]["pro"] == record.cells["clean"].split()[-1]
            found += 1
        else:
            assert any(text.startswith(whole) for text in wholes)
            assert female(rest.strip())
            assert not female(record.cells["foil"].strip())
            found += 1
    assert found


def test_questions_of_bbq_ask_for_the_stereotype_and_its_contrary():
    contexts = {row["context"]: row for row in shipped("bbq_religion")}
    for record in drawn("bbq/religion"):
        context = next(text for text in contexts if record.cells["clean"].startswith(text + " "))
        assert record.cells["corrupt"].startswith(context)
        assert {record.cells["answer"].strip(), record.cells["foil"].strip()} <= {
            answer.rstrip(".") for answer in contexts[context]["answers"]
        }
        assert record.cells["environment"] in ("ambig", "disambig")


def test_crows_pairs_differ_where_they_say():
    rows = {row["number"]: row for row in shipped("crows_pairs")}
    for record in drawn("crows_pairs")[:200]:
        row = rows[record.cells["number"]]
        assert record.cells["clean"] == row["sent_more"].strip()
        assert record.cells["corrupt"] == row["sent_less"].strip()
        outside = [
            (text[: place["group"][0]], text[place["group"][1] :])
            for text, place in zip((record.cells["clean"], record.cells["corrupt"]), record.places, strict=True)
        ]
        assert outside[0] == outside[1] or record.cells["clean"].split() != record.cells["corrupt"].split()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a b c d", "a x c d", ("b", "x")),
        ("a b c d", "a x y d", ("b c", "x y")),
        ("a b c", "a c", ("a b", "a")),  # one side lacks a word: a shared one goes with it
        ("b c", "c", ("b c", "c")),
        ("x", "y", ("x", "y")),
    ],
)
def test_the_words_that_differ(first, second, expected):
    words = Words()
    sides = [(words(text)["input_ids"], words(text)["offset_mapping"]) for text in (first, second)]
    spans = _differing(*sides)
    assert tuple(text[slice(*span)] for text, span in zip((first, second), spans, strict=True)) == expected


def test_the_referent_is_named_without_its_article():
    assert _referent("[The developer] argued with the designer because [_] did not") == "developer"
    assert _referent("The guard asked [an accountant] for [_] name") == "accountant"
    assert _referent("It was [someone] who lost [_] key") == "someone"
