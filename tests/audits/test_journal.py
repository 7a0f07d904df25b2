import pytest

from mechcausal.audits.journal import Counter, Journal, Rows, digest


def never():
    raise AssertionError("it was there already")


def test_a_row_is_computed_once_and_survives(tmp_path):
    rows = Rows.at(tmp_path / "q.jsonl")
    assert rows.row("a", lambda: {"x": (1, float("nan"))}) == {"x": [1, None]}
    assert rows.row("a", never) == {"x": [1, None]}
    again = Rows.at(tmp_path / "q.jsonl")
    assert again.row("a", never) == {"x": [1, None]}
    assert again.row("b", lambda: 2) == 2
    assert set(Rows.at(tmp_path / "q.jsonl").done) == {"a", "b"}


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_line_that_was_cut_off_is_computed_again(tmp_path, cut):
    path = tmp_path / "q.jsonl"
    rows = Rows.at(path)
    rows.row("a", lambda: 1)
    rows.row("b", lambda: "two")
    path.write_bytes(path.read_bytes()[:-cut])
    again = Rows.at(path)
    assert set(again.done) == ({"a", "b"} if cut == 1 else {"a"})
    assert again.row("b", lambda: "two") == "two"
    assert again.row("c", lambda: 3) == 3
    assert Rows.at(path).done == {"a": 1, "b": "two", "c": 3}


def test_a_line_that_was_changed_is_left_out(tmp_path):
    path = tmp_path / "q.jsonl"
    Rows.at(path).row("a", lambda: 1)
    path.write_bytes(path.read_bytes().replace(b"1,", b"7,"))
    assert Rows.at(path).done == {}


def test_an_answer_is_kept_and_its_rows_go(tmp_path):
    journal = Journal(tmp_path)
    journal.rows("k").row("a", lambda: 1)
    assert journal.answer("k") is None
    journal.keep("k", {"answer": 1})
    assert Journal(tmp_path).answer("k") == {"answer": 1}
    assert not (tmp_path / "progress" / "k.jsonl").exists()
    (tmp_path / "progress" / "k.json").write_text("{}")
    assert Journal(tmp_path).answer("k") is None


def test_without_a_folder_nothing_is_kept():
    journal = Journal()
    journal.keep("k", {"answer": 1})
    assert journal.answer("k") is None
    assert journal.rows("k").row("a", lambda: 1) == 1


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_what_is_remembered_counts_once_in_each_question():
    counter, memory = Counter(), {}

    def asked(key, forwards):
        remembered = key in memory
        if not remembered:
            memory[key] = counter.counted(lambda: forwards())
        counter.count(key, memory[key][1], remembered=remembered)

    def run(forwards):
        counter["forwards"] += forwards

    def larger():
        asked("small", lambda: run(2))
        run(10)

    for _ in range(2):
        asked("small", lambda: run(2))
    assert counter["forwards"] == 2
    asked("large", larger)
    assert counter["forwards"] == 14
    counter = Counter()
    asked("large", larger)
    asked("large", larger)
    assert counter["forwards"] == 12


def test_rows_that_are_read_back_count(tmp_path):
    def compute(rows):
        def work():
            rows.counter["forwards"] += 5
            return 1

        return rows.row("a", work)

    for _ in range(2):
        rows = Rows.at(tmp_path / "rows.jsonl")
        compute(rows)
        compute(rows)
        assert rows.counter["forwards"] == 5
