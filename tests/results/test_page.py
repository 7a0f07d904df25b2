"""Pages escape all text and say what numbers are."""

import re

from mechcausal.results.page import Page


def test_text_is_escaped():
    page = Page("<b>", "<script>")
    page.text("<i>")
    page.table(("<a>",), [("<x>",)])
    page.code("<pre>")
    assert not re.search("<(b|script|i|a|x)>", page.render().split("<body>")[1].replace("<body>", ""))


def test_numbers_stand_right_and_texts_left():
    page = Page("title", "lead")
    page.table(("name", "share"), [("a", 0.25), ("b", 1.0)])
    text = page.render()
    assert '<th>name</th><th class="num">share</th>' in text
    assert '<td>a</td><td class="num">0.250</td>' in text
