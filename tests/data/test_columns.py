"""Rows in one form: columns nested or flat, and what each mistake is called."""

import pytest

from mechcausal.data.columns import PAIRS, PROMPTS, column, others, records
from mechcausal.data.files import Rows
from mechcausal.errors import DataError

PAIR = {"clean": "he said", "corrupt": "she said"}


def read(*rows, sides=PAIRS, flat=False):
    return records(Rows("x.csv", list(rows), [f"x.csv line {n}" for n in range(2, 2 + len(rows))], flat), sides)


def test_nested_and_flat_columns_are_the_same():
    nested = read({**PAIR, "positions": {"who": "he"}, "corrupt_positions": {"who": [0, 3]}, "variables": {"g": 1}})
    flat = read(
        {**PAIR, "position.who": "he", "corrupt_position.who": "0:3", "variable.g": "1", "answer": '[" a", " b"]'}, flat=True
    )  # fmt: skip
    assert nested[0].places == flat[0].places == ({"who": "he"}, {"who": [0, 3]})
    assert nested[0].variables[0] == flat[0].variables[0] == {"g": 1}
    assert flat[0].cells["answer"] == [" a", " b"]
    plural = read({**PAIR, "groups": "a", "labels": "x"})[0].cells
    assert (plural["group"], plural["label"]) == ("a", "x")


def test_numbers_in_a_file_of_text():
    found = read(
        {**PAIR, "label": "1", "age": "2.5", "group": "7"}, {**PAIR, "label": "0", "age": "3", "group": "8"}, flat=True
    )
    assert column(found, "label") == [1, 0]
    assert others(found, PAIRS) == {"age": ([2.5, 3], [2.5, 3])}
    assert column(found, "group") == ["7", "8"]


def test_columns_of_both_sides():
    found = read({**PAIR, "gender": "m", "corrupt_gender": "f", "template": "t"})
    assert others(found, PAIRS) == {"gender": (["m"], ["f"]), "template": (["t"], ["t"])}
    assert column(found, "cluster") == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"clean": "x"}, "x.csv has no column 'corrupt' .got clean; expected columns clean, corrupt"),
        ({"claen": "x", "corrupt": "y"}, "no column 'clean'.*did you mean 'claen'"),
        ({**PAIR, "anwser": " he"}, "a column 'anwser': did you mean 'answer'"),
        ({**PAIR, "answer": 5}, r"line 2: the answer is no text .got 5; expected a text such as \" he\""),
        ({**PAIR, "foil": []}, "line 2: the foil is no text"),
        (
            {**PAIR, "position.who": "it"},
            r"line 2: the position 'who' \('it'\) is not in the clean prompt .got 'he said'",
        ),
        ({**PAIR, "position.who": [5, 90]}, r"the position 'who' \(characters 5 to 90\) is not in the clean prompt"),
        ({**PAIR, "position.who": "he", "corrupt_position.who": "x"}, "is not in the corrupt prompt"),
        ({**PAIR, "position.who": 3}, "the position 'who' is neither words nor characters .got 3"),
        ({**PAIR, "position.two words": "he"}, "'two words' cannot be the name of a position"),
        ({"clean": "x", "corrupt": ""}, "line 2: there is no corrupt prompt"),
        ({"clean": "x", "corrupt": "x"}, "line 2: clean and corrupt are the same text"),
    ],
)
def test_mistakes_name_the_row(row, said):
    with pytest.raises(DataError, match=said):
        read(row)


def test_a_column_is_in_every_row_or_in_none():
    with pytest.raises(DataError, match="line 3: the answer is missing, which other rows have"):
        read({**PAIR, "answer": " x"}, PAIR)
    with pytest.raises(DataError, match="line 2: the position 'a' is missing"):
        read(PAIR, {**PAIR, "position.a": "he"})
    with pytest.raises(DataError, match=r"a prompt has no corrupt side .got who"):
        read({"text": "he", "corrupt_position.who": "he"}, sides=PROMPTS)
