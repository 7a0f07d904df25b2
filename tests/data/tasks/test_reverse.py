"""The reverse task against reversing its texts in plain Python."""

from mechcausal.data.tasks.reverse import TASK, VOCABULARY


def test_the_answer_is_the_next_letter_backwards():
    table = TASK.table(500, seed=0)
    lengths = set()
    for text, answer in zip(TASK.write(table), table["answer"], strict=True):
        before, after = (part.split() for part in text.split("rev"))
        said = before[::-1]
        assert after == said[: len(after)]
        expected = said[len(after)] if len(after) < len(said) else "end"
        assert TASK.answers[answer] == expected
        assert set(text.split()) <= set(VOCABULARY)
        lengths.add((len(before), len(after)))
    assert lengths == {(size, done) for size in (2, 3, 4) for done in range(size + 1)}


def test_other_letters_leave_the_length_and_how_far_it_is():
    scm = TASK.scm
    clean, corrupt = TASK.pairs["letters"](scm, TASK.table(300, seed=0))
    for first, second in zip(TASK.write(clean), TASK.write(corrupt), strict=True):
        assert first != second
        assert first.split().index("rev") == second.split().index("rev")
        assert len(first.split()) == len(second.split())
