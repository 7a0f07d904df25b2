"""Where a text ends."""

from zoo import loaded

from mechcausal.generation.ends import decoded, end_tokens, first_stop


def test_the_first_stop_counts():
    assert first_stop("one two three", ["three", "two"]) == 4
    assert first_stop("one", ["two"]) is None
    assert first_stop("one", []) is None


def test_end_tokens_and_texts():
    assert end_tokens(loaded("llama")) == {2}
    assert decoded(None, [3, 4]) == "3 4"
