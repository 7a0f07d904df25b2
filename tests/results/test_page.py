"""The one page builder: everything is escaped, numbers stand right, nothing is loaded from elsewhere."""

import re
from html.parser import HTMLParser

from mechcausal.results.page import Page

EVIL = "<script>alert(1)</script>"


def test_all_text_is_escaped_and_nothing_is_requested():
    page = Page(EVIL, EVIL)
    page.heading(EVIL)
    page.text(EVIL, EVIL)
    page.key_numbers([(EVIL, EVIL, "good")])
    page.table([EVIL], [[EVIL]])
    page.figure("<svg></svg>", EVIL)
    page.code(EVIL)
    text = page.render()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 12
    assert not re.search(r"url\(|@import|https?://", text)


def test_numbers_stand_right_and_are_rounded():
    page = Page("t", "l")
    page.table(["name", "value"], [["a", 0.12345], ["b", 2]])
    page.table(["yes"], [[True]])
    text = page.render()
    assert '<td class="num">0.123</td>' in text
    assert "<td>a</td>" in text
    assert ">yes</td>" in text


def test_the_page_is_well_formed():
    page = Page("title", "lead")
    page.piece("<section>ours</section>")
    open_tags, void = [], {"meta", "!doctype"}

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in void:
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Reader().feed(page.render())
    assert not open_tags
