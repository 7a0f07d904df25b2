"""Which rows a tokenizer can take, on a tokenizer that has one token for a word behind a space and others within a word."""

import pytest
from byte_pairs import reader

from mechcausal.data.columns import Record
from mechcausal.data.fitting import Dropped, PairCheck, Unfit, check_answers, fitting, read_side
from mechcausal.errors import DataError

TOKENIZER = reader().tokenizer


def row(**cells):
    told = {"clean": "The nurse said that", "corrupt": "The man said that", "answer": " he", "foil": " she"}
    places = cells.pop("places", ({}, {}))
    return Record("x.csv line 2", {**told, **cells}, places)


def refused(record, **options):
    with pytest.raises(Unfit) as found:
        PairCheck(TOKENIZER, True, **options)(record)
    return found.value


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"answer": "he"}, r"the answer 'he' continues the last word of the prompt \('that'\) in this tokenizer: write ' he'"),
        ({"foil": "she"}, "the foil 'she' continues the last word"),
        ({"clean": "The nurse said ", "corrupt": "The man said ", "answer": "he"}, "ends with a space in this tokenizer: end the prompt without it, and write the answer as ' he'"),
        ({"clean": "The nurse said ", "corrupt": "The man said "}, "ends with a space"),
        ({"corrupt": "The flight attendant said that"}, "the prompts have different lengths .got 5 and 6 tokens.: .*corrupt_position.NAME"),
    ],
)  # fmt: skip
def test_what_does_not_fit(cells, said):
    reason = refused(row(**cells))
    assert str(reason.error).startswith("x.csv line 2: ")
    with pytest.raises(DataError, match=said):
        raise reason.error


def test_what_fits():
    for cells in (
        {},
        {"answer": [" he", " him"]},
        {"clean": "It was 17", "corrupt": "It is 17", "answer": "45", "foil": "12"},  # digits go on
        {"clean": 'He said "', "corrupt": 'She said "', "answer": "he", "foil": "she"},
        {"corrupt": "The flight attendant said that", "places": ({"who": "nurse"}, {"who": "flight attendant"})},
    ):
        PairCheck(TOKENIZER, True)(row(**cells))


def test_what_is_asked_besides():
    longer = {"corrupt": "The flight attendant said that", "places": ({"who": "nurse"}, {"who": "flight attendant"})}
    assert refused(row(**longer), even=True).reason == "prompts of different length"
    assert refused(row(answer=" Bartholomew"), one_token=True).reason == "an answer of several tokens"
    elsewhere = {**longer, "places": ({"who": "The"}, {"who": "The"})}
    assert "outside the named spans the two prompts differ in length, after 'who'" in str(
        refused(row(**elsewhere)).error
    )
    with pytest.raises(DataError, match="the answer ' he' is the foil too"):
        PairCheck(TOKENIZER, True)(row(foil=" he"))
    check_answers(
        Record("x", {"text": "The"}),
        "text",
        read_side(Record("x", {"text": "The"}), "text", TOKENIZER, True)[0],
        TOKENIZER,
        True,
        one_token=True,
    )


def test_words_that_are_unknown(by_hand):
    with pytest.raises(Unfit) as found:
        PairCheck(by_hand.tokenizer, True)(row(clean="he perhaps ask", corrupt="she high ask", answer="yes", foil="no"))
    assert found.value.reason == "words that the tokenizer does not know"
    assert "does not know 'perhaps' in the clean prompt" in str(found.value.error)


def test_rows_are_refused_or_counted(caplog):
    rows = [row(), row(answer="he"), Record("x.csv line 4", row().cells), row(clean="The man hoped that")]
    with pytest.raises(DataError, match="line 2: the answer 'he'"):
        fitting(rows, PairCheck(TOKENIZER, True), unfit="refuse")
    with pytest.raises(DataError, match=r"line 4: it repeats x.csv line 2"):
        fitting([rows[0], rows[2]], PairCheck(TOKENIZER, True), unfit="refuse")
    kept, dropped = fitting(rows, PairCheck(TOKENIZER, True), unfit="drop")
    assert [record.cells["clean"][:7] for record in kept] == ["The nur", "The man"]
    assert dropped.told("x.csv", 2) == (("an answer that does not fit the tokenizer", 1), ("repeats another row", 1))
    assert "2 of 4 rows of x.csv are left out: 1 an answer" in caplog.text
    assert len(fitting(rows, PairCheck(TOKENIZER, True), unfit="drop", most=1)[0]) == 1
    assert Dropped().told("x", 3) == ()
