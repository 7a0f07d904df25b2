import re

import browser
import pytest
from audited import report
from reading_html import Linked

from mechcausal.audits.report import Report
from mechcausal.audits.writing.page import report_html
from mechcausal.results.scatter import Point, Points


@pytest.fixture(scope="module")
def text():
    return report_html(report())


def test_the_page_is_closed_and_loads_nothing(text):
    reader = Linked()
    reader.feed(text)
    reader.close()
    assert not reader.open
    assert "script" not in reader.seen
    assert not re.search(r"url\(|@import", text)
    assert set(reader.links) <= set(reader.anchors)
    assert {"FAIR-1", "LINK-1", "provenance"} <= set(reader.anchors)


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.MISSING)
def test_a_browser_without_a_network_shows_the_page_and_asks_for_nothing(text):
    happened = browser.opened(text)
    assert happened.requests == []
    assert happened.scripts == 0
    assert happened.errors == []
    content, window = happened.width
    assert content <= window
    assert "the share that flips" in happened.text


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.MISSING)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_in_light_and_in_dark(text, scheme):
    """Text has the contrast that WCAG asks of text (AA): 4.5 to 1."""
    happened = browser.opened(text, scheme=scheme)
    assert (sum(happened.paper) < sum(happened.ink)) == (scheme == "dark")
    assert happened.contrast >= 4.5


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.MISSING)
def test_what_is_folded_on_the_screen_is_printed(text):
    assert browser.opened(text).folded == 0
    assert browser.opened(text, media="print").folded > 100


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.MISSING)
def test_a_browser_would_tell_of_requests_and_scripts():
    asks = "<img src='http://example.invalid/picture.png'><style>@import url(http://example.invalid/style.css)</style>"
    happened = browser.opened(f"{asks}<p style='width: 5000px'>text</p><script>document.title = 'run'</script>")
    assert sorted(happened.requests) == [f"http://example.invalid/{name}" for name in ("picture.png", "style.css")]
    assert happened.scripts == 1
    assert len(happened.errors) == 2
    assert happened.width[0] > happened.width[1]


def test_all_text_is_escaped(text):
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_every_finding_says_what_it_rests_on(text):
    for words in ("the share that flips", "adjusted for 2 questions 2e-09", "2 too long; 1 short", "at chance", "digest d",
                  "This cannot be judged: it is at chance", "There is no answer: the minutes were over", "the board",
                  "c0ffee with changes", "def", "supported", "refuted", "not tested"):  # fmt: skip
        assert words in text, words


def test_figures_have_words_for_those_who_cannot_see_them(text):
    assert text.count('role="img"') == 8
    assert text.count("aria-label") == 8


def test_a_report_of_many_examples_stays_small():
    finding = report().findings[0]
    answer = finding.answer
    many = tuple({"text": "a word " * 40, "number": number} for number in range(2000))
    points = Points(tuple(Point(str(i), i, i) for i in range(400)), "t", "x", "y")
    from dataclasses import replace

    heavy = replace(finding, answer=replace(answer, examples=many, figures=(points,)))
    page = report_html(Report("t", {**report().plan, "claim": []}, (heavy,), report().run))
    assert len(page) < 300_000
    assert "40 of 2000" in page
